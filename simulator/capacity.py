"""What does not fit is refused, with what is needed and what is there (P4); what may overflow is measured (D5)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .cuts import keeps_copy
from .errors import UserError
from .hardware import Chip
from .placement import LayerPlan, Placement, Stored
from .taps import open_outputs
from .trace import ACTIVATION_MAX, Attention, Conv, Head, Layer, Linear, Numerics, Select, Stream, Trace


def check_capacity(placement: Placement, largest: dict[str, int]) -> None:
    """Raise UserError with every layer and memory that does not fit, each with both numbers."""
    from .pipelined_capacity import pipeline_faults

    chip, trace = placement.chip, placement.trace
    faults = list(_numeric_faults(trace.numerics, chip))
    if chip.token_unit.policy != "skip" and trace.kept and not trace.shadow:
        faults.append(f'token_unit.policy = "{chip.token_unit.policy}" needs a trace with shadow tokens; this has none')
    for plan in placement.plans:
        where = f"layer {plan.layer.name!r}"
        if plan.source.channels > 2**chip.mesh.channel_bits:
            faults.append(
                shortfall(where, "mesh.channel_bits", plan.source.channels, 2**chip.mesh.channel_bits, "channels")
            )
        trees = 0 if plan.phase is None else len(plan.phase.trees.links)
        if trees > 2**chip.mesh.tree_bits:
            faults.append(shortfall(where, "mesh.tree_bits", trees, 2**chip.mesh.tree_bits, "multicast trees"))
        if plan.stored is not None:
            faults += _weight_faults(chip, plan.stored, where)
            faults += _sum_faults(placement, plan, largest[plan.source.name], where)
        faults += _layer_faults(placement, plan, where)
    if chip.schedule == "pipelined":
        faults += pipeline_faults(placement)
    if faults:
        raise UserError(f"chip {chip.name!r} cannot run this trace: " + "; ".join(faults))


def shortfall(where: str, key: str, need: float, have: float, unit: str) -> str:
    """A sentence with both numbers."""
    return f"{where} needs {need:,} {unit}, but {key} gives {have:,}"


def _numeric_faults(numerics: Numerics, chip: Chip) -> Iterator[str]:
    for name in ("weight_bits", "potential_bits"):
        need, have = getattr(numerics, name), getattr(chip.core, name)
        if need > have:
            yield f"the trace has {name} = {need}, but core.{name} = {have}"


def kib_bits(kib: float) -> int:
    """Bits of a memory given in KiB."""
    return int(kib * 8192)


def weight_words(chip: Chip) -> int:
    """Words that a core's weight memory holds, the same in every bank."""
    core = chip.core
    return kib_bits(core.weight_kib) // (core.weight_word_bits * core.weight_banks) * core.weight_banks


def pointer_words(chip: Chip) -> int:
    """Row pointers that a core holds."""
    return kib_bits(chip.core.pointer_kib) // 32


def unit_weight_bytes(chip: Chip) -> int:
    """Bytes of selector weights that the token unit holds."""
    return kib_bits(chip.token_unit.weight_kib) // 8


def _weight_faults(chip: Chip, stored: Stored, where: str) -> Iterator[str]:
    words, have = int(stored.words.max()), weight_words(chip)
    if words > have:
        word_bytes = chip.core.weight_word_bits / 8
        yield shortfall(
            where, "core.weight_kib", int(words * word_bytes), int(have * word_bytes), "bytes of weights per core"
        )
    pointers, have = int(stored.pointers.max()), pointer_words(chip)
    if pointers > have:
        yield shortfall(where, "core.pointer_kib", 4 * pointers, 4 * have, "bytes of row pointers per core")


def _sum_faults(placement: Placement, plan: LayerPlan, largest: int, where: str) -> Iterator[str]:
    """A sum that could overflow an accumulator (P4)."""
    layer, stored = plan.layer, plan.stored
    assert stored is not None
    assert isinstance(layer, (Conv, Linear, Head))
    weights = stored.weights
    if weights.values is None:  # a replay's: any of them may be the largest that there is
        values = np.full(weights.nonzeros, 2 ** (placement.trace.numerics.weight_bits - 1) - 1)
    else:
        values = np.abs(weights.values.astype(np.int64))
    sums = np.bincount(weights.outputs, weights=values, minlength=weights.output_channels) * largest
    if isinstance(layer, Head):
        sums *= placement.trace.numerics.timesteps * kept_count(placement.trace, layer, plan.source.tokens)
    bias = np.zeros(1, np.int64) if layer.bias is None else np.abs(layer.bias.astype(np.int64))
    bound = int((sums + bias).max())
    have = 2 ** (placement.chip.core.accumulator_bits - 1) - 1
    if bound > have:
        yield shortfall(where, "core.accumulator_bits", bound, have, "as the largest possible sum")


def kept_count(trace: Trace, layer: Layer, tokens: int) -> int:
    """Tokens that the selector before a layer keeps."""
    return trace.kept[layer.selector].shape[1] if layer.selector >= 0 else tokens


def worked_count(trace: Trace, chip: Chip, layer: Layer, tokens: int) -> int:
    """Tokens that the chip works on (G3)."""
    return kept_count(trace, layer, tokens) if chip.token_unit.policy == "skip" else tokens


def window(chip: Chip, plan: LayerPlan) -> int:
    """P4: outputs that are open at one time, `contexts` tokens or those of a convolution's windows."""
    if not isinstance(plan.layer, Conv):
        return chip.core.contexts
    size = plan.source.height, plan.source.width
    return open_outputs(*size, plan.layer.geometry, chip.core.contexts, plan.layer.pooled)


def open_neurons(chip: Chip, plan: LayerPlan) -> int:
    """D5: places of the target that are open at one time: where sums are pooled, fewer than there are accumulators."""
    if not isinstance(plan.layer, Conv):
        return chip.core.contexts
    return open_outputs(plan.source.height, plan.source.width, plan.layer.reach, chip.core.contexts)


def accumulator_positions(placement: Placement, plan: LayerPlan) -> int:
    """P4: accumulators of a layer per owned channel."""
    chip = placement.chip
    if isinstance(plan.layer, Head):
        return 1
    if not isinstance(plan.layer, (Conv, Linear)):
        return 0
    inner = isinstance(plan.layer, Conv) and chip.core.order == "time_inner"
    return window(chip, plan) * (placement.trace.numerics.timesteps if inner else plan.batch)


def operand_bits(placement: Placement, layer: Attention, source: Stream) -> NDArray[np.int64]:
    """P4: int64[units], bits of q, k and v of the unit's heads."""
    units = placement.chip.attention.units
    heads = np.bincount(np.arange(layer.heads) % units, minlength=units)
    width = source.channels // 3 // layer.heads
    value_bits = ACTIVATION_MAX.bit_length() if is_ann(placement.trace) else 1
    return 3 * placement.trace.numerics.timesteps * source.tokens * width * heads * value_bits


def is_ann(trace: Trace) -> bool:
    """Whether a trace is of a quantised ANN (M1)."""
    return trace.numerics.neuron == "relu"


def potential_width(placement: Placement) -> int:
    """Bits of a membrane potential that is kept; an ANN has none (M2)."""
    return 0 if is_ann(placement.trace) else placement.chip.core.potential_bits


def attention_order(placement: Placement, layer: Attention, source: Stream) -> str:
    """A2: which product the attention unit computes first; an ANN's is its trace's (M6)."""
    chip = placement.chip
    if layer.order:
        return layer.order
    if chip.attention.order != "auto":
        return chip.attention.order
    width = source.channels // 3 // layer.heads
    keys = kept_count(placement.trace, layer, source.tokens)
    fits = _order_words(placement, layer, source)["kv_first"] <= chip.attention.accumulator_words
    return "kv_first" if keys > width and fits else "qk_first"


def _order_words(placement: Placement, layer: Attention, source: Stream) -> dict[str, int]:
    """A2: accumulators that each order needs."""
    chip, trace = placement.chip, placement.trace
    width = source.channels // 3 // layer.heads
    queries = worked_count(trace, chip, layer, source.tokens)
    keys = kept_count(trace, layer, source.tokens)
    return {"qk_first": keys + queries * width, "kv_first": width * width + queries * width}


def attention_accumulators(placement: Placement, layer: Attention, source: Stream) -> int:
    """A2: accumulators of the order that the chip takes; A4: one per channel of a head."""
    if layer.form == "hadamard":
        return source.channels // 3 // layer.heads
    return _order_words(placement, layer, source)[attention_order(placement, layer, source)]


def _layer_faults(placement: Placement, plan: LayerPlan, where: str) -> Iterator[str]:
    chip, layer = placement.chip, plan.layer
    if isinstance(layer, (Conv, Linear, Head)):
        need = int(plan.owned.max()) * accumulator_positions(placement, plan)
        if need > chip.core.accumulator_words:
            yield shortfall(where, "core.accumulator_words", need, chip.core.accumulator_words, "accumulators per core")
    elif isinstance(layer, Select):
        need, have = plan.source.tokens * plan.source.channels * 16, kib_bits(chip.token_unit.feature_kib)
        if need > have:
            yield shortfall(where, "token_unit.feature_kib", need // 8, have // 8, "bytes of features")
        if plan.unit_bytes > unit_weight_bytes(chip):
            have = unit_weight_bytes(chip)
            yield shortfall(where, "token_unit.weight_kib", plan.unit_bytes, have, "bytes of selector weights")
    elif isinstance(layer, Attention):
        need = int(operand_bits(placement, layer, plan.source).max())
        have = kib_bits(chip.attention.operand_kib)
        if need > have:
            yield shortfall(where, "attention.operand_kib", -(-need // 8), have // 8, "bytes of operands per unit")
        need = attention_accumulators(placement, layer, plan.source)
        if need > chip.attention.accumulator_words:
            have = chip.attention.accumulator_words
            yield shortfall(where, "attention.accumulator_words", need, have, "accumulators per attention unit")
        if layer.order:
            yield from _ann_attention_faults(placement, layer, plan.source, where)


def _ann_attention_faults(placement: Placement, layer: Attention, source: Stream, where: str) -> Iterator[str]:
    """M6: another order than the trace's, a sum of 8-bit products that could overflow."""
    chip = placement.chip
    if chip.attention.order not in ("auto", layer.order):
        yield (
            f"{where} rounds its first product, so that the order is part of its numbers: attention.order must be "
            f'"auto" or "{layer.order}", not "{chip.attention.order}"'
        )
    keys, width = kept_count(placement.trace, layer, source.tokens), source.channels // 3 // layer.heads
    bound, have = max(keys, width) * ACTIVATION_MAX**2, 2 ** (chip.core.accumulator_bits - 1) - 1
    if bound > have:
        yield shortfall(where, "core.accumulator_bits", bound, have, "as the largest possible sum")


def spilled_bytes(placement: Placement, image: int, index: int) -> int:
    """D5: bytes that a layer writes to DRAM and reads back, each way, on an image."""
    chip, plan = placement.chip, placement.plans[index]
    key = "spilled spikes", index
    if key not in placement.derived:
        placement.derived[key] = _spilled_spikes(placement, index)
    spikes: int = placement.derived[key]
    potentials = 0
    if isinstance(plan.layer, (Conv, Linear)):
        positions = open_positions(placement, plan, image)
        potentials = _beyond(plan.owned * potential_width(placement) * positions, chip.core.potential_kib)
    batches = -(-placement.trace.numerics.timesteps // plan.batch)
    return spikes + (batches - 1) * potentials


def _spilled_spikes(placement: Placement, index: int) -> int:
    """Bytes of streams and of copies of streams that do not fit spike memory while a layer runs; of any image."""
    chip = placement.chip
    bits = np.zeros(chip.cores, np.int64)
    for name in _live_streams(placement, index):
        if name not in placement.derived:
            placement.derived[name] = stream_bits(placement, name)
        bits += placement.derived[name]
    for name in placement.trace.streams if chip.core.partition == "token" else ():
        bits += _copied_bits(placement, name, index)
    return _beyond(bits, chip.core.spike_kib)


def open_positions(placement: Placement, plan: LayerPlan, image: int) -> NDArray[np.int64]:
    """D5: int64[cores] (or one for all), outputs whose potentials a core keeps from one timestep to the next."""
    chip, trace = placement.chip, placement.trace
    if chip.core.order == "time_inner":
        return np.array([open_neurons(chip, plan)])
    if plan.cut is None or not plan.cut.by_token:
        assert plan.target is not None
        return np.array([worked_count(trace, chip, plan.layer, plan.target.tokens)])
    selector = plan.layer.selector if chip.token_unit.policy == "skip" else -1
    worked = trace.kept_mask(selector, plan.source.tokens)[image]
    return np.bincount(plan.cut.owner[worked], minlength=chip.cores)


def _beyond(bits_per_core: NDArray[np.int64], kib: float) -> int:
    """Bytes, over the cores, that do not fit a memory of that size on each."""
    excess = -(-bits_per_core // 8) - int(kib * 1024)
    return int(np.maximum(excess, 0).sum())


def _live_streams(placement: Placement, index: int) -> set[str]:
    """Streams in spike memory while a layer runs: its own, and earlier ones that are still to be read."""
    trace = placement.trace
    key = "live streams", index
    if key not in trace.derived:
        layers = trace.layers
        present = {layers[index].source, layers[index].target}
        made = {layer.target for layer in layers[:index]} | (set(trace.streams) - {layer.target for layer in layers})
        wanted = {name for layer in layers[index:] for name in (layer.source, layer.residual)}
        trace.derived[key] = (present | (made & wanted)) - {""}
    live: set[str] = trace.derived[key]
    return live


def stream_bits(placement: Placement, name: str) -> NDArray[np.int64]:
    """Bits of a stream in each core's spike memory."""
    chip, trace = placement.chip, placement.trace
    stream = trace.streams[name]
    if stream.kind == "real":
        return np.full(chip.cores, stream.tokens * stream.channels * 8, np.int64)
    home = placement.homes[name]
    if home.by == "units":
        return np.zeros(chip.cores, np.int64)
    owned = np.bincount(home.owner, minlength=chip.cores).astype(np.int64)
    others = stream.channels if home.by == "tokens" else stream.tokens
    return owned * others * trace.numerics.timesteps * placement.value_bits[name]


def _copied_bits(placement: Placement, name: str, index: int) -> NDArray[np.int64]:
    """Bits that the cores of its tokens keep of a stream that lies elsewhere (P3), while layer `index` runs."""
    chip, trace = placement.chip, placement.trace
    if not keeps_copy(trace, chip, name, index):
        return np.zeros(chip.cores, np.int64)
    cut = next(plan.cut for plan in placement.plans if plan.layer.source == name and plan.cut and plan.cut.by_token)
    if placement.homes[name].by == "tokens" and np.array_equal(placement.homes[name].owner, cut.owner):
        return np.zeros(chip.cores, np.int64)
    each = trace.numerics.timesteps * trace.streams[name].channels * placement.value_bits[name]
    return np.diff(cut.bounds) * each
