"""What a file of spikes does not say of its network, from TOML: shapes of layers, and what to take for weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...simulator.errors import UserError, nearest
from ...simulator.files import read_toml
from ...simulator.trace import HostWork
from .schema import HOST, LAYER, NEEDED, TOP, WEIGHTS, check_table

DENSE = "dense"


@dataclass(frozen=True)
class WeightChoice:
    """What stands for a layer's weights: an array of the file, no pruning at all, or a random pattern.

    array: its name; "" for the other two.  density: share of a random pattern that survives, 1 where nothing is pruned.
    axes: of the array: O and I are output and input channels, Y and X the kernel's; "" for OI or OIYX.
    """

    array: str = ""
    density: float = 1.0
    seed: int = 0
    axes: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """A layer as the file has it; kernel, stride, padding of convolutions and pools, map and grid of linear layers.

    inputs: arrays that hold what it read; three for an attention that has q, k and v apart; none for a pool of what
    the layer before made.
    output: the array that holds what it made; None: the next layer's input, if that fits; "": none does.
    axes: a letter for each axis of the arrays (`schema.AXES`); "" for what is usual with so many.
    map: channels, height and width of a linear layer's inputs where they are a flattened map.
    grid: height and width of the tokens; None for those of the layer before, if they are as many, else one row.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    output: str | None = None
    axes: str = ""
    channels: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    map: tuple[int, int, int] | None = None
    grid: tuple[int, int] | None = None
    heads: int = 1
    form: str = ""
    weights: WeightChoice = WeightChoice()


@dataclass(frozen=True)
class Geometry:
    """A geometry file. timesteps: those that all arrays must have; None: whatever they have.  source: whose spikes."""

    name: str
    source: str
    timesteps: int | None
    weight_bits: int
    layers: tuple[LayerGeometry, ...]
    host: tuple[HostWork, ...]


def load_geometry(path: str | Path) -> Geometry:
    """Read a geometry file. Raises UserError where it cannot be read, else with all of its faults at once."""
    data = read_toml(path, "geometry")
    faults: list[str] = []
    top = check_table(data, TOP, ("name", "layer"), "", faults)
    said = _Said(data, top)
    layers = [_layer(table, index, said, faults) for index, table in enumerate(top.get("layer", []), 1)]
    host = [_host(table, index, faults) for index, table in enumerate(top.get("host", []), 1)]
    names = [layer.name for layer in layers if layer is not None]
    faults += [f"layer {name!r}: there are two of this name" for name in dict.fromkeys(names) if names.count(name) > 1]
    if "layer" in top and not top["layer"]:
        faults.append("layer: there is none; begin one with [[layer]]")
    if faults:
        raise UserError(f"{path}: " + "; ".join(faults))
    return Geometry(
        name=top["name"],
        source=top.get("source", ""),
        timesteps=top.get("timesteps"),
        weight_bits=top.get("weight_bits", 8),
        layers=tuple(layer for layer in layers if layer is not None),
        host=tuple(work for work in host if work is not None),
    )


@dataclass(frozen=True)
class _Said:
    """A table of the file: all that it says, and what of that is sound."""

    all: Mapping[str, Any]
    sound: Mapping[str, Any]


def _layer(table: Mapping[str, Any], index: int, top: _Said, faults: list[str]) -> LayerGeometry | None:
    """One [[layer]]; None where it is so wrong that nothing can be made of it."""
    name, kind = table.get("name"), table.get("kind")
    where = f"layer {name if isinstance(name, str) and name else index!r}: "
    if kind not in LAYER:
        hint = "missing" if kind is None else f"= {kind!r:.60}: {nearest(str(kind), LAYER)}"
        faults.append(f"{where}kind {hint}")
        return None
    values = check_table(table, LAYER[kind], ("name", *NEEDED[kind]), where, faults)
    weights = WeightChoice()
    if "channels" in LAYER[kind]:
        weights = _weights(_Said(table, values), top, where, faults)
    if "name" not in values:
        return None
    plain = {key: value for key, value in values.items() if key not in (*WEIGHTS, "weight_axes", "input")}
    if kind == "pool":
        plain |= {key: (plain[key],) * 2 for key in ("kernel", "padding") if key in plain}
        plain.setdefault("stride", plain.get("kernel", (1,))[0])
    return LayerGeometry(**plain, inputs=values.get("input", _usual_inputs(name, kind)), weights=weights)


def _usual_inputs(name: Any, kind: str) -> tuple[str, ...]:
    if kind == "pool":
        return ()
    return tuple(f"{name}_{part}" for part in "qkv") if kind == "attention" else (str(name),)


def _weights(layer: _Said, top: _Said, where: str, faults: list[str]) -> WeightChoice:
    """What the layer says, else what the top of the file says for all; that it is sound has been looked at before."""
    ways = {"weights", "weight_density"}
    said = layer if ways & set(layer.all) else top
    given = ways & set(said.all)
    if len(given) != 1:
        which = "both of" if given else "none of"
        faults.append(
            f'{where}{which} weights ("{DENSE}", or an array of the file) and weight_density are given; give one'
        )
    array = said.sound.get("weights", DENSE)
    if array == DENSE:
        seed = layer.sound.get("seed", top.sound.get("seed", 0))
        return WeightChoice(density=said.sound.get("weight_density", 1.0), seed=seed)
    return WeightChoice(array=array, axes=layer.sound.get("weight_axes", ""))


def _host(table: Mapping[str, Any], index: int, faults: list[str]) -> HostWork | None:
    where = f"host {table.get('name', index)!r}: "
    before = len(faults)
    values = check_table(table, HOST, ("name", "operation", "operations"), where, faults)
    return HostWork(**values) if len(faults) == before else None
