"""Which core owns what: layers cut by channels or by tokens, and where every stream lies (rules P1 to P3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import UserError, nearest
from .files import read_toml
from .hardware import Chip
from .trace import Attention, Conv, Head, Layer, Linear, Pool, Stream, Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Home:
    """Where a stream lies (P3): owner int32[channels or, by `tokens`, tokens] counts cores, or attention units."""

    by: Literal["channels", "tokens", "units"]
    owner: NDArray[np.int32]


@dataclass(frozen=True)
class Cut:
    """A layer among the cores. bounds: int64[cores + 1], first output channel (or token of the grid) of each core."""

    by_token: bool
    bounds: Ints

    @property
    def owner(self) -> NDArray[np.int32]:
        """int32[channels or tokens]: the core that each belongs to."""
        return np.repeat(np.arange(len(self.bounds) - 1, dtype=np.int32), np.diff(self.bounds))

    @property
    def home(self) -> Home:
        """Where what the layer makes lies."""
        return Home("tokens" if self.by_token else "channels", self.owner)


@dataclass(frozen=True)
class Floorplan:
    """Cuts of the layers that run on cores, by layer name, and homes of the streams of events, by stream name."""

    cuts: dict[str, Cut]
    homes: dict[str, Home]


def cut_evenly(weight: Ints, cores: int) -> Ints:
    """P1: int64[cores + 1]; channel c goes to core floor(cores x (2 S_c + w_c) / (2 S)), S_c the weight before it."""
    before = np.cumsum(weight) - weight
    owner = cores * (2 * before + weight) // (2 * weight.sum())
    return np.searchsorted(owner, np.arange(cores + 1)).astype(np.int64)


def cut_tokens(tokens: int, cores: int) -> Ints:
    """P2: int64[cores + 1]; token t goes to core floor(t x cores / tokens)."""
    return np.searchsorted(np.arange(tokens) * cores // tokens, np.arange(cores + 1)).astype(np.int64)


def lay_out(trace: Trace, chip: Chip, given: Mapping[str, Iterable[int]] | None = None) -> Floorplan:
    """Cut every layer, and say where every stream lies.

    given: bounds by layer name that replace the automatic ones, as a placement file has them.
    Raises UserError where they do not fit the trace, and where a residual lies elsewhere than its target (P3).
    """
    fixed = _check_given(trace, chip, given or {})
    groups = _Groups(trace, chip, fixed, _name_of(given))
    cuts: dict[str, Cut] = {}
    homes: dict[str, Home] = {}
    for layer in trace.layers:
        source = trace.streams[layer.source]
        if source.kind != "real" and source.name not in homes:
            homes[source.name] = _home_of_given(chip, source, layer, groups)
        if isinstance(layer, Attention):
            channels = trace.streams[layer.target].channels
            head = np.arange(channels) // (channels // layer.heads)
            homes[layer.target] = Home("units", (head % chip.attention.units).astype(np.int32))
        elif isinstance(layer, Pool):
            if homes[layer.source].by != "channels":
                raise UserError(
                    f"layer {layer.name!r} pools {layer.source!r}, which does not lie by channels (rule P3)"
                )
            homes[layer.target] = homes[layer.source]
            cuts[layer.name] = Cut(False, np.searchsorted(homes[layer.source].owner, np.arange(chip.cores + 1)))
        elif isinstance(layer, (Conv, Linear, Head)):
            cuts[layer.name] = _cut(trace, chip, layer, groups, fixed)
            if layer.target:
                homes[layer.target] = cuts[layer.name].home
        _check_residual(trace, chip, layer, homes)
    return Floorplan(cuts, homes)


class Cuts(dict[str, list[int]]):
    """Bounds by layer name, and the file that they stand in."""

    where: str = "placement"


def load_cuts(path: str | Path) -> Cuts:
    """A placement file: TOML with a table [cuts] of layer name = [first channel or token of each core, …, end].

    Raises UserError where it cannot be read or holds something else; `lay_out` says what does not fit a trace.
    """
    data = read_toml(path, "placement")
    faults = [f"{key}: unknown key; only the table [cuts] is known" for key in data if key != "cuts"]
    cuts = data.get("cuts")
    if not isinstance(cuts, dict):
        raise UserError(
            f"{path}: " + "; ".join([*faults, 'no table [cuts]; it holds lines as "block0.fc1" = [0, 24, 48]'])
        )
    for name, bounds in cuts.items():
        if isinstance(bounds, dict):
            inner = next(iter(bounds))
            faults.append(f'cuts.{name}.{inner}: put the layer\'s name in quotes: "{name}.{inner}" = [0, …]')
        elif not _are_whole(bounds):
            faults.append(f"cuts.{name} = {bounds!r}: a list of whole numbers is needed")
    if faults:
        raise UserError(f"{path}: " + "; ".join(faults))
    found = Cuts(cuts)
    found.where = str(path)
    return found


def is_cut_by_tokens(chip: Chip, layer: Layer) -> bool:
    """P2: linear layers where the chip says so."""
    return chip.core.partition == "token" and isinstance(layer, Linear)


def keeps_copy(trace: Trace, chip: Chip, name: str, index: int) -> bool:
    """P3: whether, while layer `index` runs, the cores of its tokens keep what they were sent of a stream.

    From the first linear layer cut by tokens that has the stream as its source to the last that adds it.
    """
    if chip.core.partition != "token":
        return False
    key = "copied", name
    if key not in trace.derived:
        linear = [i for i, layer in enumerate(trace.layers) if isinstance(layer, Linear)]
        read = [i for i in linear if trace.layers[i].source == name]
        added = [i for i in linear if trace.layers[i].residual == name]
        trace.derived[key] = range(read[0], added[-1] + 1) if read and added else range(0)
    return index in trace.derived[key]


class _Groups:
    """Layers that own the same cores: those whose targets a residual or a pool joins are cut alike (P1, L1).

    A group goes by the name of one of its streams, a head by its own.
    """

    def __init__(self, trace: Trace, chip: Chip, fixed: Mapping[str, Ints], where: str) -> None:
        self._leader = {name: name for name in trace.streams}
        self._where, self._chip = where, chip.name
        for layer in trace.layers:
            if layer.residual:
                self._join(layer.residual, layer.target)
            if isinstance(layer, Pool):
                self._join(layer.source, layer.target)
        self._weights: dict[str, Ints] = {}  # in the order of the groups' first layers
        self._fixed: dict[str, tuple[str, Ints]] = {}
        for layer in trace.layers:
            if isinstance(layer, (Conv, Linear, Head)):
                group = self.of(layer)
                weight = self._weights.setdefault(group, np.ones(layer.weights.output_channels, np.int64))
                weight += nonzeros(chip, layer)
                if layer.name in fixed and not is_cut_by_tokens(chip, layer):
                    self._fix(group, layer.name, fixed[layer.name])
            elif isinstance(layer, Pool):
                channels = trace.streams[layer.target].channels
                self._weights.setdefault(self.of_stream(layer.target), np.ones(channels, np.int64))
        self._cores = chip.cores
        self._ranges = self._deal_out() if chip.schedule == "pipelined" else {}

    def of(self, layer: Layer) -> str:
        """The group of a layer with weights."""
        return layer.name if isinstance(layer, Head) else self.of_stream(layer.target)

    def of_stream(self, name: str) -> str:
        """The group of a stream; one without weights for a stream that no layer writes and no residual joins."""
        while self._leader[name] != name:
            name = self._leader[name]
        return name

    def _join(self, one: str, other: str) -> None:
        self._leader[self.of_stream(one)] = self.of_stream(other)

    def _fix(self, group: str, name: str, bounds: Ints) -> None:
        before, there = self._fixed.setdefault(group, (name, bounds))
        if not np.array_equal(there, bounds):
            raise UserError(
                f"{self._where}: layers {before!r} and {name!r} are joined by a residual and must be cut alike, "
                f"but have {there.tolist()} and {bounds.tolist()}"
            )

    def _deal_out(self) -> dict[str, tuple[int, int]]:
        """L1: (first core, end) of each group: one core each, the others by weight."""
        groups, cores = len(self._weights), self._cores
        if groups > cores:
            raise UserError(
                f'chip {self._chip!r} cannot run this trace: schedule = "pipelined" needs a core for each of {groups} '
                f"groups of layers, but mesh.columns x mesh.rows gives {cores}"
            )
        weights = np.array([weight.sum() for weight in self._weights.values()])
        before = np.cumsum([0, *weights])
        first = np.arange(groups + 1) + (cores - groups) * before // max(1, weights.sum())
        return {group: (int(first[at]), int(first[at + 1])) for at, group in enumerate(self._weights)}

    def cores(self, group: str) -> tuple[int, int]:
        """First core and end of those that a group owns."""
        return self._ranges.get(group, (0, self._cores))

    def has_weights(self, group: str) -> bool:
        """Whether some layer of the group has weights."""
        return group in self._weights

    def bounds(self, group: str, channels: int, owners: str) -> Ints:
        """First channel of each core, among the cores of the group `owners`."""
        if group in self._fixed:
            return self._fixed[group][1]
        weight = self._weights.get(group, np.ones(channels, np.int64))
        first, end = self.cores(owners)
        return _spread(cut_evenly(weight, end - first), first, self._cores)

    def token_bounds(self, tokens: int, owners: str) -> Ints:
        """First token of each core, among the cores of the group `owners`."""
        first, end = self.cores(owners)
        return _spread(cut_tokens(tokens, end - first), first, self._cores)


def _spread(bounds: Ints, first: int, cores: int) -> Ints:
    """Bounds among some cores as bounds among all, of which the others own nothing."""
    after = cores + 1 - first - len(bounds)
    return np.concatenate([np.zeros(first, np.int64), bounds, np.full(after, bounds[-1])])


def nonzeros(chip: Chip, layer: Conv | Linear | Head) -> Ints:
    """int64[outputs]: weights that a core stores for each output; 0 in `dense`, where all outputs have as many (P1)."""
    if chip.core.weight_format == "dense":
        return np.zeros(layer.weights.output_channels, np.int64)
    return np.bincount(layer.weights.outputs, minlength=layer.weights.output_channels).astype(np.int64)


def _cut(trace: Trace, chip: Chip, layer: Layer, groups: _Groups, fixed: Mapping[str, Ints]) -> Cut:
    assert isinstance(layer, (Conv, Linear, Head))
    group = groups.of(layer)
    if is_cut_by_tokens(chip, layer):
        bounds = fixed.get(layer.name)
        return Cut(True, groups.token_bounds(trace.streams[layer.source].tokens, group) if bounds is None else bounds)
    return Cut(False, groups.bounds(group, layer.weights.output_channels, group))


def _home_of_given(chip: Chip, source: Stream, reader: Layer, groups: _Groups) -> Home:
    """A stream that no layer writes; `reader` is the first that reads it."""
    group = groups.of_stream(source.name)
    owners = group
    if not groups.has_weights(group) and isinstance(reader, (Conv, Linear, Head)):
        owners = groups.of(reader)
    if is_cut_by_tokens(chip, reader):
        return Cut(True, groups.token_bounds(source.tokens, owners)).home
    return Cut(False, groups.bounds(group, source.channels, owners)).home


def _check_residual(trace: Trace, chip: Chip, layer: Layer, homes: Mapping[str, Home]) -> None:
    if not layer.residual:
        return
    if chip.schedule == "pipelined" and not _is_on_the_way(trace, layer):
        raise UserError(
            f"chip {chip.name!r} cannot run this trace: layer {layer.name!r} adds {layer.residual!r}, from which its "
            f'sums are not made token by token: with schedule = "pipelined" nothing would wait for it (rule L1)'
        )
    here, there = homes[layer.target], homes.get(layer.residual)
    if there is not None and here.by == there.by and np.array_equal(here.owner, there.owner):
        return
    if here.by == "tokens" and chip.schedule == "layerwise":
        before = trace.layers[: trace.layers.index(layer) + 1]
        readers = [one for one in before if isinstance(one, Linear) and one.source == layer.residual]
        if any(np.array_equal(homes[one.target].owner, here.owner) for one in readers):
            return
    raise UserError(
        f"chip {chip.name!r} cannot run this trace: layer {layer.name!r} adds {layer.residual!r}, which does not lie "
        f"where {layer.target!r} is made: no core could add them (rule P3)"
    )


def _is_on_the_way(trace: Trace, added: Layer) -> bool:
    """Whether a layer's residual is made before its token is due: no layer makes it, or what leads to the layer does.

    Layer by layer on maps of one size, whose sums are not pooled: what pools them may close before its own token.
    """
    stream, makers = added.residual, {layer.target: layer for layer in trace.layers}
    tokens, layer = trace.streams[stream].tokens, added
    while stream in makers and not _pools_sums(layer) and layer.source != stream:
        if layer.source not in makers or trace.streams[layer.source].tokens != tokens:
            return False
        layer = makers[layer.source]
    return stream not in makers or not _pools_sums(layer)


def _pools_sums(layer: Layer) -> bool:
    return isinstance(layer, Conv) and layer.pooled is not None


def _name_of(given: object) -> str:
    """The file of a placement, for messages."""
    return given.where if isinstance(given, Cuts) else "placement"


def _are_whole(bounds: object) -> bool:
    """Whether this is a list of whole numbers; true and false are none."""
    if not isinstance(bounds, (list, tuple, np.ndarray)):
        return False
    return all(isinstance(bound, (int, np.integer)) and not isinstance(bound, bool) for bound in bounds)


def _check_given(trace: Trace, chip: Chip, given: Mapping[str, Iterable[int]]) -> dict[str, Ints]:
    """The given bounds as arrays; UserError with every fault at once."""
    where = _name_of(given)
    faults: list[str] = []
    found: dict[str, Ints] = {}
    cuttable = {layer.name: layer for layer in trace.layers if isinstance(layer, (Conv, Linear, Head))}
    for name, bounds in given.items():
        layer = cuttable.get(name)
        if layer is None:
            known = name in {layer.name for layer in trace.layers}
            why = f"layer {name!r} runs on no cores of its own" if known else f"there is no layer {name!r}"
            faults.append(f"{why}; {nearest(name, list(cuttable))}")
            continue
        by_token = is_cut_by_tokens(chip, layer)
        size = trace.streams[layer.source].tokens if by_token else layer.weights.output_channels
        if not _are_whole(bounds):
            faults.append(f"layer {name!r}: a list of whole numbers is needed, not {bounds!r}")
            continue
        listed = [int(bound) for bound in bounds]
        if len(listed) != chip.cores + 1 or sorted(listed) != listed or (listed[0], listed[-1]) != (0, size):
            what = "tokens" if by_token else "channels"
            faults.append(
                f"layer {name!r}: {chip.cores + 1} numbers are needed, the first {what[:-1]} of each of {chip.cores} "
                f"cores and the end, ascending from 0 to {size}; there are {listed}"
            )
        else:
            found[name] = np.array(listed, np.int64)
    if faults:
        raise UserError(f"{where}: " + "; ".join(faults))
    return found
