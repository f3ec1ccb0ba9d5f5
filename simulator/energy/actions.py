"""What each action is made of: primitives by the bit, CACTI's macros by the word, DRAM by the byte.

Reads chip numbers and no prices; `pricer.py` multiplies. Nothing here knows a cycle's cause.
"""

from collections.abc import Mapping

from ..activity import Action
from ..hardware import Chip
from ..layers import DECAY_BITS, VALUE_BITS
from ..sram import FEATURE_WORD_BITS, OPERAND_WORD_BITS, SELECTOR_WORD_BITS, SPIKE_WORD_BITS, MacroCost
from .recipe import Recipe, of

SCALE_BITS = 15  # of a requantisation's multiplier (M2)
FEATURE_BITS = 16
SCORE_BITS = 32
BITS_PER_BYTE = 8
LINK = "primitives.link_bit_mm x geometry.tile_pitch"  # one bit over one link: a product of two entries

COMPONENT_OF = {
    Action.WEIGHT_READ: "weight_memory",
    Action.WEIGHT_WRITE: "weight_memory",
    Action.POINTER_READ: "weight_memory",
    Action.POINTER_WRITE: "weight_memory",
    Action.ADD: "lanes",
    Action.MULTIPLY_ADD: "lanes",
    Action.ACCUMULATOR_UPDATE: "accumulators",
    Action.NEURON_UPDATE: "neurons",
    Action.POTENTIAL_READ: "potentials",
    Action.POTENTIAL_WRITE: "potentials",
    Action.SPIKE_READ: "spike_memory",
    Action.SPIKE_WRITE: "spike_memory",
    Action.POOL_OR: "neurons",
    Action.FLIT_HOP: "network",
    Action.BUFFER_WRITE: "network",
    Action.BUFFER_READ: "network",
    Action.FIFO_WRITE: "network",
    Action.FIFO_READ: "network",
    Action.SCAN: "token_unit",
    Action.FEATURE_UPDATE: "token_unit",
    Action.SELECTOR_MAC: "token_unit",
    Action.SCORE_COMPARE: "token_unit",
    Action.OPERAND_WRITE: "attention",
    Action.OPERAND_READ: "attention",
    Action.AND_POPCOUNT: "attention",
    Action.ATTENTION_ADD: "attention",
    Action.DRAM_READ: "dram",
    Action.DRAM_WRITE: "dram",
    Action.REQUANTISE: "neurons",
    Action.POOL_MAX: "neurons",
    Action.ATTENTION_MAC: "attention",
    Action.LEAK_MULTIPLY: "neurons",
    Action.RESET_SUBTRACT: "neurons",
    Action.POOL_ADD: "neurons",
}


def action_recipes(chip: Chip, memories: Mapping[str, MacroCost]) -> dict[Action, Recipe]:
    """What one of each action is made of, in pJ; `memories`: CACTI's costs by the macro's name."""
    return _core(chip, memories) | _network(chip) | _units(chip, memories) | _dram(chip)


def _access(pj: float) -> Recipe:
    """CACTI's energy of a read or a write, within its band."""
    return pj * of("sram.access")


def _arithmetic(chip: Chip) -> tuple[Recipe, Recipe]:
    """An addition to an accumulator, and a multiplication of a weight and an addition."""
    core = chip.core
    addition = core.accumulator_bits * of("primitives.add_bit")
    return addition, core.weight_bits * VALUE_BITS * of("primitives.multiply_bit2") + addition


def _core(chip: Chip, memories: Mapping[str, MacroCost]) -> dict[Action, Recipe]:
    core = chip.core
    add, multiply, compare, register, and_count = (
        of(f"primitives.{key}") for key in ("add_bit", "multiply_bit2", "compare_bit", "register_bit", "and_count_bit")
    )
    addition, mac = _arithmetic(chip)
    weights, pointers, potentials, spikes = (memories[name] for name in ("weights", "pointers", "potentials", "spikes"))
    return {
        Action.WEIGHT_READ: _access(weights.read_pj),
        Action.WEIGHT_WRITE: _access(weights.write_pj),
        Action.POINTER_READ: _access(pointers.read_pj),
        Action.POINTER_WRITE: _access(pointers.write_pj),
        Action.ADD: addition,
        Action.MULTIPLY_ADD: mac,
        Action.ACCUMULATOR_UPDATE: 2 * core.accumulator_bits * register,  # read and written back
        Action.NEURON_UPDATE: core.potential_bits * (2 * add + compare),  # halving is wiring
        Action.LEAK_MULTIPLY: core.potential_bits * DECAY_BITS * multiply,
        Action.RESET_SUBTRACT: core.potential_bits * add,
        Action.POTENTIAL_READ: _access(potentials.read_pj),
        Action.POTENTIAL_WRITE: _access(potentials.write_pj),
        Action.SPIKE_READ: _access(spikes.read_pj / SPIKE_WORD_BITS),
        Action.SPIKE_WRITE: _access(spikes.write_pj / SPIKE_WORD_BITS),
        Action.POOL_OR: and_count,
        Action.POOL_MAX: VALUE_BITS * (compare + and_count),  # a comparison, and a gate per bit to choose
        Action.POOL_ADD: VALUE_BITS * add,
        # adds the bias, multiplies, adds half a unit and compares with the limit; shifting is wiring and a multiplexer
        Action.REQUANTISE: addition
        + core.accumulator_bits * SCALE_BITS * multiply
        + (core.accumulator_bits + SCALE_BITS) * (add + compare),
    }


def _network(chip: Chip) -> dict[Action, Recipe]:
    """Links and crossbars by the bit; queues by the bit stored, and the pointer that an access moves."""
    flit, register, counter = chip.flit_bits, of("primitives.register_bit"), of("primitives.counter_bit")
    buffer = flit * register + pointer_bits(chip.mesh.buffer_flits) * counter
    fifo = flit * register + pointer_bits(chip.core.fifo_flits) * counter
    return {
        Action.FLIT_HOP: flit * (of(LINK) + of("primitives.router_bit")),
        Action.BUFFER_WRITE: buffer,
        Action.BUFFER_READ: buffer,
        Action.FIFO_WRITE: fifo,
        Action.FIFO_READ: fifo,
    }


def pointer_bits(depth: int) -> int:
    """Bits of the counter that points into a queue: ceil(log2(depth)), at least 1."""
    return max(1, (depth - 1).bit_length())


def _units(chip: Chip, memories: Mapping[str, MacroCost]) -> dict[Action, Recipe]:
    """The token unit and the attention units."""
    add, compare, register, and_count = (
        of(f"primitives.{key}") for key in ("add_bit", "compare_bit", "register_bit", "and_count_bit")
    )
    addition, mac = _arithmetic(chip)
    features, selector, operands = (memories[name] for name in ("features", "selector weights", "operands"))
    selector_bits = chip.core.weight_bits / SELECTOR_WORD_BITS
    return {
        Action.SCAN: register,
        Action.FEATURE_UPDATE: _access(features.read_pj + features.write_pj) + FEATURE_BITS * add,
        Action.SELECTOR_MAC: mac
        + _access(selector.read_pj * selector_bits)
        + _access(features.read_pj * FEATURE_BITS / FEATURE_WORD_BITS),
        Action.SCORE_COMPARE: SCORE_BITS * (compare + register),
        Action.OPERAND_WRITE: _access(operands.write_pj),  # a masked write opens the whole word
        Action.OPERAND_READ: _access(operands.read_pj / OPERAND_WORD_BITS),
        Action.AND_POPCOUNT: and_count,
        Action.ATTENTION_ADD: addition,
        Action.ATTENTION_MAC: VALUE_BITS**2 * of("primitives.multiply_bit2") + addition,
    }


def _dram(chip: Chip) -> dict[Action, Recipe]:
    kind = chip.dram.type
    return {
        Action.DRAM_READ: BITS_PER_BYTE * of(f"dram.{kind}.read"),
        Action.DRAM_WRITE: BITS_PER_BYTE * of(f"dram.{kind}.write"),
    }
