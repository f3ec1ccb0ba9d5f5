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
    shortfall,
    stream_bits,
    unit_weight_bytes,
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
        if need > have:
            yield shortfall('schedule = "pipelined"', key, need, have, unit)


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
            potentials += plan.owned * core.potential_bits * positions
    spikes = _spike_bits(placement)
    yield "core.weight_kib", int(words.max()), weight_words(chip), "words of weights on a core"
    yield "core.pointer_kib", 4 * int(pointers.max()), 4 * pointer_words(chip), "bytes of row pointers on a core"
    yield "core.accumulator_words", int(accumulators.max()), core.accumulator_words, "accumulators on a core"
    yield "core.potential_kib", int(potentials.max()), kib_bits(core.potential_kib), "bits of potentials on a core"
    yield "core.spike_kib", int(spikes.max()), kib_bits(core.spike_kib), "bits of spikes on a core"


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
    yield "token_unit.feature_kib", features, kib_bits(chip.token_unit.feature_kib), "bits of features"
    yield "token_unit.weight_kib", unit_bytes, unit_weight_bytes(chip), "bytes of selector weights"
    yield "attention.operand_kib", int(operands.max()), kib_bits(unit.operand_kib), "bits of operands on a unit"
    yield "attention.accumulator_words", int(sums.max()), unit.accumulator_words, "accumulators on a unit"
