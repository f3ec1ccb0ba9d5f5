"""Measuring side by side: contenders take turns, so that a machine that slows down slows all of them."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

Sample = Mapping[str, float]  # "seconds" of one run, and parts of it by name
Contender = Callable[[], Sample]
Step = Callable[[int, int], None]

ROUNDS = 5
REPEATS = 3  # runs in a round, of which the middle one counts: the first after another program finds cold caches


@dataclass(frozen=True)
class Laps:
    """What a contender took: one sample from warming up, which compiles or loads its kernels, and one per round."""

    first: Sample
    samples: tuple[Sample, ...]

    def seconds(self, part: str = "seconds") -> float:
        """The median over the rounds."""
        return statistics.median(sample[part] for sample in self.samples)

    @property
    def first_seconds(self) -> float:
        """Of the very first run, though its round may have had several."""
        return self.first.get("first", self.first["seconds"])

    def over(self, other: "Laps", part: str = "seconds", other_part: str = "seconds") -> float:
        """The median over the rounds of this contender's time over the other's in the same round."""
        rounds = zip(self.samples, other.samples, strict=True)
        return statistics.median(mine[part] / theirs[other_part] for mine, theirs in rounds)


def interleave(contenders: Mapping[str, Contender], rounds: int, step: Step) -> dict[str, Laps]:
    """Warm every contender up, then let each run once per round. step: called with (runs done, all runs)."""
    done, total = 0, (rounds + 1) * len(contenders)
    taken: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            step(done, total)
            taken[name].append(run())
            done += 1
    step(done, total)
    return {name: Laps(samples[0], tuple(samples[1:])) for name, samples in taken.items()}


def middle_of(run: Contender, repeats: int = REPEATS) -> Contender:
    """A contender that runs several times in a round; its middle run counts."""

    def several() -> Sample:
        samples = [run() for _ in range(repeats)]
        middle = sorted(samples, key=lambda sample: sample["seconds"])[repeats // 2]
        return {**middle, "first": samples[0]["seconds"]}

    return several


@dataclass
class Spent:
    """Seconds in some functions so far."""

    seconds: float = 0.0


@contextmanager
def stopwatch(*functions: tuple[ModuleType, str], only: Callable[..., bool] = lambda *args: True) -> Iterator[Spent]:
    """Add up the time in some functions while the block runs; they are replaced in the modules that call them.

    only: which calls count, by their positional arguments.
    """
    spent = Spent()

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent.seconds += (time.perf_counter() - began) * only(*args)

        return call

    originals = [(module, name, getattr(module, name)) for module, name in functions]
    for module, name, function in originals:
        setattr(module, name, timed(function))
    try:
        yield spent
    finally:
        for module, name, function in originals:
            setattr(module, name, function)
