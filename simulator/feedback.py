"""What surviving weights cost, as feedback for pruning: means per layer from a run, exact additions from the trace.

`price_weights` answers "what does a weight of this layer cost?" with means over the layer's weights, of what falls as
weights are pruned. `additions_per_weight` answers "which of them works most?" exactly, without a chip.

The means leave out what one weight less does not change: end-of-token flits, pointers, sweeps, spikes, scans, leakage.
And they are means. Whole words are read and loaded, so that a row saves a word only when it no longer needs it, and a
lane group a cycle only when it is gone; the bits of a bitmap stay. Additions are exact: each weight saves its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .activity import Action, Activity
from .capacity import is_ann
from .energy import EnergyTable, action_prices
from .engine import SERVED
from .errors import UserError, nearest
from .hardware import Chip
from .placement import hidden_bytes, selector_bytes
from .taps import find_taps
from .trace import Conv, Head, Layer, Linear, Select, Trace, Weights

POLICIES = ("skip", "gate", "off")

# W1, W6: what becomes less as weights are pruned; POINTER_READ is one per row, however empty
FALLING = (Action.WEIGHT_READ, Action.WEIGHT_WRITE, Action.ADD, Action.MULTIPLY_ADD, Action.ACCUMULATOR_UPDATE)


@dataclass(frozen=True)
class PerWeight:
    """What a layer spends on one of its surviving weights, the mean: totals of all images over the number of weights.

    weights: surviving (non-zero) weights of the layer in the trace.
    cycles: clock cycles of the layer / weights; of these fixed ones do not fall with a weight.
    service_cycles: core cycles in which rows are fetched and added (COMPUTE, BANK_CONFLICT, WEIGHT_FETCH) / weights.
    actions: falling counts / weights, by the action's key; of DRAM_READ the bytes of weights alone. An action that
        does not happen is left out, and `weight_format = dense` has none: it stores and adds zeros all the same.
    energy_pj: actions times their nominal prices [pJ].
    """

    weights: int
    cycles: float
    service_cycles: float
    actions: Mapping[str, float]
    energy_pj: float


def price_weights(trace: Trace, chip: Chip, table: EnergyTable, activity: Activity) -> dict[str, PerWeight]:
    """The means of each layer that has surviving weights, by name; `activity` is of this trace on this chip.

    Raises UserError as `action_prices` does.
    """
    prices = action_prices(chip, table)[:, 1]
    sparse = chip.core.weight_format != "dense"
    found = {}
    for index, layer in enumerate(trace.layers):
        weights = _weights_of(layer)
        if weights is None or not weights.nonzeros:
            continue
        falling = _falling(chip, layer, activity, index) if sparse else np.zeros(len(Action))
        service = int(activity.causes[index, SERVED].sum()) if sparse else 0
        found[layer.name] = PerWeight(
            weights=weights.nonzeros,
            cycles=int(activity.cycles[:, index].sum()) / weights.nonzeros,
            service_cycles=service / weights.nonzeros,
            actions={action.key: float(falling[action]) / weights.nonzeros for action in Action if falling[action]},
            energy_pj=float(falling @ prices) / weights.nonzeros,
        )
    return found


def _weights_of(layer: Layer) -> Weights | None:
    if isinstance(layer, (Conv, Linear, Head)):
        return layer.weights
    return layer.hidden if isinstance(layer, Select) else None


def _falling(chip: Chip, layer: Layer, activity: Activity, index: int) -> NDArray[np.float64]:
    """float64[Action]: the part of a layer's counts that its surviving weights cause; DRAM in bytes, not bursts."""
    counts, falling = activity.counts[index], np.zeros(len(Action))
    if isinstance(layer, Select):  # W4: candidates x (E + hidden), of which candidates x E
        assert layer.hidden is not None
        surviving, hidden = layer.hidden.nonzeros, layer.hidden.output_channels
        falling[Action.SELECTOR_MAC] = counts[Action.SELECTOR_MAC] * surviving // (surviving + hidden)
        brought = counts[Action.DRAM_READ] - counts[Action.DRAM_WRITE]  # without spills, which go both ways (D5)
        falling[Action.DRAM_READ] = brought // chip.in_bursts(selector_bytes(chip, layer)) * hidden_bytes(chip, layer)
        return falling
    falling[list(FALLING)] = counts[list(FALLING)]
    # D2: by tokens one transfer serves all cores, which write it each on its own
    by_token = chip.core.partition == "token" and isinstance(layer, Linear)
    sharing = int((np.diff(activity.cuts[layer.name]) > 0).sum()) if by_token else 1
    falling[Action.DRAM_READ] = counts[Action.WEIGHT_WRITE] * chip.core.weight_word_bits / 8 / sharing
    return falling


def uses_per_row(trace: Trace, name: str, *, policy: str = "skip") -> NDArray[np.int64]:
    """How often a row of weights is added, over all images of the trace: int64[inputs, taps].

    Rows of convolution, linear layers and head: spikes of the input channel that reach the tap's output, by value; a
    pixel counts 1, once for all timesteps, and so does an ANN's activation (R5, W7, M4). Rows of a learned selector:
    its candidates, each of which multiplies every weight once (T2). Pruned weights share their row's uses: that is
    what growing one would cost.
    policy: `off` counts the tokens that selectors dropped too, `skip` and `gate` those that they kept (G3).
    Raises UserError for a layer that is unknown or without weights, an unknown policy, or `off` without shadow tokens.
    """
    layer, weights = _find(trace, name)
    if policy not in POLICIES:
        raise UserError(f"policy = {policy!r}: unknown; {nearest(policy, POLICIES)}")
    if policy == "off" and trace.kept and not trace.shadow:
        raise UserError("policy = 'off' needs a trace with shadow tokens; this has none")
    stream = trace.streams[layer.source]
    if isinstance(layer, Select):
        candidates = int(trace.kept_mask(layer.selector, stream.tokens).sum())
        return np.full((weights.input_channels, weights.taps), candidates, np.int64)
    everything = policy == "off" and not isinstance(layer, Head)  # the head works on kept tokens under every policy
    came = _arrivals(trace, layer, -1 if everything else layer.selector)
    taps = find_taps(stream.height, stream.width, layer.geometry)
    of_class = np.zeros((len(taps.valid), stream.channels), np.int64)
    np.add.at(of_class, taps.border, came)
    return of_class.T @ taps.valid


def additions_per_weight(trace: Trace, name: str, *, policy: str = "skip") -> NDArray[np.int64]:
    """How often each weight is added, over all images of the trace: int64[outputs, inputs, taps], 0 where pruned.

    The shape is that of `Weights.to_dense`. The sum is the layer's synaptic events on a chip of this policy; for a
    learned selector its multiplications. Pruning a weight takes exactly its own additions away. (A spike of value v
    counts v; a chip whose `value_bits` hold v does one MULTIPLY_ADD instead of v ADDs.)
    Raises UserError as `uses_per_row` does.
    """
    _, weights = _find(trace, name)
    survives = weights.to_dense() != 0
    return np.where(survives, uses_per_row(trace, name, policy=policy)[None], 0)


def _find(trace: Trace, name: str) -> tuple[Layer, Weights]:
    weighted = {layer.name: (layer, weights) for layer in trace.layers if (weights := _weights_of(layer)) is not None}
    if name not in weighted:
        known = name in {layer.name for layer in trace.layers}
        raise UserError(f"layer {name!r}: {'has no weights' if known else 'unknown'}; {nearest(name, weighted)}")
    return weighted[name]


def _arrivals(trace: Trace, layer: Layer, selector: int) -> NDArray[np.int64]:
    """What comes in on the tokens that a selector kept, summed over images and timesteps: int64[tokens, channels].

    Spikes by value; pixels, and the activations of an ANN (M4), count 1 each.
    """
    stream = trace.streams[layer.source]
    kept = trace.kept_mask(selector, stream.tokens)
    if stream.events is None:
        return np.repeat(kept.sum(axis=0, dtype=np.int64)[:, None], stream.channels, axis=1)
    events, rows = stream.events, trace.numerics.timesteps * stream.tokens
    came = np.zeros(stream.tokens * stream.channels, np.int64)
    for image in range(trace.images):  # one at a time: a long trace has many events
        offsets = events.offsets[image * rows : (image + 1) * rows + 1]
        some = slice(offsets[0], offsets[-1])
        token = np.repeat(np.arange(rows) % stream.tokens, np.diff(offsets))
        place = token * stream.channels + events.channels[some]
        value = kept[image, token].astype(np.int64)
        if events.values is not None and not is_ann(trace):
            value *= events.values[some]
        came += np.bincount(place, weights=value, minlength=len(came)).astype(np.int64)  # exact below 2^53
    return came.reshape(stream.tokens, stream.channels)
