"""A design space in memory: what can be chosen, and the chip of a choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import Any

from ...simulator.energy import table_of_node
from ...simulator.errors import UserError
from ...simulator.hardware import Chip
from .constraints import Constraint

TRACE, ENERGY = "trace", "energy"  # axes beside those over keys of the chip
NODE = "technology.node_nm"


@dataclass(frozen=True)
class Candidate:
    """A point of a space: a trace on a chip under an energy table, or why there can be no such chip.

    energy: name of the table, the shipped one of the chip's node where the space names none; None without a chip.
    settings: what differs from the base chip, dotted key -> value, in the order of the axes.
    """

    trace: str
    energy: str | None
    settings: Mapping[str, Any]
    chip: Chip | None
    reason: str = ""


@dataclass(frozen=True)
class Space:
    """All combinations of the axes' values that meet the constraints, and points listed one by one.

    chip: base chip, a shipped name or a path; `base` is it.  energies: energy tables, at whose node a chip is built;
    None for the shipped one of the chip's own node.  images: images of each trace, None for all.
    traces: trace files, or names of shipped tickets.
    axes: chip key -> values, in file order.  points: settings of single points.
    """

    name: str
    chip: str
    base: Chip
    energies: tuple[str | None, ...]
    images: int | None
    traces: tuple[str, ...]
    axes: Mapping[str, tuple[Any, ...]]
    constraints: tuple[Constraint, ...] = ()
    points: tuple[Mapping[str, Any], ...] = ()
    nodes: Mapping[str, int] = field(default_factory=dict)  # energy table -> its node

    @property
    def every_trace(self) -> tuple[str, ...]:
        """The traces, and those that single points name beside them."""
        return tuple(dict.fromkeys([*self.traces, *(point[TRACE] for point in self.points if TRACE in point)]))

    @cached_property
    def dimensions(self) -> dict[str, tuple[Any, ...]]:
        """Everything that can be chosen: trace, energy table, and the axes; the last varies fastest in `grid`."""
        return {TRACE: self.traces, ENERGY: self.energies, **self.axes}

    @property
    def size(self) -> int:
        """Combinations of the axes, whether they meet the constraints or not; without the single points."""
        return prod(len(values) for values in self.dimensions.values()) if self.axes else 0

    @cached_property
    def base_values(self) -> dict[str, Any]:
        """Dotted key -> value of the base chip."""
        return _flat(self.base.model_dump())

    def chosen(self, choice: Sequence[int]) -> dict[str, Any]:
        """Dimension -> value of a choice, an index into each of `dimensions`."""
        return {key: values[index] for (key, values), index in zip(self.dimensions.items(), choice, strict=True)}

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Whether a choice (`chosen`) meets every constraint."""
        return all(constraint.holds({**self.base_values, **values}) for constraint in self.constraints)

    def candidate(self, values: Mapping[str, Any]) -> Candidate:
        """The chip of a choice (`chosen`), or the reason why there is none."""
        settings = {key: value for key, value in values.items() if key not in (TRACE, ENERGY)}
        trace, energy = values[TRACE], values[ENERGY]
        try:
            chip = self.base.replace(self._at_node(energy) | settings)
            return Candidate(trace, energy or _shipped_table(chip.technology.node_nm), settings, chip)
        except UserError as error:
            return Candidate(trace, energy, settings, None, str(error))

    def _at_node(self, energy: str | None) -> dict[str, Any]:
        return {} if energy is None else {NODE: self.nodes[energy]}


@lru_cache
def _shipped_table(node_nm: int) -> str:
    return table_of_node(node_nm).name


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
