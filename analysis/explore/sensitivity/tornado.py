"""One axis at a time: what each does to an objective when all others stay at a reference point."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ....simulator.errors import UserError, nearest
from ...space import Space
from ...space.design import ENERGY, NODE
from ...tables import Table, percent
from ..metrics import METRICS
from ..search.variation import Choice


@dataclass(frozen=True)
class Bar:
    """An axis' reach: the setting with the lowest value of the objective and that with the highest, and these."""

    axis: str
    lowest: float
    highest: float
    at_lowest: str
    at_highest: str

    @property
    def reach(self) -> float:
        """From the lowest to the highest."""
        return self.highest - self.lowest


@dataclass(frozen=True)
class Tornado:
    """Bars, the longest first, around the objective's value at the reference point.

    settings: of that point.  missing: neighbours that do not fit or are forbidden.
    """

    objective: str
    reference: float
    settings: Mapping[str, Any]
    bars: tuple[Bar, ...]
    missing: int

    def table(self) -> Table:
        """Axes by what they reach."""
        text = METRICS[self.objective].text
        rows = [
            (
                bar.axis,
                *(
                    f"{text(value)} at {at}"
                    for value, at in ((bar.lowest, bar.at_lowest), (bar.highest, bar.at_highest))
                ),
                percent(bar.reach / self.reference) if self.reference else "-",
            )
            for bar in self.bars
        ]
        where = ", ".join(f"{key} = {value}" for key, value in self.settings.items())
        note = f"Around {where}: {text(self.reference)}; one axis changes, all others stay."
        if self.missing:
            note += f" {self.missing} neighbours do not fit or are forbidden."
        return Table(f"{self.objective}, one axis at a time", ("axis", "lowest", "highest", "reach"), tuple(rows), note)


def reference_of(space: Space, around: Mapping[str, Any]) -> Choice:
    """The choice that is nearest to the base chip, with the settings of `around` in their place.

    Raises UserError for a key that is no dimension of the space, a value that it does not have, and a point that its
    constraints forbid.
    """
    dimensions = space.dimensions
    for key, value in around.items():
        if key not in dimensions:
            raise UserError(f"around {key}: no axis of the space; {nearest(key, list(dimensions))}")
        if value not in dimensions[key]:
            raise UserError(f"around {key} = {value!r}: the space has {', '.join(map(str, dimensions[key]))}")
    choice = tuple(
        values.index(around[key]) if key in around else _nearest_index(space, key, values)
        for key, values in dimensions.items()
    )
    if not space.allows(space.chosen(choice)):
        at = ", ".join(f"{key} = {value}" for key, value in shown(space, choice).items())
        raise UserError(f"the point to look around, {at}, is forbidden by a constraint; say another with --around")
    return choice


def _nearest_index(space: Space, key: str, values: tuple[Any, ...]) -> int:
    """Of the base chip's value: the closest number, the same word; else, and of traces, the first."""
    if key == ENERGY:
        node = space.base_values[NODE]
        return next((index for index, name in enumerate(values) if space.nodes.get(name) == node), 0)
    wanted = space.base_values.get(key)
    if all(isinstance(value, int | float) for value in (*values, wanted)):
        return min(range(len(values)), key=lambda index: abs(values[index] - wanted))
    return values.index(wanted) if wanted in values else 0


def neighbours(space: Space, reference: Choice) -> list[Choice]:
    """All allowed choices that differ from the reference in one axis."""
    every = [
        (*reference[:axis], index, *reference[axis + 1 :])
        for axis, values in enumerate(space.dimensions.values())
        for index in range(len(values))
        if index != reference[axis]
    ]
    return [choice for choice in every if space.allows(space.chosen(choice))]


def tornado_of(space: Space, reference: Choice, objective: str, value_of: Callable[[Choice], float | None]) -> Tornado:
    """The bars of all axes that have more than one value. value_of: of a choice; None where it does not fit.

    Raises UserError where the reference itself does not fit.
    """
    centre = value_of(reference)
    settings = shown(space, reference)
    if centre is None:
        at = ", ".join(f"{key} = {value}" for key, value in settings.items())
        raise UserError(f"the point to look around, {at}, does not fit; say another with --around")
    reached: dict[str, dict[str, float]] = {}
    missing = sum(len(values) - 1 for values in space.dimensions.values())
    for choice in [reference, *neighbours(space, reference)]:
        value = value_of(choice)
        if value is None:
            continue
        missing -= choice != reference
        for (key, every), index, here in zip(space.dimensions.items(), choice, reference, strict=True):
            if len(every) > 1 and (index != here or choice == reference):
                reached.setdefault(key, {})[str(every[index])] = value
    bars = [_bar(key, values) for key, values in reached.items()]
    return Tornado(objective, centre, settings, tuple(sorted(bars, key=lambda bar: -bar.reach)), missing)


def _bar(axis: str, values: Mapping[str, float]) -> Bar:
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return Bar(axis, values[low], values[high], low, high)


def shown(space: Space, choice: Choice) -> dict[str, Any]:
    """A choice's settings, without what leaves no choice."""
    several = {key for key, values in space.dimensions.items() if len(values) > 1}
    return {key: value for key, value in space.chosen(choice).items() if key in several}
