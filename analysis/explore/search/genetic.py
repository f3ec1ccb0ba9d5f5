"""NSGA-II by Optuna: its populations, its selection, its journal; `variation` makes children, a `Problem` answers.

The only file that knows Optuna. All that a search has asked and was told stands in a journal, so that it goes on where
it stopped: what a child is depends on the seed and on the number of points before it, not on when it was made.
"""

import fcntl
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np

from ....simulator.errors import UserError
from ..pareto import non_dominated
from .problem import Found, Problem
from .variation import Choice, Costs, Parent, beats, child, drawn

POPULATION = 20
PATIENCE = 50  # proposals for each simulation of the budget, before a space in which nothing fits is given up
FITS, BOUNDED, KNOWN = "fits", "bounded", "known"  # marks of trials
# Optuna's own: the generation of a trial, without which it is nobody's parent, and what a waiting trial is to hold
GENERATION, FIXED = "NSGAIISampler:generation", "fixed_params"


@dataclass(frozen=True)
class Plan:
    """budget: simulations.  population: of a generation, which is what is simulated at a time."""

    budget: int
    population: int = POPULATION
    seed: int = 0


def optuna_library() -> ModuleType:
    """Optuna, quiet. Raises UserError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise UserError("search needs the library optuna: pip install 'sparsespike[search]'") from None
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


@contextmanager
def journal(path: Path) -> Iterator[Any]:
    """Optuna's journal in a file, a JSON record a line; this process's alone for as long as it is open.

    Raises UserError where another search has it, where it is damaged, or cannot be written.
    """
    optuna = optuna_library()

    class Lines(optuna.storages.journal.BaseJournalBackend):  # type: ignore[name-defined]
        """Optuna's own file has locks that outlive a killed process, and waits for the disk a dozen times a point."""

        def __init__(self, file: IO[bytes]) -> None:
            self._file = file
            self._records: list[dict[str, Any]] = _records(file)

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            return self._records[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = [json.dumps(log, separators=(",", ":")) for log in logs]
            self._file.write("".join(f"{line}\n" for line in lines).encode())
            self._file.flush()
            self._records += map(json.loads, lines)

    with _own(path) as file:
        try:
            storage = optuna.storages.JournalStorage(Lines(file))
        except (ValueError, KeyError, TypeError, AttributeError):
            again = "remove it, and a search begins anew from the results"
            raise UserError(f"{path}: damaged or not a journal; {again}") from None
        yield storage


@contextmanager
def _own(path: Path) -> Iterator[IO[bytes]]:
    """A file that no other process has at the time; one that stays empty is removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{path}: another search is at it; wait for it, or give another --out") from None
            try:
                yield file
            finally:
                if path.stat().st_size == 0:
                    path.unlink()
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def _records(file: IO[bytes]) -> list[dict[str, Any]]:
    """What stands in a journal. Half a line, where a process was killed while it wrote, is cut off."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    records = [json.loads(line) for line in content[:whole].splitlines()]
    if content and not records:
        raise ValueError("not a line of it is whole")  # somebody else's file: leave it as it is
    file.truncate(whole)
    return records


class Genetic:
    """A search that can be told to go on; `storage` None keeps it in memory.

    name: of the search in its journal; another name begins another one, from what the problem knows.
    objectives: their number.
    """

    def __init__(
        self, problem: Problem, objectives: int, plan: Plan, storage: Any = None, name: str = "search"
    ) -> None:
        optuna = optuna_library()
        self._problem, self._plan, self._axes = problem, plan, problem.axes
        self._optuna = optuna
        self._tried: set[Choice] = set()
        self._exhausted = False
        with warnings.catch_warnings():
            # strategies of one's own are marked as experimental; a test holds what is used of them here
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.NSGAIISampler(
                population_size=plan.population, seed=plan.seed, child_generation_strategy=self._child
            )
            self._study = optuna.create_study(
                study_name=name,
                storage=storage,
                directions=["minimize"] * objectives,
                sampler=sampler,
                load_if_exists=True,
            )
        kinds = optuna.distributions
        self._distributions = {
            self._axes.names[axis]: kinds.IntDistribution(0, self._axes.sizes[axis] - 1)
            if self._axes.ordered[axis]
            else kinds.CategoricalDistribution(tuple(range(self._axes.sizes[axis])))
            for axis in self._axes.free
        }
        self._begin()

    def _begin(self) -> None:
        """A new search has the best that is known for parents; one that goes on puts loose ends in order."""
        if KNOWN not in self._study.user_attrs:
            for choice, costs in self._best_known():
                self._study.add_trial(self._known_trial(choice, costs))
            self._study.set_user_attr(KNOWN, [list(choice) for choice in self._problem.known])
        self._ask_again()
        self._tried = self.known | {self._choice(trial.params) for trial in self._complete()}

    def _ask_again(self) -> None:
        """Let what was asked and never told, as the last run ended, be asked next, in the same order."""
        states = self._optuna.trial.TrialState
        while self._waiting():
            self._study.ask(self._distributions)
        loose = self._study.get_trials(deepcopy=False, states=(states.RUNNING,))
        again: dict[Choice, tuple[dict[str, int], int]] = {}
        for trial in loose:
            params = trial.system_attrs.get(FIXED, trial.params)
            if len(params) == len(self._distributions):  # else it was being asked: it will be again
                again.setdefault(self._choice(params), (params, trial.system_attrs.get(GENERATION, 0)))
        for params, generation in again.values():
            self._enqueue(params, generation)
        for trial in reversed(loose):  # the last first: what a stop leaves of them still comes before their copies
            self._study.tell(trial.number, state=states.FAIL)

    def _waiting(self) -> int:
        return len(self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.WAITING,)))

    @property
    def known(self) -> set[Choice]:
        """What was known when the search began."""
        return {tuple(choice) for choice in self._study.user_attrs[KNOWN]}

    def known_costs(self) -> list[Costs]:
        """Costs of the best that was known when the search began, its whole front among them."""
        return [trial.values for trial in self._complete() if KNOWN in trial.user_attrs and _fits(trial)]

    def found(self) -> Found:
        """What the search has found so far."""
        new = [trial for trial in self._complete() if KNOWN not in trial.user_attrs]
        bounded = sum(BOUNDED in trial.user_attrs for trial in new)
        simulated = [trial for trial in new if _fits(trial) and BOUNDED not in trial.user_attrs]
        costs = tuple(tuple(trial.values) for trial in simulated)
        return Found(costs, len(new), len(new) - len(simulated) - bounded, bounded)

    def step(self) -> bool:
        """One generation, or what of it the budget allows; False where the search is over."""
        found = self.found()
        left = self._plan.budget - len(found.costs)
        if left <= 0 or found.proposed >= PATIENCE * self._plan.budget or self._exhausted:
            return False
        asked = self._ask(left)
        if asked:
            self._settle([(trial, self._choice(trial.params)) for trial in asked])
        return bool(asked)

    def _ask(self, left: int) -> list[Any]:
        waiting = self._waiting()
        generation, room = self._generation()
        if generation == 0 and not waiting:
            waiting = self._enqueue_start(min(room, left))
            self._exhausted = not waiting
        asked = []
        for _ in range(min(waiting or (room if generation else 0), left)):
            trial = self._study.ask(self._distributions)
            if self._exhausted:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                break
            self._tried.add(self._choice(trial.params))
            asked.append(trial)
        return asked

    def _generation(self) -> tuple[int, int]:
        """The generation of the next point, and how many it still takes: a stop may have come in its middle."""
        members = [trial.system_attrs[GENERATION] for trial in self._complete()]
        latest = max(members, default=0)
        room = self._plan.population - members.count(latest)
        return (latest, room) if room > 0 else (latest + 1, self._plan.population)

    def _enqueue_start(self, count: int) -> int:
        """The first points: an even spread over the space, and others where that is too few."""
        spread = self._problem.start(self._plan.population, self._plan.seed)
        spread = [choice for choice in spread if choice not in self._tried][:count]
        while len(spread) < count:
            rng = np.random.default_rng([self._plan.seed, len(self._tried) + len(spread)])
            choice = drawn(self._axes, self._tried | set(spread), rng)
            if choice is None:
                break
            spread.append(choice)
        for choice in spread:
            self._enqueue(self._params(choice), 0)
        return len(spread)

    def _enqueue(self, params: dict[str, int], generation: int) -> None:
        """Let `ask` return this point next; as Optuna's `enqueue_trial`, which leaves points without a generation."""
        waiting = self._optuna.trial.TrialState.WAITING
        attributes = {FIXED: params, GENERATION: generation}
        self._study.add_trial(self._optuna.trial.create_trial(state=waiting, system_attrs=attributes))

    def _child(self, study: Any, search_space: Any, population: Sequence[Any]) -> dict[str, int]:
        """What Optuna calls for a new point of a later generation; `population` are the parents that it selected."""
        elders = sorted(population, key=lambda trial: trial.number)  # Optuna's order depends on who asked first
        parents = [Parent(self._choice(trial.params), trial.values if _fits(trial) else None) for trial in elders]
        rng = np.random.default_rng([self._plan.seed, len(self._tried)])
        choice = child(self._axes, parents, self._tried, rng)
        self._exhausted = choice is None
        return self._params(choice or parents[0].choice)

    def _settle(self, asked: Sequence[tuple[Any, Choice]]) -> None:
        """Tell what the points cost: their bound, where something simulated is better than that already."""
        choices = [choice for _, choice in asked]
        bounds = self._beaten_bounds(choices)
        simulated = iter(self._problem.simulate([choice for choice in choices if choice not in bounds]))
        for trial, choice in asked:
            costs: Costs | None = bounds[choice] if choice in bounds else next(simulated)
            if costs is None:
                trial.set_constraint(FITS, 1.0)
                costs = [math.inf] * len(self._study.directions)
            elif choice in bounds:
                trial.set_user_attr(BOUNDED, True)
            self._study.tell(trial, list(costs))

    def _beaten_bounds(self, choices: Sequence[Choice]) -> dict[Choice, Costs]:
        """The bounds of those that need no simulation, because they cannot be on the front."""
        if self._problem.bound is None:
            return {}
        simulated = [*self.found().costs, *self.known_costs()]
        bounds = zip(choices, self._problem.bound(choices), strict=True)
        return {choice: bound for choice, bound in bounds if bound and any(beats(costs, bound) for costs in simulated)}

    def _best_known(self) -> list[tuple[Choice, Costs]]:
        """Known points, front by front, until there are enough for a population."""
        left = [(choice, costs) for choice, costs in self._problem.known.items() if costs is not None]
        best: list[tuple[Choice, Costs]] = []
        while left and len(best) < self._plan.population:
            front = non_dominated([costs for _, costs in left])
            best += [entry for entry, on_it in zip(left, front, strict=True) if on_it]
            left = [entry for entry, on_it in zip(left, front, strict=True) if not on_it]
        return best

    def _known_trial(self, choice: Choice, costs: Costs) -> Any:
        return self._optuna.trial.create_trial(
            values=list(costs),
            params=self._params(choice),
            distributions=self._distributions,
            user_attrs={KNOWN: True},
            system_attrs={GENERATION: 0},
        )

    def _complete(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.COMPLETE,)))

    def _choice(self, params: dict[str, int]) -> Choice:
        return tuple(params.get(name, 0) for name in self._axes.names)

    def _params(self, choice: Choice) -> dict[str, int]:
        return {
            name: index for name, index in zip(self._axes.names, choice, strict=True) if name in self._distributions
        }


def _fits(trial: Any) -> bool:
    return all(value <= 0 for value in trial.constraints.values())
