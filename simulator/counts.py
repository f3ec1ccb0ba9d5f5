"""Action counts of a layer on some images, from its events and placement alone: no clock (rules W1 to W7, M4 to M6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .activity import Action
from .capacity import attention_order, is_ann, kept_count
from .dram import Channel
from .kernels.totals import Totals
from .phase import Work, list_made
from .placement import LayerPlan, Placement, hidden_weights
from .taps import find_taps
from .trace import ACTIVATION_MAX, Attention, Conv, Linear, Pool, Select, Stream

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """What a layer's tokens did: counts int64[Action], and the sums that stand beside them."""

    actions: Counts
    synaptic_events: int
    spikes: int


def count_layer(
    placement: Placement, plan: LayerPlan, images: Sequence[int], works: Sequence[Work], totals: Totals | None
) -> Counted:
    """Counts of the tokens in `works`, a layer's steps on `images`, all together.

    totals: of the flits of all these steps; None for layers without a phase.
    """
    actions = np.zeros(len(Action), np.int64)
    synaptic_events = 0
    each = list(zip(images, works, strict=True))
    if totals is not None:
        multiplied = is_ann(placement.trace)
        synaptic_events = _count_flits(plan, totals, actions, multiplied)
        if multiplied:
            synaptic_events = sum(_activations_met(placement, plan, image, work) for image, work in each)
        _count_network(placement, plan, works, totals, actions)
    elif plan.stored is not None:
        synaptic_events = len(each) * _count_pixels(plan, actions)
        actions *= len(each)
    made = sum(len(list_made(plan, work)) for work in works)
    _count_neurons(placement, plan, len(each), made, actions)
    _count_spike_memory(placement, plan, works, made, actions)
    if isinstance(plan.layer, Select):
        _count_selector(placement, plan, len(each), actions)
    for image, work in each if isinstance(plan.layer, Attention) else ():
        _count_attention(placement, plan, image, work, actions)
    actions[Action.ACCUMULATOR_UPDATE] += (
        actions[Action.ADD] + actions[Action.MULTIPLY_ADD] + actions[Action.ATTENTION_ADD]
    )
    spikes = sum(_spikes(placement, plan, image, work) for image, work in each)
    return Counted(actions, synaptic_events, spikes)


def count_transfers(channel: Channel, image: int, counts: NDArray[np.int64]) -> None:
    """W6: add the DRAM traffic of an image to counts[layer, Action]."""
    placement = channel.placement
    chip = placement.chip
    for transfer in channel.transfers(image):
        counts[transfer.layer, Action.DRAM_READ] += chip.in_bursts(transfer.bytes)
        stored = placement.plans[transfer.layer].stored
        if stored is not None and transfer.weight_bytes:
            counts[transfer.layer, Action.WEIGHT_WRITE] += stored.words.sum()
            counts[transfer.layer, Action.POINTER_WRITE] += stored.pointers.sum()
    for index, spilled in enumerate(channel.spills[image]):
        counts[index, Action.DRAM_READ] += chip.in_bursts(spilled)
        counts[index, Action.DRAM_WRITE] += chip.in_bursts(spilled)


def _count_flits(plan: LayerPlan, totals: Totals, actions: Counts, multiplied: bool) -> int:
    """W1, W7: what the cores do with each event; returns the synaptic events. multiplied: a value of 1, too (M4)."""
    if plan.stored is None:
        return 0
    costs, taps = plan.stored.costs, plan.stored.taps
    every = totals.events.sum(axis=(0, 1))
    actions[Action.WEIGHT_READ] += every @ costs.words.sum(axis=1)
    valid = np.repeat(taps.valid.sum(axis=1), plan.source.channels)
    actions[Action.POINTER_READ] += (every @ valid) * plan.stored.pointing
    adds = costs.adds.sum(axis=1, dtype=np.int64)
    actions[Action.MULTIPLY_ADD if multiplied else Action.ADD] += totals.ones @ adds
    actions[Action.MULTIPLY_ADD] += totals.graded @ adds
    return int(totals.value @ costs.nonzeros.sum(axis=1, dtype=np.int64))


def _activations_met(placement: Placement, plan: LayerPlan, image: int, work: Work) -> int:
    """M4: surviving weights that activations meet, each once, in however many flits it came."""
    if plan.stored is None:
        return 0
    taps, tokens = plan.stored.taps, work.tokens
    channels = _channels_of(placement, plan, image, tokens)
    events = np.repeat(taps.border[tokens], _row_lengths(placement, plan, image, tokens)) * plan.source.channels
    nonzeros = plan.stored.costs.nonzeros.sum(axis=1, dtype=np.int64)
    return int(nonzeros[events + channels].sum())


def _count_pixels(plan: LayerPlan, actions: Counts) -> int:
    """W1 for the input convolution: every pixel of every channel once."""
    assert plan.stored is not None
    costs, taps = plan.stored.costs, plan.stored.taps
    tokens = np.bincount(taps.border, minlength=len(taps.valid))
    every = np.repeat(tokens, plan.source.channels)
    actions[Action.WEIGHT_READ] += every @ costs.words.sum(axis=1)
    valid = np.repeat(taps.valid.sum(axis=1), plan.source.channels)
    actions[Action.POINTER_READ] += (every @ valid) * plan.stored.pointing
    actions[Action.MULTIPLY_ADD] += every @ costs.adds.sum(axis=1, dtype=np.int64)
    return int(every @ costs.nonzeros.sum(axis=1, dtype=np.int64))


def _count_network(
    placement: Placement, plan: LayerPlan, works: Sequence[Work], totals: Totals, actions: Counts
) -> None:
    """W3, W4: flits over their trees, and scans of the keep bitmap."""
    assert plan.phase is not None
    trees, chip = plan.phase.trees, placement.chip
    sent = totals.sent
    actions[Action.FLIT_HOP] += sent @ trees.links
    actions[Action.BUFFER_WRITE] += sent @ trees.routers
    actions[Action.BUFFER_READ] += sent @ trees.outputs
    actions[Action.FIFO_WRITE] += sent @ trees.leaves
    actions[Action.FIFO_READ] += sent @ trees.leaves
    events = int(totals.events.sum(axis=(0, 2)) @ np.arange(1, plan.batch + 1))
    if isinstance(plan.layer, Select):
        actions[Action.FEATURE_UPDATE] += events
    elif isinstance(plan.layer, Attention):
        actions[Action.OPERAND_WRITE] += events
    if chip.token_unit.policy == "skip" and plan.layer.selector >= 0:
        scanning = 1 if plan.phase.senders.by_token else len(plan.phase.producers)
        for work in works:
            if len(work.tokens):
                scans = len(work.token) // len(work.tokens) if chip.core.order == "time_outer" else 1
                actions[Action.SCAN] += scans * plan.source.tokens * scanning


def _count_neurons(placement: Placement, plan: LayerPlan, images: int, made: int, actions: Counts) -> None:
    """W2, M4: neurons of every closed output (`made` places), or of every channel of every image (A4)."""
    layer = plan.layer
    if plan.target is None or not isinstance(layer, (Conv, Linear, Attention)):
        return
    places = images if isinstance(layer, Attention) and layer.form == "hadamard" else made
    neurons = placement.trace.numerics.timesteps * places * plan.target.channels
    ann = is_ann(placement.trace)
    actions[Action.REQUANTISE if ann else Action.NEURON_UPDATE] += neurons
    if layer.membrane is not None:
        actions[Action.LEAK_MULTIPLY] += neurons * layer.membrane.multiplies
        actions[Action.RESET_SUBTRACT] += neurons * (layer.membrane.reset_by is not None)
    if isinstance(layer, Attention):
        actions[Action.ACCUMULATOR_UPDATE] += neurons
    elif not ann:
        assert plan.cut is not None
        groups = -(-plan.owned // placement.chip.core.sweep_width)
        batches = -(-placement.trace.numerics.timesteps // plan.batch)
        words = batches * made * int(groups.max() if plan.cut.by_token else groups.sum())
        actions[Action.POTENTIAL_READ] += words
        actions[Action.POTENTIAL_WRITE] += words


def _count_spike_memory(
    placement: Placement, plan: LayerPlan, works: Sequence[Work], made: int, actions: Counts
) -> None:
    """W2: bits of source and residual read, of the `made` places of the target written; W5: what is pooled."""
    timesteps = placement.trace.numerics.timesteps
    bits = placement.value_bits
    if plan.source.kind == "real":
        actions[Action.SPIKE_READ] += len(works) * plan.source.tokens * plan.source.channels * 8
    else:
        tokens = sum(len(work.tokens) for work in works)
        actions[Action.SPIKE_READ] += timesteps * tokens * plan.source.channels * bits[plan.source.name]
    if plan.target is None:
        return
    places = timesteps * made * plan.target.channels
    actions[Action.SPIKE_WRITE] += places * bits[plan.target.name]
    if plan.layer.residual:
        actions[Action.SPIKE_READ] += places * bits[plan.layer.residual]
    if isinstance(plan.layer, Conv) and plan.layer.pooled is not None:
        assert plan.stored is not None
        sweeps = len(works) * int(plan.stored.taps.sweeps.sum())
        actions[Action.POOL_MAX] += timesteps * sweeps * plan.target.channels
    if isinstance(plan.layer, Pool):
        action, values = _pooled(plan.layer, plan.source)
        actions[action] += len(works) * timesteps * values * plan.source.channels


def _pooled(layer: Pool, source: Stream) -> tuple[Action, int]:
    """W5: what a pool does, and how often in a timestep and channel: per input; a sum per input of each window."""
    if layer.form == "sum":
        taps = find_taps(source.height, source.width, layer.geometry)
        return Action.POOL_ADD, int(taps.valid.sum(axis=1)[taps.border].sum())
    return Action.POOL_OR if source.kind == "binary" else Action.POOL_MAX, source.tokens


def _count_selector(placement: Placement, plan: LayerPlan, images: int, actions: Counts) -> None:
    """W4: the scorer and the ranking, on the candidates."""
    layer = plan.layer
    assert isinstance(layer, Select)
    candidates = kept_count(placement.trace, layer, plan.source.tokens)
    if layer.hidden is not None:
        macs = hidden_weights(placement.chip, layer) + layer.hidden.output_channels
        actions[Action.SELECTOR_MAC] += images * candidates * macs
    if layer.form != "random":
        actions[Action.SCORE_COMPARE] += images * candidates * candidates


def _count_attention(placement: Placement, plan: LayerPlan, image: int, work: Work, actions: Counts) -> None:
    """W5: operand bits, ANDs and gated additions; M6: multiply-accumulates and the first product's rounding."""
    layer, timesteps = plan.layer, placement.trace.numerics.timesteps
    assert isinstance(layer, Attention)
    width = plan.source.channels // 3 // layer.heads
    queries, keys = len(work.tokens), kept_count(placement.trace, layer, plan.source.tokens)
    products = timesteps * layer.heads
    if layer.form == "hadamard":
        actions[Action.AND_POPCOUNT] += products * (keys + queries) * width
        actions[Action.ATTENTION_ADD] += _coincidences(placement, plan, image)
        actions[Action.OPERAND_READ] += products * (2 * keys + queries) * width
        return
    query_spikes, value_spikes = _operand_spikes(placement, plan, image, work)
    qk_first = attention_order(placement, layer, plan.source) == "qk_first"
    if qk_first:
        first, second = queries * keys * width, queries * value_spikes
        read = queries * width + 2 * queries * keys * width
    else:
        first, second = keys * width * width, query_spikes * width
        read = 2 * keys * width + queries * width
    if not is_ann(placement.trace):
        actions[Action.AND_POPCOUNT] += products * first
        actions[Action.ATTENTION_ADD] += second
        actions[Action.OPERAND_READ] += products * read
        return
    actions[Action.ATTENTION_MAC] += second + (keys * query_spikes if qk_first else width * value_spikes)
    actions[Action.ACCUMULATOR_UPDATE] += second
    actions[Action.REQUANTISE] += products * (queries * keys if qk_first else width * width)
    actions[Action.OPERAND_READ] += products * read * ACTIVATION_MAX.bit_length()


def _operand_spikes(placement: Placement, plan: LayerPlan, image: int, work: Work) -> tuple[int, int]:
    """Spikes of q over the queries, and of v over the kept tokens; kept with the trace."""
    memory, key = placement.trace.derived, ("operands", plan.layer.name, image, len(work.tokens))
    if key not in memory:
        memory[key] = _find_operand_spikes(placement, plan, image, work)
    spikes: tuple[int, int] = memory[key]
    return spikes


def _find_operand_spikes(placement: Placement, plan: LayerPlan, image: int, work: Work) -> tuple[int, int]:
    third = plan.source.channels // 3
    kept = np.flatnonzero(placement.trace.kept_mask(plan.layer.selector, plan.source.tokens)[image])
    q = _channels_of(placement, plan, image, work.tokens)
    v = _channels_of(placement, plan, image, kept)
    return int((q < third).sum()), int((v >= 2 * third).sum())


def _coincidences(placement: Placement, plan: LayerPlan, image: int) -> int:
    """A4: pairs of a k and a v of the same kept token, channel and timestep that both spike."""
    third = plan.source.channels // 3
    kept = np.flatnonzero(placement.trace.kept_mask(plan.layer.selector, plan.source.tokens)[image])
    lengths = _row_lengths(placement, plan, image, kept)
    channels = _channels_of(placement, plan, image, kept).astype(np.int64)
    places = np.repeat(np.arange(len(lengths)), lengths) * third + channels % third
    operand = channels // third
    return len(np.intersect1d(places[operand == 1], places[operand == 2], assume_unique=True))


def _rows_of(placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of a source stream's events on some tokens of an image, timestep after timestep."""
    timesteps = placement.trace.numerics.timesteps
    return ((image * timesteps + np.arange(timesteps))[:, None] * plan.source.tokens + tokens).reshape(-1)


def _row_lengths(placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Events in each of these rows."""
    assert plan.source.events is not None
    rows, offsets = _rows_of(placement, plan, image, tokens), plan.source.events.offsets
    return offsets[rows + 1] - offsets[rows]


def _event_slices(placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of a source stream's events on some tokens of an image, all timesteps."""
    assert plan.source.events is not None
    first = plan.source.events.offsets[_rows_of(placement, plan, image, tokens)]
    lengths = _row_lengths(placement, plan, image, tokens)
    starts = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
    return starts + np.arange(lengths.sum())


def _channels_of(placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64]) -> NDArray[np.uint16]:
    assert plan.source.events is not None
    return plan.source.events.channels[_event_slices(placement, plan, image, tokens)]


def _spikes(placement: Placement, plan: LayerPlan, image: int, work: Work) -> int:
    """Input events of the layer, as the trace has them; pixels for the input convolution; 0 where none are recorded."""
    if plan.source.kind != "real" and plan.source.events is None:
        return 0
    if plan.source.events is None:
        return plan.source.tokens * plan.source.channels
    return int(_row_lengths(placement, plan, image, work.tokens).sum())
