"""Rows that belong together: tickets that differ in round and seed are a series, those of one round a step of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .rows import Row, TicketFacts

SELECTORS = ("learned", "rate", "random")
# the share of pruned weights that the paper's claim begins with
SPARSE = 0.9


@dataclass(frozen=True)
class Spread:
    """A number over several tickets: mean, smallest, largest, and how many there are."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Step:
    """The tickets of a series with equally many weights left: one per seed."""

    rows: tuple[Row, ...]

    @property
    def ticket(self) -> TicketFacts:
        """The first ticket, for what all of them have in common."""
        return self.rows[0].ticket

    def spread(self, value: Callable[[Row], float]) -> Spread:
        """That number over the step's tickets."""
        values = [value(row) for row in self.rows]
        return Spread(float(np.mean(values)), min(values), max(values), len(values))


@dataclass(frozen=True)
class Series:
    """A line of a figure: steps from dense to sparse.  name: what tells it apart from the series it was made with."""

    name: str
    steps: tuple[Step, ...]

    @property
    def ticket(self) -> TicketFacts:
        """The first ticket, for what all of them have in common."""
        return self.steps[0].ticket

    @property
    def sparse(self) -> Step | None:
        """The first step with at least 90 % of its weights pruned."""
        return next((step for step in self.steps if step.ticket.pruned >= SPARSE), None)


def series_of(rows: Sequence[Row]) -> list[Series]:
    """Series in the order of neurons, selectors and falling keep; baselines must not be among the rows.

    A name says keep and selector, and shape and schedule where two series would have the same name without.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in sorted(rows, key=_order):
        groups.setdefault(_identity(row.ticket), []).append(row)
    tickets = [group[0].ticket for group in groups.values()]
    plain = [_plain_name(ticket) for ticket in tickets]
    long = [", ".join(filter(None, (_plain_name(one), one.shape, one.schedule))) for one in tickets]
    names = [full if plain.count(short) > 1 else short for short, full in zip(plain, long, strict=True)]
    return [Series(name, _steps(group)) for name, group in zip(names, groups.values(), strict=True)]


def _order(row: Row) -> tuple[object, ...]:
    ticket = row.ticket
    place = SELECTORS.index(ticket.selector) if ticket.selector in SELECTORS else 0
    return (ticket.neuron, place, -ticket.keep, ticket.shape, ticket.schedule, ticket.seed or 0, ticket.name)


def _identity(ticket: TicketFacts) -> tuple[object, ...]:
    return ticket.neuron, ticket.selector, ticket.keep, ticket.shape, ticket.schedule


def _steps(rows: Sequence[Row]) -> tuple[Step, ...]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.ticket.weights_left, []).append(row)
    return tuple(Step(tuple(groups[left])) for left in sorted(groups, reverse=True))


def _plain_name(ticket: TicketFacts) -> str:
    twin = "ANN twin, " if ticket.neuron == "relu" else ""
    keep = "all tokens" if ticket.keep == 1 else f"keep {ticket.keep:g}"
    return f"{twin}{keep}" + (f", {ticket.selector}" if ticket.selector in ("rate", "random") else "")


@dataclass(frozen=True)
class Duel:
    """Selectors that can be compared: the same round of the same training, but for the selector.

    steps: selector -> its tickets.
    """

    steps: dict[str, Step]

    @property
    def ticket(self) -> TicketFacts:
        """The first ticket, for what all of them have in common."""
        return next(iter(self.steps.values())).ticket


def duels_of(rows: Sequence[Row]) -> list[Duel]:
    """Where at least two selectors were trained alike, by falling keep and rising round.

    A learned selector has weights of its own, so that rounds are matched, not numbers of weights.
    """
    groups: dict[tuple[float, int, str, str], dict[str, list[Row]]] = {}
    for row in rows:
        ticket = row.ticket
        if ticket.neuron == "lif" and ticket.selector in SELECTORS and ticket.round is not None:
            key = (-ticket.keep, ticket.round, ticket.shape, ticket.schedule)
            groups.setdefault(key, {}).setdefault(ticket.selector, []).append(row)
    return [
        Duel({name: Step(tuple(groups[key][name])) for name in SELECTORS if name in groups[key]})
        for key in sorted(groups)
        if len(groups[key]) > 1
    ]
