"""What does not fit is refused, with what is needed and what is there (P4); what may overflow is measured (D5)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .hardware import Chip
from .placement import LayerPlan, Placement, Stored
from .trace import Attention, Conv, Head, Layer, Linear, Numerics, Select, Trace


def check_capacity(placement: Placement, largest: dict[str, int]) -> None:
    """Raise UserError with every layer and memory that does not fit, each with both numbers."""
    chip, trace = placement.chip, placement.trace
    faults = list(_numeric_faults(trace.numerics, chip))
    if chip.token_unit.policy != "skip" and trace.kept and not trace.shadow:
        faults.append(f'token_unit.policy = "{chip.token_unit.policy}" needs a trace with shadow tokens; this has none')
    for plan in placement.plans:
        where = f"layer {plan.layer.name!r}"
        if plan.source.channels > 2**chip.mesh.channel_bits:
            faults.append(
                _short(where, "mesh.channel_bits", plan.source.channels, 2**chip.mesh.channel_bits, "channels")
            )
        trees = 0 if plan.phase is None else len(plan.phase.trees.links)
        if trees > 2**chip.mesh.tree_bits:
            faults.append(_short(where, "mesh.tree_bits", trees, 2**chip.mesh.tree_bits, "multicast trees"))
        if plan.stored is not None:
            faults += _weight_faults(chip, plan.stored, where)
            faults += _sum_faults(placement, plan, largest[plan.source.name], where)
        faults += _layer_faults(placement, plan, where)
    if faults:
        raise UserError(f"chip {chip.name!r} cannot run this trace: " + "; ".join(faults))


def _short(where: str, key: str, need: int, have: int, unit: str) -> str:
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
        yield _short(
            where, "core.weight_kib", int(words * word_bytes), int(have * word_bytes), "bytes of weights per core"
        )
    pointers, have = int(stored.pointers.max()), pointer_words(chip)
    if pointers > have:
        yield _short(where, "core.pointer_kib", 4 * pointers, 4 * have, "bytes of row pointers per core")


def _sum_faults(placement: Placement, plan: LayerPlan, largest: int, where: str) -> Iterator[str]:
    """A sum that could overflow an accumulator (P4)."""
    layer, stored = plan.layer, plan.stored
    assert stored is not None
    assert isinstance(layer, (Conv, Linear, Head))
    weights = stored.weights
    values = np.ones(weights.nonzeros) if weights.values is None else np.abs(weights.values.astype(np.int64))
    sums = np.bincount(weights.outputs, weights=values, minlength=weights.output_channels) * largest
    if isinstance(layer, Head):
        sums *= placement.trace.numerics.timesteps * kept_count(placement.trace, layer, plan.source.tokens)
    bound = int((sums + np.abs(layer.bias)).max())
    have = 2 ** (placement.chip.core.accumulator_bits - 1) - 1
    if bound > have:
        yield _short(where, "core.accumulator_bits", bound, have, "as the largest possible sum")


def kept_count(trace: Trace, layer: Layer, tokens: int) -> int:
    """Tokens that the selector before a layer keeps."""
    return trace.kept[layer.selector].shape[1] if layer.selector >= 0 else tokens


def worked_count(trace: Trace, chip: Chip, layer: Layer, tokens: int) -> int:
    """Tokens that the chip works on (G3)."""
    return kept_count(trace, layer, tokens) if chip.token_unit.policy == "skip" else tokens


def window(chip: Chip, plan: LayerPlan) -> int:
    """Output positions that are open at one time: `contexts` tokens, or a convolution's rows and those in flight."""
    if not isinstance(plan.layer, Conv):
        return chip.core.contexts
    kernel = plan.layer.kernel
    return (kernel - 1) * plan.source.width + kernel + chip.core.contexts - 1


def _layer_faults(placement: Placement, plan: LayerPlan, where: str) -> Iterator[str]:
    chip, trace, layer = placement.chip, placement.trace, plan.layer
    timesteps, tokens = trace.numerics.timesteps, plan.source.tokens
    if isinstance(layer, (Conv, Linear, Head)):
        need = int(plan.owned.max()) * (1 if isinstance(layer, Head) else window(chip, plan))
        if isinstance(layer, Conv) and chip.core.order == "time_inner":
            need *= timesteps
        if need > chip.core.accumulator_words:
            yield _short(where, "core.accumulator_words", need, chip.core.accumulator_words, "accumulators per core")
    elif isinstance(layer, Select):
        need, have = tokens * plan.source.channels * 16, kib_bits(chip.token_unit.feature_kib)
        if need > have:
            yield _short(where, "token_unit.feature_kib", need // 8, have // 8, "bytes of features")
        if plan.unit_bytes > unit_weight_bytes(chip):
            have = unit_weight_bytes(chip)
            yield _short(where, "token_unit.weight_kib", plan.unit_bytes, have, "bytes of selector weights")
    elif isinstance(layer, Attention):
        width = plan.source.channels // 3 // layer.heads
        heads = -(-layer.heads // chip.attention.units)
        need, have = 3 * timesteps * tokens * width * heads, kib_bits(chip.attention.operand_kib)
        if need > have:
            yield _short(where, "attention.operand_kib", -(-need // 8), have // 8, "bytes of operands per unit")
        queries = worked_count(trace, chip, layer, tokens)
        keys = kept_count(trace, layer, tokens)
        first = keys if chip.attention.order != "kv_first" else width * width
        need = first + queries * width
        if need > chip.attention.accumulator_words:
            have = chip.attention.accumulator_words
            yield _short(where, "attention.accumulator_words", need, have, "accumulators per attention unit")


def spilled_bytes(placement: Placement, index: int) -> int:
    """D5: bytes that a layer writes to DRAM and reads back, each way, per image."""
    chip, trace = placement.chip, placement.trace
    plan = placement.plans[index]
    timesteps = trace.numerics.timesteps
    bits = np.zeros(chip.cores, np.int64)
    for name in _live_streams(placement, index):
        bits += _stream_bits(placement, name)
    spikes = _beyond(bits, chip.core.spike_kib)
    potentials = 0
    if isinstance(plan.layer, (Conv, Linear)):
        positions = window(chip, plan)
        if chip.core.order == "time_outer":
            positions = worked_count(trace, chip, plan.layer, plan.source.tokens)
        potentials = _beyond(plan.owned * chip.core.potential_bits * positions, chip.core.potential_kib)
    return spikes + (timesteps - 1) * potentials


def _beyond(bits_per_core: NDArray[np.int64], kib: float) -> int:
    """Bytes, over the cores, that do not fit a memory of that size on each."""
    excess = -(-bits_per_core // 8) - int(kib * 1024)
    return int(np.maximum(excess, 0).sum())


def _live_streams(placement: Placement, index: int) -> set[str]:
    """Streams in spike memory while a layer runs: its own, and earlier ones that are still to be read."""
    layers = placement.trace.layers
    present = {layers[index].source, layers[index].target} - {""}
    made = {layer.target for layer in layers[:index]} | {
        name for name in placement.trace.streams if all(layer.target != name for layer in layers)
    }
    wanted = {name for layer in layers[index:] for name in (layer.source, layer.residual)}
    return present | ((made & wanted) - {""})


def _stream_bits(placement: Placement, name: str) -> NDArray[np.int64]:
    """Bits of a stream in each core's spike memory."""
    chip, trace = placement.chip, placement.trace
    stream = trace.streams[name]
    if stream.kind == "real":
        return np.full(chip.cores, stream.tokens * stream.channels * 8, np.int64)
    home = placement.homes[name]
    if home.at_attention:
        return np.zeros(chip.cores, np.int64)
    owned = np.bincount(home.owner, minlength=chip.cores).astype(np.int64)
    return owned * trace.numerics.timesteps * stream.tokens * placement.value_bits[name]
