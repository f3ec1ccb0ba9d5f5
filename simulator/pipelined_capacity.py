"""What all layers at work need at one time, where each alone would fit (rule L2)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .capacity import (
    accumulator_positions,
    attention_accumulators,
    kib_bits,
    open_positions,
    operand_bits,
    pointer_words,
    potential_width,
    shortfall,
    stream_bits,
    weight_words,
)
from .placement import Placement
from .trace import Attention, Conv, Linear, Select


def pipeline_faults(placement: Placement) -> Iterator[str]:
    """A sentence for everything that does not fit."""
    trees = sum(len(plan.phase.trees.links) for plan in placement.plans if plan.phase is not None)
    needs = [*_core_needs(placement), *_unit_needs(placement)]
    needs.append(("mesh.tree_bits", trees, 2**placement.chip.mesh.tree_bits, "multicast trees"))
    for key, need, have, unit in needs:
        if need > have:  # memories in bits
            in_kib = key.endswith("_kib")
            shown: tuple[float, float] = (_kib(need), _kib(have)) if in_kib else (need, have)
            yield shortfall('schedule = "pipelined"', key, shown[0], shown[1], unit)


def _kib(bits: int) -> float:
    """KiB of so many bits, rounded up to hundredths, as one would set them."""
    return -(-bits * 100 // 8192) / 100


def _core_needs(placement: Placement) -> Iterator[tuple[str, int, int, str]]:
    """(key, need of the fullest core, what there is, unit)."""
    chip, core, plans = placement.chip, placement.chip.core, placement.plans
    words, pointers, accumulators, potentials = (np.zeros(chip.cores, np.int64) for _ in range(4))
    for plan in plans:
        if plan.stored is not None:
            words += plan.stored.words
            pointers += plan.stored.pointers
        accumulators += plan.owned * accumulator_positions(placement, plan)
        if isinstance(plan.layer, (Conv, Linear)):
            images = range(placement.trace.images)
            positions = np.max([open_positions(placement, plan, image) for image in images], axis=0)
            potentials += plan.owned * potential_width(placement) * positions
    spikes = _spike_bits(placement)
    word_bits = core.weight_word_bits
    yield "core.weight_kib", int(words.max()) * word_bits, weight_words(chip) * word_bits, "KiB of weights on a core"
    yield "core.pointer_kib", int(pointers.max()) * 32, pointer_words(chip) * 32, "KiB of row pointers on a core"
    yield "core.accumulator_words", int(accumulators.max()), core.accumulator_words, "accumulators on a core"
    yield "core.potential_kib", int(potentials.max()), kib_bits(core.potential_kib), "KiB of potentials on a core"
    yield "core.spike_kib", int(spikes.max()), kib_bits(core.spike_kib), "KiB of spikes on a core"


def _spike_bits(placement: Placement) -> NDArray[np.int64]:
    """int64[cores]: two images of every stream; pixels where the first layer runs."""
    bits = np.zeros(placement.chip.cores, np.int64)
    for name, stream in placement.trace.streams.items():
        here = placement.plans[0].owned > 0 if stream.kind == "real" else 1
        bits += 2 * stream_bits(placement, name) * here
    return bits


def _unit_needs(placement: Placement) -> Iterator[tuple[str, int, int, str]]:
    """The same for the token unit and the fullest attention unit."""
    chip = placement.chip
    operands, sums = np.zeros(chip.attention.units, np.int64), np.zeros(chip.attention.units, np.int64)
    features = 0
    for plan in placement.plans:
        if isinstance(plan.layer, Attention):
            used = np.arange(chip.attention.units) < plan.layer.heads
            operands += operand_bits(placement, plan.layer, plan.source)
            sums += used * attention_accumulators(placement, plan.layer, plan.source)
        elif isinstance(plan.layer, Select):
            features += plan.source.tokens * plan.source.channels * 16
    unit_bytes = sum(plan.unit_bytes for plan in placement.plans)
    unit = chip.attention
    yield "token_unit.feature_kib", features, kib_bits(chip.token_unit.feature_kib), "KiB of features"
    yield "token_unit.weight_kib", unit_bytes * 8, kib_bits(chip.token_unit.weight_kib), "KiB of selector weights"
    yield "attention.operand_kib", int(operands.max()), kib_bits(unit.operand_kib), "KiB of operands on a unit"
    yield "attention.accumulator_words", int(sums.max()), unit.accumulator_words, "accumulators on a unit"
