"""`--verify`: the chip computes its own sums from the flits that arrived, and everything must equal the trace.

Each layer starts from the trace's input spikes; as every layer's output is compared with the trace, the whole chain
follows by induction.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activity import Verified
from .errors import UserError
from .kernels.encoder import Flits
from .kernels.neuron_array import Values, deliver_all, deliver_pixels, fire, requantise
from .phase import Work, list_made
from .placement import LayerPlan, Placement
from .trace import (
    ACTIVATION_MAX,
    Attention,
    Conv,
    Head,
    Linear,
    Membrane,
    Pool,
    Requant,
    Select,
    Stream,
    Trace,
    Window,
)

Sums = NDArray[np.int64]
LOWEST = int(np.iinfo(np.int64).min)  # below every sum


@dataclass
class Tally:
    """How much was compared so far."""

    neurons: int = 0
    spikes: int = 0
    tokens: int = 0
    logits: int = 0
    clipped: int = 0

    def result(self) -> Verified:
        """The tally as it stands in the activity."""
        return Verified(self.neurons, self.spikes, self.tokens, self.logits)


def check_verifiable(trace: Trace) -> None:
    """Raise UserError where the trace is a replay, whose values nobody can recompute."""
    if trace.level == "replay":
        raise UserError(f"verify: the trace is a replay, its values cannot be computed again: {trace.replay_reason}")


def new_sums(placement: Placement, plan: LayerPlan) -> Sums:
    """Accumulators for one image: int64[timestep x token, outputs]; select: [token, channels]; head: [1, classes]."""
    layer, source = plan.layer, plan.source
    places = placement.trace.numerics.timesteps * _places(plan)
    if isinstance(layer, Head):
        return np.zeros((1, layer.weights.output_channels), np.int64)
    if isinstance(layer, Select):
        return np.zeros((source.tokens, source.channels), np.int64)
    if isinstance(layer, (Conv, Linear)):
        return np.zeros((places, layer.weights.output_channels), np.int64)
    return np.zeros((places, source.channels), np.int64)


def _places(plan: LayerPlan) -> int:
    """Places of a layer's sums in one timestep: a convolution's outputs, pooled or not, else those of its target."""
    if isinstance(plan.layer, Conv):
        assert plan.stored is not None
        return plan.stored.taps.outputs
    return plan.source.tokens if plan.target is None else plan.target.tokens


def values_of(placement: Placement, plan: LayerPlan, work: Work, sums: Sums) -> Values:
    """What the kernels need to add up the numbers of a layer into `sums`."""
    stored, phase, places = plan.stored, plan.phase, _places(plan)
    summed = isinstance(plan.layer, (Select, Head))  # over time: all timesteps go to one place
    base = work.token if stored is None else stored.taps.base[work.token]
    slot = base if isinstance(plan.layer, Select) else work.first * places + base
    rows: dict[str, Any] = {
        "taps": 1,
        "share": np.zeros((0, 0), np.int64),
        "core": np.zeros(0, np.int32),
        "outputs": np.zeros(0, np.uint16),
        "weights": np.zeros(0, np.int8),
        "valid": np.zeros((0, 0), np.bool_),
        "reach": np.zeros((0, 0), np.int64),
    }
    if stored is not None and stored.weights.values is not None:
        cores = np.arange(placement.chip.cores) if phase is None else phase.consumers.cores
        rows = {
            "taps": stored.weights.taps,
            "share": stored.rows.share,
            "core": stored.columns[cores].astype(np.int32),
            "outputs": stored.weights.outputs,
            "weights": stored.weights.values,
            "valid": stored.taps.valid,
            "reach": stored.taps.reach,
        }
    return Values(
        weighted=stored is not None,
        channels=plan.source.channels,
        **rows,
        slot=np.zeros_like(slot) if isinstance(plan.layer, Head) else slot,
        stride=0 if summed else places,
        sums=sums,
    )


Came = tuple[
    Flits, NDArray[np.int32], int, int
]  # flits, arrivals (flit, consumer), the layer's first step and consumer


def check_layer(placement: Placement, plan: LayerPlan, image: int, work: Work, came: Came | None, tally: Tally) -> None:
    """Add up what came for a layer on an image, and demand equality; raises UserError naming the first difference."""
    sums = new_sums(placement, plan)
    if plan.source.kind == "real":
        convolve_pixels(placement, plan, image, sums)
    elif came is not None:
        flits, arrivals, step, consumer = came
        values = values_of(placement, plan, work, sums)
        deliver_all(values, flits, arrivals, step, step + len(work.token), consumer)
    compare(placement, plan, image, list_made(plan, work), sums, tally)


def convolve_pixels(placement: Placement, plan: LayerPlan, image: int, sums: Sums) -> None:
    """I1: the input convolution's sums, once, repeated over the timesteps; `sums` is modified in place."""
    pixels, stored = placement.trace.pixels, plan.stored
    assert pixels is not None
    assert stored is not None
    every = np.arange(plan.source.tokens)
    once = np.zeros((_places(plan), sums.shape[1]), np.int64)
    values = values_of(placement, plan, Work(every, np.zeros_like(every), np.ones_like(every), every), once)
    deliver_pixels(values, stored.taps.border, pixels[image].reshape(plan.source.channels, len(every)))
    sums.reshape(-1, *once.shape)[:] = once


def compare(
    placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64], sums: Sums, tally: Tally
) -> None:
    """Fire the neurons (or rank, pool, classify) and demand equality; raises UserError naming the first difference."""
    layer, trace = plan.layer, placement.trace
    if isinstance(layer, Select):
        tally.tokens += _compare_tokens(trace, plan, layer, image, sums)
        return
    if isinstance(layer, Head):
        if trace.logits is not None and not np.array_equal(sums[0] + layer.bias, trace.logits[image]):
            raise UserError(f"verify: layer {layer.name!r}, image {image}: the chip's logits differ from the trace's")
        tally.logits += sums.shape[1] if trace.logits is not None else 0
        return
    assert plan.target is not None
    if isinstance(layer, Pool):
        computed = _pool(_dense(trace, plan.source, image), plan.source, layer)
    else:
        computed = _fire(trace, plan, image, tokens, sums, tally)
    tally.spikes += int(np.count_nonzero(computed[:, tokens]))
    if layer.residual:
        computed = _add(trace, computed, _dense(trace, trace.streams[layer.residual], image))
    expected = _dense(trace, plan.target, image)
    wrong = np.argwhere(computed[:, tokens] != expected[:, tokens])
    if len(wrong):
        timestep, token, channel = wrong[0]
        raise UserError(
            f"verify: layer {layer.name!r}, image {image}, timestep {timestep}, token {tokens[token]}, "
            f"channel {channel}: the chip computes {computed[timestep, tokens[token], channel]}, the trace holds "
            f"{expected[timestep, tokens[token], channel]} ({len(wrong)} such differences in this layer)"
        )


def _dense(trace: Trace, stream: Stream, image: int) -> NDArray[np.uint8]:
    """A stream on one image: uint8[timesteps, tokens, channels]."""
    assert stream.events is not None
    timesteps = trace.numerics.timesteps
    rows = slice(image * timesteps * stream.tokens, (image + 1) * timesteps * stream.tokens)
    offsets = stream.events.offsets[rows.start : rows.stop + 1]
    dense = np.zeros((rows.stop - rows.start, stream.channels), np.uint8)
    at = np.repeat(np.arange(len(dense)), np.diff(offsets))
    values = stream.events.values
    events = slice(offsets[0], offsets[-1])
    dense[at, stream.events.channels[events]] = 1 if values is None else values[events]
    return dense.reshape(timesteps, stream.tokens, stream.channels)


def _add(trace: Trace, computed: NDArray[np.uint8], residual: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """V2; activations saturate (M2)."""
    total = computed + residual.astype(np.int64)
    if trace.numerics.neuron == "relu":
        total = np.minimum(total, ACTIVATION_MAX)
    return total.astype(np.uint8)


def _fire(
    trace: Trace, plan: LayerPlan, image: int, tokens: NDArray[np.int64], sums: Sums, tally: Tally
) -> NDArray[np.uint8]:
    """V1, M2 on the sums of a layer: uint8[timesteps, tokens, channels]; 0 for tokens that it does not work on."""
    layer, timesteps = plan.layer, trace.numerics.timesteps
    assert plan.target is not None
    channels = plan.target.channels
    bias = np.zeros(channels, np.int64)
    spikes = np.zeros((timesteps, plan.target.tokens, channels), np.uint8)
    if isinstance(layer, Attention):
        qkv = sums.reshape(timesteps, -1, 3 * channels)
        keys = _keys(trace, plan, image)
        if layer.form == "hadamard":
            fired = _neurons(trace, layer, coincidences(qkv, keys), bias, tally)
            spikes[:, tokens] = qkv[:, tokens, :channels] * fired  # the mask: q AND what its channel fired
            return spikes
        drive = attend(qkv, layer, keys)
    else:
        assert isinstance(layer, (Conv, Linear))
        drive = sums.reshape(timesteps, -1, channels)
        if isinstance(layer, Conv) and layer.pooled is not None:  # C4: what the sweep reads of each window
            rows, columns = layer.geometry.outputs(plan.source.height, plan.source.width)
            maps = drive.reshape(timesteps, rows, columns, channels)
            drive = _windowed(maps, layer.pooled, np.maximum, LOWEST).reshape(timesteps, -1, channels)
        assert layer.bias is not None  # as in all exact traces
        bias = layer.bias.astype(np.int64)
    spikes[:, tokens] = _neurons(trace, layer, np.ascontiguousarray(drive[:, tokens]), bias, tally)
    return spikes


def _neurons(
    trace: Trace, layer: Conv | Linear | Attention, drive: Sums, bias: NDArray[np.int64], tally: Tally
) -> NDArray[np.uint8]:
    """V1 or M2 on int64[timesteps, places, channels]: what each neuron fires, of the same shape."""
    tally.neurons += drive.size
    if layer.requant is not None:
        return _requantised(drive, bias, layer.requant)
    assert layer.theta is not None
    numerics, fired = trace.numerics, np.zeros(drive.shape, np.uint8)
    theta = np.broadcast_to(layer.theta, len(bias)).astype(np.int64)
    decay, reset_by = membrane_of(layer, len(bias))
    tally.clipped += fire(drive, bias, theta, decay, reset_by, numerics.fraction_bits, numerics.potential_bits, fired)
    return fired


def membrane_of(layer: Conv | Linear | Attention, channels: int) -> tuple[int, NDArray[np.int64]]:
    """V1: decay, and int64[channels], what a spike takes off the potential; 0 where it leaves 0."""
    membrane = layer.membrane or Membrane()
    reset_by = 0 if membrane.reset_by is None else membrane.reset_by
    return membrane.decay, np.broadcast_to(reset_by, channels).astype(np.int64)


def _requantised(sums: Sums, bias: NDArray[np.int64], requant: Requant) -> NDArray[np.uint8]:
    """M2 on an array whose last axis are channels."""
    channels = sums.shape[-1]
    multiplier, shift = (np.broadcast_to(part, channels).astype(np.int64) for part in vars(requant).values())
    outputs = np.zeros((sums.size // channels, channels), np.uint8)
    requantise(np.ascontiguousarray(sums).reshape(outputs.shape), bias, multiplier, shift, outputs)
    return outputs.reshape(sums.shape)


def _keys(trace: Trace, plan: LayerPlan, image: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = trace.kept_mask(plan.layer.selector, plan.source.tokens)[image]
    return mask


def attend(qkv: Sums, layer: Attention, keys: NDArray[np.bool_]) -> Sums:
    """(Q K^T) V per head, keys and values from the tokens in the mask; of activations as M6 says.

    qkv: int64[timesteps, tokens, 3 x heads x width].  keys: bool[tokens].
    Returns int64[timesteps, tokens, heads x width].
    """
    timesteps, tokens, channels = qkv.shape
    split = qkv.reshape(timesteps, tokens, 3, layer.heads, channels // 3 // layer.heads)
    q, k, v = split.transpose(2, 0, 3, 1, 4)
    k, v = k[:, :, keys].swapaxes(-1, -2), v[:, :, keys]
    if layer.inner is None:  # exact in any order
        product = q @ (k @ v)
    elif layer.order == "kv_first":
        product = q @ _inner(k @ v, layer.inner)
    else:
        product = _inner(q @ k, layer.inner) @ v
    return np.ascontiguousarray(product.transpose(0, 2, 1, 3)).reshape(timesteps, tokens, channels // 3)


def coincidences(qkv: Sums, keys: NDArray[np.bool_]) -> Sums:
    """A4: kept tokens that spike in both k and v: int64[timesteps, 1, channels]; `qkv` as in `attend`."""
    _, k, v = np.split(qkv[:, keys], 3, axis=-1)
    total: Sums = (k * v).sum(axis=1, keepdims=True)
    return total


def _inner(product: Sums, requant: Requant) -> Sums:
    """M6: the first product as the operand of the second."""
    return _requantised(product, np.zeros(product.shape[-1], np.int64), requant).astype(np.int64)


def _pool(spikes: NDArray[np.uint8], source: Stream, layer: Pool) -> NDArray[np.uint8]:
    """S1, M5: the largest value of each window, or their sum: uint8[timesteps, tokens, channels]."""
    maps = spikes.reshape(len(spikes), source.height, source.width, source.channels)
    pooled: NDArray[np.uint8] = _windowed(maps, layer.geometry, np.maximum if layer.form == "max" else np.add, 0)
    return pooled.reshape(len(spikes), -1, source.channels)


def _windowed(maps: NDArray[Any], window: Window, join: np.ufunc, around: int) -> NDArray[Any]:
    """What a window makes of maps [timesteps, y, x, channels]: all it sees, joined; `around`: what lies about them."""
    pads = (0, 0), (window.pad_y, window.pad_y), (window.pad_x, window.pad_x), (0, 0)
    padded = np.pad(maps, pads, constant_values=around)
    height, width = window.outputs(*maps.shape[1:3])
    joined = np.full((len(maps), height, width, maps.shape[3]), around, maps.dtype)
    for y, x in np.ndindex(window.height, window.width):
        rows = slice(y, y + (height - 1) * window.stride + 1, window.stride)
        columns = slice(x, x + (width - 1) * window.stride + 1, window.stride)
        joined = join(joined, padded[:, rows, columns])
    return joined


def _activated(layer: Select, hidden: Sums) -> Sums:
    """T6: ReLU, or the table's entry; int64[candidates, hidden] both ways."""
    if layer.table is None:
        return np.clip(hidden, 0, 127)
    return layer.table[np.clip(hidden, -128, 127) + 128].astype(np.int64)


def _compare_tokens(trace: Trace, plan: LayerPlan, layer: Select, image: int, features: Sums) -> int:
    """T2: rank the candidates by score, ties to the lower id; returns how many were ranked."""
    if layer.form == "random":
        return 0
    candidates = np.flatnonzero(trace.kept_mask(layer.selector, plan.source.tokens)[image])
    if layer.form == "learned":
        assert layer.hidden is not None
        assert layer.hidden_bias is not None
        assert layer.score_weights is not None
        weights = layer.hidden.to_dense()[:, :, 0].astype(np.int64)
        hidden = (features[candidates] @ weights.T + layer.hidden_bias) >> layer.hidden_shift
        scores = _activated(layer, hidden) @ layer.score_weights.astype(np.int64)
    else:
        scores = features[candidates].sum(axis=1)
    order = np.argsort(-scores, kind="stable")
    kept = np.sort(candidates[order[: layer.keep]])
    index = [other.name for other in trace.layers if isinstance(other, Select)].index(layer.name)
    if not np.array_equal(kept, trace.kept[index][image]):
        raise UserError(f"verify: layer {layer.name!r}, image {image}: the chip keeps other tokens than the trace")
    return len(candidates)
