"""A table of prices as data: each number with unit, node, voltage or device, band, kind and source.

`load.py` reads the files, `scaling.py` takes a table to another node; nothing here knows an action or a chip.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, Field

from ..sourced import Band, Kind, Words
from ..validation import Part

SMALLEST, LARGEST = 1e-12, 1e9  # of a number of a table, in its unit


def _believable(number: float) -> float:
    """So that no sum of products of them, times all that 64 bits count, is beyond a float or lost in one."""
    if number and not SMALLEST <= number <= LARGEST:
        raise ValueError(f"must be 0, or from {SMALLEST:g} to {LARGEST:g}")
    return number


Number = Annotated[float, AfterValidator(_believable)]


class Entry(Part):
    """One number: its band, what it was found for, what kind of number it is and where it comes from.

    low <= value <= high: where a reader may believe it to lie.
    node_nm, voltage_v: of the process that `value` is of; off-chip parts and CACTI's factors name a `device` instead.
    temperature_k: where the source says it.
    scaled_from: how a number of another node became one of this table's; without it mixed nodes are refused.
    """

    value: Number = Field(ge=0)
    low: Number = Field(ge=0)
    high: Number = Field(ge=0)
    unit: str
    kind: Kind
    source: Words
    node_nm: int | None = Field(default=None, ge=3, le=180)
    voltage_v: float | None = Field(default=None, gt=0, le=5)
    device: str | None = Field(default=None, min_length=2)
    temperature_k: float | None = Field(default=None, gt=0, le=500)
    scaled_from: Words | None = None

    @property
    def band(self) -> Band:
        """(low, nominal, high) in `unit`."""
        return np.array([self.low, self.value, self.high])


def unit(text: str) -> Entry:
    """A field of a section whose entries must be in this unit."""
    field: Entry = Field(json_schema_extra={"unit": text})
    return field


class Primitives(Part):
    """What actions are composed of, and the clock of what is clocked in every cycle."""

    add_bit: Entry = unit("pJ/bit")
    multiply_bit2: Entry = unit("pJ/bit2")
    compare_bit: Entry = unit("pJ/bit")
    register_bit: Entry = unit("pJ/bit")
    counter_bit: Entry = unit("pJ/bit")
    and_count_bit: Entry = unit("pJ/bit")
    link_bit_mm: Entry = unit("pJ/bit/mm")
    router_bit: Entry = unit("pJ/bit")
    clock_bit: Entry = unit("pJ/bit/cycle")


class Leakage(Part):
    """Leakage power of logic, in SRAM cells of the chip's transistors, whose own is CACTI's at the chip's node."""

    register_bit: Entry = unit("cells/bit")
    add_bit: Entry = unit("cells/bit")
    multiply_bit2: Entry = unit("cells/bit2")


class Geometry(Part):
    """Lengths that wires are charged for."""

    tile_pitch: Entry = unit("mm")


class Sram(Part):
    """How CACTI's figures count: factors on the energy of a read or write, and on leakage power."""

    access: Entry = unit("x CACTI")
    leakage: Entry = unit("x CACTI")


class DramType(Part):
    """One type of DRAM. Row activation, and standby while data moves, are in read and write.

    background: power-down with refresh for the whole run, per GB/s of the channel's peak bandwidth.
    """

    read: Entry = unit("pJ/bit")
    write: Entry = unit("pJ/bit")
    background: Entry = unit("mW/(GB/s)")


class Scaled(Part):
    """How a table was made from another one of another node; `scaling.py` says by which equations.

    base: name of the table.  method: the published one.  family: transistors, high performance or low power.
    base_voltage_v, voltage_v: supply that the base's numbers are taken to be of, and that of this table.
    interpolated: the method does not list the node, and lies between two that it does.
    widen: the band, beyond what the families differ by, is divided and multiplied by this.
    leakage_widen: the same for the leakage of macros that are scaled, on top.
    sram_from_node_nm: CACTI's node that macros are scaled from; without it they are CACTI's own at the chip's node.
    """

    base: str
    method: Literal["stillmaker2017"]
    family: Literal["HP", "LP"]
    base_voltage_v: float = Field(ge=0.6, le=1.1)
    voltage_v: float = Field(ge=0.6, le=1.1)
    interpolated: bool = False
    widen: float = Field(ge=1, le=1000)
    leakage_widen: float = Field(default=1.0, ge=1, le=1000)
    sram_from_node_nm: int | None = None
    source: Words


class EnergyTable(Part):
    """Prices of one technology.

    actions: prices of whole actions by their keys, in pJ, in place of what they are composed of.
    scaled: how the table came from another one, or None.  sha256: of the file's text, and of the base's.
    file: that it was read from, "" of a shipped one.
    """

    name: str
    node_nm: int = Field(ge=3, le=180)  # as in a chip file
    description: str
    primitives: Primitives
    leakage: Leakage
    geometry: Geometry
    sram: Sram
    dram: dict[str, DramType]
    actions: dict[str, Entry] = Field(default_factory=dict)
    scaled: Scaled | None = None
    sha256: str = ""
    file: str = ""

    @property
    def label(self) -> str:
        """What messages call it: its name, which several may have, and its file."""
        return repr(self.name) + (f" ({self.file})" if self.file else "")

    def entries(self) -> dict[str, Entry]:
        """Every entry by its dotted key, in the file's order."""
        parts: tuple[BaseModel, ...] = (self.primitives, self.leakage, self.geometry, self.sram)
        names = ("primitives", "leakage", "geometry", "sram")
        found = {f"{name}.{key}": entry for name, part in zip(names, parts, strict=True) for key, entry in part}
        found |= {f"dram.{name}.{key}": entry for name, part in self.dram.items() for key, entry in part}
        return found | {f"actions.{key}": entry for key, entry in self.actions.items()}


SECTIONS: dict[str, type[Part]] = {
    "primitives": Primitives,
    "leakage": Leakage,
    "geometry": Geometry,
    "sram": Sram,
}


def expected_units(dram: Iterable[str], actions: Iterable[str]) -> dict[str, str]:
    """Dotted key of every entry that a table has to have, with these DRAMs and action prices -> its unit."""
    units = {f"{name}.{key}": _unit(part, key) for name, part in SECTIONS.items() for key in part.model_fields}
    units |= {f"dram.{name}.{key}": _unit(DramType, key) for name in dram for key in DramType.model_fields}
    return units | {f"actions.{key}": "pJ" for key in actions}


def _unit(part: type[Part], key: str) -> str:
    extra = part.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["unit"])
