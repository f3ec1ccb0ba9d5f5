"""Search in spaces too large to sweep: NSGA-II over a space's choices, each simulated point a row of a result file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ....simulator.errors import UserError
from ...parallel import EVERYWHERE, Workers, check_jobs
from ...space import Space, sobol
from ..metrics import METRICS, costs
from ..point import TraceFile, open_traces, program_version
from ..store import Row, open_store
from ..sweep import Progress, Step, attach, checked, identity, kept_on_interrupt
from .evaluation import Evaluation, axes_of, choice_of
from .genetic import Genetic, Plan, journal
from .hypervolume import Scale, Values
from .problem import Found, Problem, random_search
from .variation import Choice, Costs


@dataclass(frozen=True)
class SearchSettings:
    """objectives: metrics, two or more.  bounds: let lower bounds decide where they can, without costing budget.

    against_random: afterwards simulate as many points drawn at random, to compare with.
    """

    objectives: tuple[str, ...]
    plan: Plan
    bounds: bool = True
    against_random: bool = False

    @property
    def bounded(self) -> bool:
        """Whether bounds are of use: every objective has one."""
        return self.bounds and all(METRICS[name].bound for name in self.objectives)


@dataclass(frozen=True)
class SearchOutcome:
    """What a search did. known: costs of the best points that the file held before, where it began.

    random: the other search, where one was asked for.  scale: by the front of all that the file holds now; None where
    nothing fits.
    """

    found: Found
    known: tuple[Costs, ...]
    random: Found | None
    scale: Scale | None

    def said(self) -> str:
        """What was done, in a sentence."""
        found = self.found
        parts = [f"{len(found.costs):,} simulated", f"{found.unfit:,} do not fit"]
        parts += [f"{found.bounded:,} ruled out by their bounds"] if found.bounded else []
        return f"{found.proposed:,} points looked at: {', '.join(parts)}"

    def curves(self) -> dict[str, list[Values]]:
        """Name of a search -> float64[simulations]: its share of the hypervolume after each, known points included."""
        searches = {"search": self.found} | ({"random": self.random} if self.random else {})
        if self.scale is None:
            return {}
        return {name: [self.scale.curve(found.costs, self.known)] for name, found in searches.items()}


def journal_of(out: str | Path) -> Path:
    """Where a search into this result file notes what it asked and was told."""
    out = Path(out)
    return out.with_name(f"{out.name}.journal")


def run_search(
    space: Space,
    paths: Mapping[str, str | Path],
    out: str | Path,
    settings: SearchSettings,
    *,
    workers: Workers = EVERYWHERE,
    step: Step | None = None,
) -> SearchOutcome:
    """Look for the front of a space with a budget of simulations; results go to the sqlite file `out`.

    The same call goes on where it stopped, from the journal; with a larger budget it goes further. What the file holds
    already costs nothing, and is where a new search begins. With one seed the points are the same ones, however many
    workers there are.
    paths: trace of the space -> its file, where that is another.  step: called with (simulations done, of all).
    Raises UserError as `run_sweep`, for a space without axes, for objectives that cannot be traded, and for a damaged
    journal or one that is in use; KeyboardInterrupt (saying what is kept) on Ctrl-C.
    """
    check_search(space, settings)
    check_jobs(workers.jobs)
    traces = open_traces(space, paths)
    budget = settings.plan.budget
    with journal(journal_of(out)) as storage, open_store(out, create=True) as store:
        attach(store, space, traces)
        evaluation = Evaluation(space, traces, store, workers)
        progress = Progress(step, 0, budget * (2 if settings.against_random else 1))
        problem = _problem(evaluation, settings, progress)
        search = Genetic(problem, len(settings.objectives), settings.plan, storage, _name(space, traces, settings))
        with kept_on_interrupt(progress, out):
            progress.more(len(search.found().costs))
            while search.step():
                pass
            other = None
            if settings.against_random:
                progress.more(budget - progress.done)
                beginning = replace(problem, known=dict.fromkeys(search.known))
                other = random_search(beginning, budget, settings.plan.seed, settings.plan.population)
        every = [costs_of(row, settings.objectives) for row in evaluation.known().values()]
        feasible = [entry for entry in every if entry is not None]
        scale = Scale.of(feasible) if feasible else None
        return SearchOutcome(search.found(), tuple(map(tuple, search.known_costs())), other, scale)


def check_search(space: Space, settings: SearchSettings) -> None:
    """Raise UserError where a space cannot be searched so: no axes, objectives that are not traded, no two parents."""
    if not checked(space).axes:
        raise UserError(f"space {space.name}: has no axes to search")
    if len(settings.objectives) < 2:
        raise UserError(
            f"objectives {', '.join(settings.objectives)}: a search trades two or more, e.g. latency,energy"
        )
    if len(space.traces) > 1 and "accuracy" not in settings.objectives:
        raise UserError(
            f"space {space.name}: has {len(space.traces)} traces, and what different work costs is compared only "
            "with accuracy among the objectives; add it, or give one trace"
        )
    if settings.plan.population < 2:
        raise UserError(f"population = {settings.plan.population}: must be at least 2, as a child has two parents")


def _name(space: Space, traces: Mapping[str, TraceFile], settings: SearchSettings) -> str:
    """Of a search in its journal: all that decides which points it looks at, but for what the file held."""
    plan = settings.plan
    content = [identity(space), list(space.dimensions.items()), [one.text for one in space.constraints]]
    content += [{name: trace.sha256 for name, trace in traces.items()}, program_version()]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    bounds = "with bounds" if settings.bounded else "without bounds"
    return f"{','.join(settings.objectives)} {bounds}, {plan.population} from seed {plan.seed}, {digest}"


def _problem(evaluation: Evaluation, settings: SearchSettings, progress: Progress) -> Problem:
    space, objectives = evaluation.space, settings.objectives

    def simulate(choices: Sequence[Choice]) -> list[Costs | None]:
        rows = evaluation.rows([space.chosen(choice) for choice in choices])
        progress.more(sum(row.feasible for row in rows))
        return [costs_of(row, objectives) for row in rows]

    def bound(choices: Sequence[Choice]) -> list[Costs | None]:
        return [costs_of(row, objectives) for row in evaluation.bounds([space.chosen(choice) for choice in choices])]

    return Problem(
        axes_of(space),
        partial(spread, space),
        simulate,
        bound if settings.bounded else None,
        {choice: costs_of(row, objectives) for choice, row in evaluation.known().items()},
    )


def spread(space: Space, count: int, seed: int) -> list[Choice]:
    """The first choices of a Sobol sequence."""
    choices = (choice_of(space, values) for values in sobol(space, count, seed))
    return [choice for choice in choices if choice is not None]


def costs_of(row: Row, objectives: Sequence[str]) -> Costs | None:
    """The objectives of a row, all to be small; None where it does not fit."""
    return None if row.metrics is None else tuple(costs(row.metrics, objectives))
