"""Rows that belong together: tickets of one training that differ in round and seed are a series, a round a step of it.

Two tickets with the same training, round and seed are never averaged: the second belongs to a series of its own.
"""

from collections import Counter
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

    A name says keep and selector, and of what tells two series of the same name apart as much as it takes.
    """
    groups = _grouped(rows)
    names = _names([group[0] for group in groups])
    return [Series(name, _steps(group)) for name, group in zip(names, groups, strict=True)]


def in_order(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows series by series, as `series_of` has them: of each seed all rounds one after the other."""
    return tuple(sorted(rows, key=lambda row: (*_order(row)[:-1], _place(row.ticket), row.ticket.name)))


def _grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of the same training on the same chip, in order.

    Where a seed has a round twice, its tickets in the first folder stay, and those of each other folder, and what is
    twice even in one folder, are groups of their own.
    """
    ordered = sorted(rows, key=_order)
    seeds = [(*_identity(row), row.ticket.seed) for row in ordered]
    places = Counter((seed, _place(row.ticket)) for seed, row in zip(seeds, ordered, strict=True))
    disputed = {seed for (seed, _), count in places.items() if count > 1}
    folders: dict[tuple[object, ...], list[str]] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    groups: dict[tuple[object, ...], list[Row]] = {}
    for seed, row in zip(seeds, ordered, strict=True):
        folder = row.ticket.name.rpartition("/")[0] if seed in disputed else ""
        known = folders.setdefault(seed, [])
        if folder not in known:
            known.append(folder)
        place = (seed, folder, _place(row.ticket))
        own = (seed, known.index(folder), seen[place]) if known.index(folder) or seen[place] else ()
        seen[place] += 1
        groups.setdefault((_identity(row), own), []).append(row)
    return sorted(groups.values(), key=lambda group: _order(group[0]))


def _place(ticket: TicketFacts) -> int:
    """Where on its training's way a ticket stands: its round, or where that is unknown its weights."""
    return ticket.weights_left if ticket.round is None else ticket.round


def _order(row: Row) -> tuple[object, ...]:
    ticket = row.ticket
    place = SELECTORS.index(ticket.selector) if ticket.selector in SELECTORS else 0
    return (ticket.neuron, row.variant, place, -ticket.keep, *_alike(row)[3:], ticket.seed or 0, ticket.name)


def _identity(row: Row) -> tuple[object, ...]:
    return *_alike(row), row.ticket.selector, row.ticket.activation


def _alike(row: Row) -> tuple[object, ...]:
    """What two trainings have in common that differ in the selector alone."""
    ticket = row.ticket
    return ticket.neuron, row.variant, ticket.keep, ticket.shape, tuple(sorted(ticket.training.items()))


def _steps(rows: Sequence[Row]) -> tuple[Step, ...]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.ticket.weights_left, []).append(row)
    return tuple(Step(tuple(groups[left])) for left in sorted(groups, reverse=True))


def _names(firsts: Sequence[Row]) -> list[str]:
    """A name per series, given its first row: the plain one, with what differs among those that share it."""
    plain = [_plain_name(row) for row in firsts]
    names = []
    for short, row in zip(plain, firsts, strict=True):
        others = [_details(other) for other, name in zip(firsts, plain, strict=True) if name == short]
        mine = _details(row)
        differing = [text for key, text in mine.items() if any(other.get(key) != text for other in others)]
        names.append(", ".join(filter(None, (short, *differing))))
    twice = [name for name in names if names.count(name) > 1]
    return [
        f"{name}, ticket {row.ticket.name}" if name in twice else name for name, row in zip(names, firsts, strict=True)
    ]


def _details(row: Row) -> dict[str, str]:
    """What may tell trainings apart, in words: the shape, how it prunes, each option of the command."""
    ticket = row.ticket
    words = {"shape": ticket.shape, "schedule": ticket.schedule, "activation": ticket.activation}
    return words | {
        name: f"with {name}" if text == "yes" else f"{name} {text}"
        for name, text in ticket.training.items()
        if name not in ("prune", "sparsity") or not ticket.schedule
    }


def _plain_name(row: Row) -> str:
    ticket = row.ticket
    twin = "ANN twin, " if ticket.neuron == "relu" else ""
    keep = "all tokens" if ticket.keep == 1 else f"keep {ticket.keep:g}"
    selector = ticket.selector if ticket.selector in ("rate", "random") else ""
    return twin + ", ".join(filter(None, (keep, selector, row.variant)))


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

    @property
    def sparse(self) -> bool:
        """Whether at least 90 % of the weights are gone, in all of them."""
        return all(step.ticket.pruned >= SPARSE for step in self.steps.values())


def duels_of(rows: Sequence[Row]) -> list[Duel]:
    """Where at least two selectors were trained alike, each training in its first round of at least 90 % sparsity.

    A learned selector has weights of its own, so that rounds are matched, not numbers of weights; where no round that
    both have is as sparse, the last one. Of two trainings with the same selector the first is taken.
    """
    groups: dict[tuple[object, ...], dict[int, dict[str, Step]]] = {}
    for series in series_of(rows):
        for step in series.steps:
            ticket = step.ticket
            if ticket.neuron == "lif" and ticket.selector in SELECTORS and ticket.round is not None:
                rounds = groups.setdefault(_alike(step.rows[0]), {})
                rounds.setdefault(ticket.round, {}).setdefault(ticket.selector, step)
    duels = []
    for rounds in groups.values():
        found = [
            Duel({name: rounds[number][name] for name in SELECTORS if name in rounds[number]})
            for number in sorted(rounds)
            if len(rounds[number]) > 1
        ]
        duels += [next((duel for duel in found if duel.sparse), found[-1])] if found else []
    return sorted(duels, key=lambda duel: -duel.ticket.keep)
