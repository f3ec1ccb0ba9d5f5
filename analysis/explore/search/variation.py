"""How a search makes new choices out of known ones: tournament, crossover, steps along ordered axes, and repair.

A choice is an index into the values of each axis. Nothing that was tried, and nothing that constraints forbid, is
proposed again: such a child takes further steps until it is new.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import product

from numpy.random import Generator

Choice = tuple[int, ...]
Costs = Sequence[float]

CROSSED = 0.9  # share of children with two parents, as in NSGA-II's own experiments
JUMPS = 0.2  # share of mutations that go anywhere along an ordered axis instead of to a neighbour
STEPS = 64  # mutations on top, or draws, until a child is new, before something simpler is tried


@dataclass(frozen=True)
class Axes:
    """What can be chosen. sizes: values of each axis.  ordered: whether these are numbers, so that neighbours are like.

    allowed: whether the constraints between axes permit a choice.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    ordered: tuple[bool, ...]
    allowed: Callable[[Choice], bool]

    @property
    def free(self) -> list[int]:
        """The axes that leave a choice."""
        return [axis for axis, size in enumerate(self.sizes) if size > 1]


@dataclass(frozen=True)
class Parent:
    """A point that may have children. costs: None where it does not fit, which loses against any that does."""

    choice: Choice
    costs: Costs | None


def drawn(axes: Axes, tried: Set[Choice], rng: Generator) -> Choice | None:
    """A choice that is allowed and new; None where none is left.

    Each is as likely as any other, as long as `STEPS` draws find one.
    """
    for _ in range(STEPS):
        choice = tuple(rng.integers(axes.sizes).tolist())
        if choice not in tried and axes.allowed(choice):
            return choice
    # few are left, or constraints are narrow: the next one behind a place drawn, round the whole grid
    return next(_onwards(axes, tried, choice), None)


def _onwards(axes: Axes, tried: Set[Choice], start: Choice) -> Iterator[Choice]:
    turned = [[(first + step) % size for step in range(size)] for first, size in zip(start, axes.sizes, strict=True)]
    return (choice for choice in product(*turned) if choice not in tried and axes.allowed(choice))


def child(axes: Axes, parents: Sequence[Parent], tried: Set[Choice], rng: Generator) -> Choice | None:
    """A new choice made of two parents' (uniform crossover) and mutation; None where nothing new is left."""
    genes = list(_winner(parents, rng).choice)
    if rng.random() < CROSSED:
        other = _winner(parents, rng).choice
        genes = [
            mine if keep else its for mine, its, keep in zip(genes, other, rng.random(len(genes)) < 0.5, strict=True)
        ]
    free = axes.free
    for axis in free:
        if rng.random() < 1 / len(free):
            genes[axis] = mutated(axes, axis, genes[axis], rng)
    for _ in range(STEPS):
        if (choice := tuple(genes)) not in tried and axes.allowed(choice):
            return choice
        axis = free[rng.integers(len(free))]
        genes[axis] = mutated(axes, axis, genes[axis], rng)
    return drawn(axes, tried, rng)


def mutated(axes: Axes, axis: int, index: int, rng: Generator) -> int:
    """Another index of that axis: mostly a neighbour where values have an order, else any."""
    size = axes.sizes[axis]
    if axes.ordered[axis] and size > 2 and rng.random() >= JUMPS:
        step = 1 if rng.random() < 0.5 else -1
        return index + step if 0 <= index + step < size else index - step
    return int((index + rng.integers(1, size)) % size)


def _winner(parents: Sequence[Parent], rng: Generator) -> Parent:
    """The better of two drawn parents, the first where neither is."""
    one, other = (parents[index] for index in rng.integers(len(parents), size=2))
    return other if beats(other.costs, one.costs) else one


def beats(one: Costs | None, other: Costs | None) -> bool:
    """Whether costs are at most the others' in every objective, and below in one; what fits beats what does not."""
    if one is None or other is None:
        return one is not None and other is None
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
