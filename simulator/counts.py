"""Action counts of a layer on an image, from its events and placement alone: no clock (rules W1 to W7)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .activity import Action
from .capacity import attention_order, kept_count
from .dram import Channel
from .kernels.encoder import Flits
from .phase import Work
from .placement import LayerPlan, Placement, hidden_weights
from .trace import Attention, Conv, Linear, Pool, Select

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """What a layer's tokens did: counts int64[Action], and the sums that stand beside them."""

    actions: Counts
    synaptic_events: int
    spikes: int


def count_layer(placement: Placement, plan: LayerPlan, image: int, work: Work, flits: Flits | None) -> Counted:
    """Counts of the tokens in `work`; `flits` are those of `work`, None for layers without a phase."""
    actions = np.zeros(len(Action), np.int64)
    synaptic_events = 0
    if flits is not None:
        synaptic_events = _count_flits(plan, flits, actions)
        _count_network(placement, plan, work, flits, actions)
    elif plan.stored is not None:
        synaptic_events = _count_pixels(plan, actions)
    _count_neurons(placement, plan, work, actions)
    _count_spike_memory(placement, plan, work, actions)
    if isinstance(plan.layer, Select):
        _count_selector(placement, plan, actions)
    elif isinstance(plan.layer, Attention):
        _count_attention(placement, plan, image, work, actions)
    actions[Action.ACCUMULATOR_UPDATE] += (
        actions[Action.ADD] + actions[Action.MULTIPLY_ADD] + actions[Action.ATTENTION_ADD]
    )
    return Counted(actions, synaptic_events, _spikes(placement, plan, image, work))


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


def _count_flits(plan: LayerPlan, flits: Flits, actions: Counts) -> int:
    """W1, W7: what the cores do with each event; returns the synaptic events."""
    if plan.stored is None:
        return 0
    costs, taps = plan.stored.costs, plan.stored.taps
    data = flits.event >= 0
    kinds, events, values = costs.words.shape[0], flits.event[data], flits.values[data]
    every = np.bincount(events, minlength=kinds)
    ones = np.bincount(events, weights=(values == 1).sum(axis=1), minlength=kinds).astype(np.int64)
    graded = np.bincount(events, weights=(values > 1).sum(axis=1), minlength=kinds).astype(np.int64)
    total = np.bincount(events, weights=values.sum(axis=1), minlength=kinds).astype(np.int64)
    actions[Action.WEIGHT_READ] += every @ costs.words.sum(axis=1)
    valid = np.repeat(taps.valid.sum(axis=1), plan.source.channels)
    actions[Action.POINTER_READ] += (every @ valid) * plan.stored.pointing
    adds = costs.adds.sum(axis=1, dtype=np.int64)
    actions[Action.ADD] += ones @ adds
    actions[Action.MULTIPLY_ADD] += graded @ adds
    return int(total @ costs.nonzeros.sum(axis=1, dtype=np.int64))


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


def _count_network(placement: Placement, plan: LayerPlan, work: Work, flits: Flits, actions: Counts) -> None:
    """W3, W4: flits over their trees, and scans of the keep bitmap."""
    assert plan.phase is not None
    trees, chip = plan.phase.trees, placement.chip
    sent = np.bincount(flits.tree, minlength=len(trees.links))
    actions[Action.FLIT_HOP] += sent @ trees.links
    actions[Action.BUFFER_WRITE] += sent @ trees.routers
    actions[Action.BUFFER_READ] += sent @ trees.outputs
    actions[Action.FIFO_WRITE] += sent @ trees.leaves
    actions[Action.FIFO_READ] += sent @ trees.leaves
    events = int(flits.active.sum())
    if isinstance(plan.layer, Select):
        actions[Action.FEATURE_UPDATE] += events
    elif isinstance(plan.layer, Attention):
        actions[Action.OPERAND_WRITE] += events
    if chip.token_unit.policy == "skip" and plan.layer.selector >= 0 and len(work.tokens):
        scans = len(work.token) // len(work.tokens) if chip.core.order == "time_outer" else 1
        scanning = 1 if plan.phase.senders.by_token else len(plan.phase.producers)
        actions[Action.SCAN] += scans * plan.source.tokens * scanning


def _count_neurons(placement: Placement, plan: LayerPlan, work: Work, actions: Counts) -> None:
    """W2: neurons of every closed output."""
    if plan.target is None or isinstance(plan.layer, (Pool, Select)):
        return
    neurons = placement.trace.numerics.timesteps * len(work.tokens) * plan.target.channels
    actions[Action.NEURON_UPDATE] += neurons
    if isinstance(plan.layer, (Conv, Linear)):
        assert plan.cut is not None
        groups = -(-plan.owned // placement.chip.core.sweep_width)
        batches = -(-placement.trace.numerics.timesteps // plan.batch)
        words = batches * len(work.tokens) * int(groups.max() if plan.cut.by_token else groups.sum())
        actions[Action.POTENTIAL_READ] += words
        actions[Action.POTENTIAL_WRITE] += words
    else:
        actions[Action.ACCUMULATOR_UPDATE] += neurons


def _count_spike_memory(placement: Placement, plan: LayerPlan, work: Work, actions: Counts) -> None:
    """W2: bits of source and residual read, of the target written."""
    timesteps = placement.trace.numerics.timesteps
    bits = placement.value_bits
    if plan.source.kind == "real":
        actions[Action.SPIKE_READ] += plan.source.tokens * plan.source.channels * 8
    else:
        actions[Action.SPIKE_READ] += timesteps * len(work.tokens) * plan.source.channels * bits[plan.source.name]
    if plan.target is None:
        return
    tokens = plan.target.tokens if isinstance(plan.layer, Pool) else len(work.tokens)
    places = timesteps * tokens * plan.target.channels
    actions[Action.SPIKE_WRITE] += places * bits[plan.target.name]
    if plan.layer.residual:
        actions[Action.SPIKE_READ] += places * bits[plan.layer.residual]
    if isinstance(plan.layer, Pool):
        actions[Action.POOL_OR] += timesteps * plan.source.tokens * plan.source.channels


def _count_selector(placement: Placement, plan: LayerPlan, actions: Counts) -> None:
    """W4: the scorer and the ranking, on the candidates."""
    layer = plan.layer
    assert isinstance(layer, Select)
    candidates = kept_count(placement.trace, layer, plan.source.tokens)
    if layer.hidden is not None:
        actions[Action.SELECTOR_MAC] += candidates * (
            hidden_weights(placement.chip, layer) + layer.hidden.output_channels
        )
    if layer.form != "random":
        actions[Action.SCORE_COMPARE] += candidates * candidates


def _count_attention(placement: Placement, plan: LayerPlan, image: int, work: Work, actions: Counts) -> None:
    """W5: operand bits, ANDs and gated additions."""
    layer, timesteps = plan.layer, placement.trace.numerics.timesteps
    assert isinstance(layer, Attention)
    width = plan.source.channels // 3 // layer.heads
    queries, keys = len(work.tokens), kept_count(placement.trace, layer, plan.source.tokens)
    products = timesteps * layer.heads
    query_spikes, value_spikes = _operand_spikes(placement, plan, image, work)
    if attention_order(placement, layer, plan.source) == "qk_first":
        actions[Action.AND_POPCOUNT] += products * queries * keys * width
        actions[Action.ATTENTION_ADD] += queries * value_spikes
        actions[Action.OPERAND_READ] += products * (queries * width + 2 * queries * keys * width)
    else:
        actions[Action.AND_POPCOUNT] += products * keys * width * width
        actions[Action.ATTENTION_ADD] += query_spikes * width
        actions[Action.OPERAND_READ] += products * (2 * keys * width + queries * width)


def _operand_spikes(placement: Placement, plan: LayerPlan, image: int, work: Work) -> tuple[int, int]:
    """Spikes of q over the queries, and of v over the kept tokens."""
    third = plan.source.channels // 3
    kept = np.flatnonzero(placement.trace.kept_mask(plan.layer.selector, plan.source.tokens)[image])
    q = _channels_of(placement, plan, image, work.tokens)
    v = _channels_of(placement, plan, image, kept)
    return int((q < third).sum()), int((v >= 2 * third).sum())


def _event_slices(placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of a source stream's events on some tokens of an image, all timesteps."""
    assert plan.source.events is not None
    timesteps = placement.trace.numerics.timesteps
    rows = ((image * timesteps + np.arange(timesteps))[:, None] * plan.source.tokens + tokens).reshape(-1)
    offsets = plan.source.events.offsets
    lengths = offsets[rows + 1] - offsets[rows]
    starts = np.repeat(offsets[rows] - np.cumsum(lengths) + lengths, lengths)
    return starts + np.arange(lengths.sum())


def _channels_of(placement: Placement, plan: LayerPlan, image: int, tokens: NDArray[np.int64]) -> NDArray[np.uint16]:
    assert plan.source.events is not None
    return plan.source.events.channels[_event_slices(placement, plan, image, tokens)]


def _spikes(placement: Placement, plan: LayerPlan, image: int, work: Work) -> int:
    """Input events of the layer, as the trace has them; pixels for the input convolution."""
    if plan.source.events is None:
        return plan.source.tokens * plan.source.channels
    return len(_event_slices(placement, plan, image, work.tokens))
