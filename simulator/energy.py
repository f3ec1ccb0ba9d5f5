"""Energy: action counts times a table of prices, and leakage times time. Nothing here knows a cycle's cause.

A table is data (hwconfigs/energy/*.toml): primitives with value, band, kind and source. `action_prices` composes each
action from primitives and from the chip's SRAM macros; `price` multiplies.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from .activity import Action, Activity
from .errors import UserError, nearest
from .files import parse_toml, read_text
from .hardware import Chip
from .layers import DECAY_BITS
from .sram import FEATURE_WORD_BITS, OPERAND_WORD_BITS, SELECTOR_WORD_BITS, SPIKE_WORD_BITS, macro_costs
from .validation import Part, sentences, walk_fields

Kind = Literal["measured", "simulated", "quoted second-hand", "derived", "assumed"]
Band = NDArray[np.float64]  # (low, nominal, high)

MULTIPLIER_BITS = 8  # of the value's side: pixels, activations; graded spikes go through the same multiplier
SCALE_BITS = 15  # of a requantisation's multiplier (M2)

COMPONENTS = (
    "dram",
    "weight_memory",
    "lanes",
    "accumulators",
    "neurons",
    "potentials",
    "spike_memory",
    "network",
    "token_unit",
    "attention",
    "leakage",
)

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


class Primitive(Part):
    """One number with its band, what kind of number it is, and where it comes from."""

    value_pj: float = Field(ge=0)
    low_pj: float = Field(ge=0)
    high_pj: float = Field(ge=0)
    unit: str
    kind: Kind
    source: str = Field(min_length=10)

    @model_validator(mode="after")
    def _ordered(self) -> "Primitive":
        if not self.low_pj <= self.value_pj <= self.high_pj:
            raise ValueError("needs low_pj <= value_pj <= high_pj")
        return self

    @property
    def band(self) -> Band:
        """(low, nominal, high) in pJ."""
        return np.array([self.low_pj, self.value_pj, self.high_pj])


class Primitives(Part):
    """What actions are composed of; the unit of each stands in its entry."""

    add_bit: Primitive
    multiply_bit2: Primitive
    compare_bit: Primitive
    register_bit: Primitive
    and_count_bit: Primitive
    link_bit_mm: Primitive
    router_bit: Primitive


class Geometry(Part):
    """Lengths that wires are charged for."""

    tile_pitch_mm: float = Field(gt=0)


class SramBand(Part):
    """How far CACTI's figures may be believed: factors on read and write energy, and on leakage."""

    low_factor: float = Field(gt=0, le=1)
    high_factor: float = Field(ge=1)
    leakage_low_factor: float = Field(gt=0, le=1)
    leakage_high_factor: float = Field(ge=1)
    kind: Kind
    source: str = Field(min_length=10)


class EnergyTable(Part):
    """Prices of one technology. sha256 is of the file's text."""

    name: str
    node_nm: int = Field(ge=3, le=180)  # as in a chip file
    description: str
    primitives: Primitives
    geometry: Geometry
    sram: SramBand
    dram: dict[str, Primitive]
    sha256: str = ""


@dataclass(frozen=True)
class Energy:
    """What a run costs. All arrays in pJ with a last axis (low, nominal, high).

    dynamic: float64[layers, Action, 3].  static: component leakage over the whole run, float64[3].
    """

    layers: tuple[str, ...]
    dynamic: NDArray[np.float64]
    static: Band
    layer_time: NDArray[np.float64]  # share of the run's time, [layers]

    @property
    def total(self) -> Band:
        """Everything: (low, nominal, high)."""
        band: Band = self.dynamic.sum(axis=(0, 1)) + self.static
        return band

    def by_component(self) -> dict[str, float]:
        """Nominal pJ of each component, leakage apart."""
        return {name: float(value) for name, value in zip(COMPONENTS, self._components().sum(axis=0), strict=True)}

    def by_layer(self) -> dict[str, float]:
        """Nominal pJ of each layer; leakage is shared out by time."""
        return {name: float(value) for name, value in zip(self.layers, self._components().sum(axis=1), strict=True)}

    def by_layer_and_component(self) -> dict[str, dict[str, float]]:
        """Nominal pJ, layer by layer and component by component."""
        return {
            name: {component: float(value) for component, value in zip(COMPONENTS, row, strict=True)}
            for name, row in zip(self.layers, self._components(), strict=True)
        }

    def _components(self) -> NDArray[np.float64]:
        """Nominal pJ: float64[layers, COMPONENTS]."""
        table = np.zeros((len(self.layers), len(COMPONENTS)))
        for action in Action:
            table[:, COMPONENTS.index(COMPONENT_OF[action])] += self.dynamic[:, action, 1]
        table[:, COMPONENTS.index("leakage")] = self.static[1] * self.layer_time
        return table


def energy_names() -> list[str]:
    """Names of the shipped energy tables."""
    folder = resources.files("sparsespike.hwconfigs.energy")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_energy_table(source: str | Path) -> EnergyTable:
    """A shipped table by name, or a table file by path.

    Raises UserError for an unknown name, an unreadable file, and for all faults of its content at once.
    """
    name = str(source)
    if name in energy_names():
        text = (resources.files("sparsespike.hwconfigs.energy") / f"{name}.toml").read_text("utf-8")
    else:
        path = Path(source)
        if path.suffix != ".toml" and not path.exists():
            raise UserError(f"no energy table {name!r}; {nearest(name, energy_names())} Or give a .toml file.")
        text = read_text(path, "table")
    try:
        data = parse_toml(text, name)
        return EnergyTable.model_validate(data | {"sha256": hashlib.sha256(text.encode()).hexdigest()})
    except ValidationError as error:
        keys = [key for key, _ in walk_fields(EnergyTable)]
        raise UserError(f"{name}: " + "; ".join(sentences(error, keys))) from None


def check_table(chip: Chip, table: EnergyTable) -> None:
    """Raises UserError where the table is of another node than the chip, or does not know its DRAM."""
    if table.node_nm != chip.technology.node_nm:
        raise UserError(
            f"energy table {table.name!r} is of {table.node_nm} nm, chip {chip.name!r} of "
            f"{chip.technology.node_nm} nm; nodes are never mixed without scaling"
        )
    if chip.dram.type not in table.dram:
        raise UserError(
            f"dram.type = {chip.dram.type!r}: not in table {table.name!r}; {nearest(chip.dram.type, table.dram)}"
        )


def action_prices(chip: Chip, table: EnergyTable) -> NDArray[np.float64]:
    """pJ of one action: float64[Action, 3], (low, nominal, high). Raises UserError as `check_table` does."""
    check_table(chip, table)
    parts = table.primitives
    add, multiply, compare, register = (
        part.band for part in (parts.add_bit, parts.multiply_bit2, parts.compare_bit, parts.register_bit)
    )
    and_count, link, router = parts.and_count_bit.band, parts.link_bit_mm.band, parts.router_bit.band
    spread = np.array([table.sram.low_factor, 1.0, table.sram.high_factor])
    costs = macro_costs(chip)
    read = {name: cost.read_pj * spread for name, (_, cost) in costs.items()}
    write = {name: cost.write_pj * spread for name, (_, cost) in costs.items()}
    core, flit = chip.core, chip.flit_bits
    addition = add * core.accumulator_bits
    mac = multiply * core.weight_bits * MULTIPLIER_BITS + addition
    dram_byte = table.dram[chip.dram.type].band * 8
    prices = {
        Action.WEIGHT_READ: read["weights"],
        Action.WEIGHT_WRITE: write["weights"],
        Action.POINTER_READ: read["pointers"],
        Action.POINTER_WRITE: write["pointers"],
        Action.ADD: addition,
        Action.MULTIPLY_ADD: mac,
        Action.ACCUMULATOR_UPDATE: 2 * register * core.accumulator_bits,  # read and written back
        Action.NEURON_UPDATE: (2 * add + compare) * core.potential_bits,  # halving is wiring
        Action.POTENTIAL_READ: read["potentials"],
        Action.POTENTIAL_WRITE: write["potentials"],
        Action.SPIKE_READ: read["spikes"] / SPIKE_WORD_BITS,
        Action.SPIKE_WRITE: write["spikes"] / SPIKE_WORD_BITS,
        Action.POOL_OR: and_count,
        Action.FLIT_HOP: flit * (link * table.geometry.tile_pitch_mm + router),
        Action.BUFFER_WRITE: flit * register,
        Action.BUFFER_READ: flit * register,
        Action.FIFO_WRITE: flit * register,
        Action.FIFO_READ: flit * register,
        Action.SCAN: register,
        Action.FEATURE_UPDATE: read["features"] + write["features"] + 16 * add,
        Action.SELECTOR_MAC: mac
        + read["selector weights"] * core.weight_bits / SELECTOR_WORD_BITS
        + read["features"] * 16 / FEATURE_WORD_BITS,
        Action.SCORE_COMPARE: 32 * (compare + register),
        Action.OPERAND_WRITE: write["operands"],  # a masked write opens the whole word
        Action.OPERAND_READ: read["operands"] / OPERAND_WORD_BITS,
        Action.AND_POPCOUNT: and_count,
        Action.ATTENTION_ADD: addition,
        Action.DRAM_READ: dram_byte,
        Action.DRAM_WRITE: dram_byte,
        # adds the bias, multiplies, adds half a unit and compares with the limit; shifting is wiring and a multiplexer
        Action.REQUANTISE: addition
        + multiply * core.accumulator_bits * SCALE_BITS
        + (add + compare) * (core.accumulator_bits + SCALE_BITS),
        Action.POOL_MAX: 8 * (compare + and_count),  # a comparison, and a gate per bit to choose
        Action.ATTENTION_MAC: multiply * 8 * 8 + addition,
        Action.LEAK_MULTIPLY: multiply * core.potential_bits * DECAY_BITS,
        Action.RESET_SUBTRACT: add * core.potential_bits,
        Action.POOL_ADD: 8 * add,  # sums have at most 8 bits
    }
    return np.stack([prices[action] for action in Action])


def leakage_mw(chip: Chip, table: EnergyTable) -> Band:
    """Leakage of all SRAM macros, (low, nominal, high); the logic's is not modelled."""
    total = sum(macro.count * cost.leak_mw for macro, cost in macro_costs(chip).values())
    return total * np.array([table.sram.leakage_low_factor, 1.0, table.sram.leakage_high_factor])


def price(activity: Activity, chip: Chip, table: EnergyTable) -> Energy:
    """Counts times prices, and leakage power times the run's time (mW x ns = pJ)."""
    layer_cycles = activity.cycles.sum(axis=0)
    total_ns = activity.total_cycles * chip.clock_period_ns
    dynamic = activity.counts[:, :, None] * action_prices(chip, table)[None]
    share = layer_cycles / max(1, activity.total_cycles)
    return Energy(activity.layers, dynamic, leakage_mw(chip, table) * total_ns, share)
