"""What the axes of a space do to an objective, over all of it and around a point, every point through a result file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....simulator.errors import UserError
from ...parallel import EVERYWHERE, Workers, check_jobs
from ...space import Space
from ..metrics import costs, parse_objectives
from ..point import open_traces
from ..search.evaluation import Evaluation
from ..search.variation import Choice
from ..store import Row, open_store
from ..sweep import Progress, Step, attach, checked, kept_on_interrupt
from .indices import Design, Indices, saltelli, sobol_indices
from .tornado import Tornado, neighbours, reference_of, tornado_of


@dataclass(frozen=True)
class Question:
    """objective: what is to be explained.  samples: rows of the design.  around: settings of the reference point."""

    objective: str
    samples: int
    seed: int = 0
    around: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Influence:
    """The answer. points: that were looked at; known: of these, that the file held before."""

    indices: Indices
    tornado: Tornado
    points: int
    known: int


def run_sensitivity(
    space: Space,
    paths: Mapping[str, str | Path],
    out: str | Path,
    question: Question,
    *,
    workers: Workers = EVERYWHERE,
    step: Step | None = None,
) -> Influence:
    """Sobol indices and a tornado of a space; points that the sqlite file `out` does not hold are simulated into it.

    Axes with a single value are left out. paths, step and errors: as in `run_sweep`.
    """
    plan = plan_of(space, question)
    check_jobs(workers.jobs)
    reference, whole = plan.reference, plan.whole
    wanted = list(dict.fromkeys([reference, *neighbours(space, reference), *_needed(space, plan.design, whole)]))
    traces = open_traces(space, paths)
    with open_store(out, create=True) as store:
        attach(store, space, traces)
        evaluation = Evaluation(space, traces, store, workers)
        progress = Progress(step, 0, len(wanted))
        with kept_on_interrupt(progress, out):
            progress.more(len(evaluation.known().keys() & set(wanted)))
            rows = dict(
                zip(wanted, evaluation.rows([space.chosen(choice) for choice in wanted], progress.more), strict=True)
            )
    values = {choice: _value(row, question.objective) for choice, row in rows.items()}
    tornado = tornado_of(space, reference, question.objective, values.get)
    indices = sobol_indices(plan.names, plan.design, lambda choice: values.get(whole[choice]), question.seed)
    return Influence(indices, tornado, len(wanted), len(wanted) - evaluation.computed)


@dataclass(frozen=True)
class Points:
    """What a question needs to know. reference: to look around.  design: over the axes with several values, `names`.

    whole: choice of the design -> the same with the other axes.
    """

    reference: Choice
    names: tuple[str, ...]
    design: Design
    whole: Mapping[Choice, Choice]


def plan_of(space: Space, question: Question) -> Points:
    """The points behind a question; nothing is simulated.

    Raises UserError for an unknown objective, or more than one, for a number of samples that is no power of two, for a
    space without a choice, and as `reference_of`.
    """
    if len(parse_objectives(question.objective)) > 1:
        raise UserError(f"objective {question.objective}: one at a time")
    sizes = {name: len(values) for name, values in checked(space).dimensions.items()}
    free = [axis for axis, size in enumerate(sizes.values()) if size > 1]
    if not free:
        raise UserError(f"space {space.name}: has no axis with more than one value")
    reference = reference_of(space, question.around)
    names = [name for name, size in sizes.items() if size > 1]
    design = saltelli([sizes[name] for name in names], question.samples, question.seed)
    whole = {choice: _whole(choice, free, len(sizes)) for choice in design.choices()}
    return Points(reference, tuple(names), design, whole)


def check_question(space: Space, question: Question) -> None:
    """Raise UserError, as `plan_of`, for a question that cannot be asked."""
    plan_of(space, question)


def _whole(choice: Choice, free: list[int], axes: int) -> Choice:
    """A choice of the free axes, as one of all."""
    placed = dict(zip(free, choice, strict=True))
    return tuple(placed.get(axis, 0) for axis in range(axes))


def _needed(space: Space, design: Design, whole: Mapping[Choice, Choice]) -> list[Choice]:
    """The points of those rows of the design that constraints leave whole; the others are not worth simulating."""
    allowed = {choice: space.allows(space.chosen(full)) for choice, full in whole.items()}
    choices = design.choices()
    rows = [choices[row :: len(design.a)] for row in range(len(design.a))]
    return [whole[choice] for row in rows if all(allowed[choice] for choice in row) for choice in row]


def _value(row: Row, objective: str) -> float | None:
    """The objective as it is. Raises UserError where a point that fits has none."""
    if row.metrics is None:
        return None
    costs(row.metrics, [objective])
    return row.metrics[objective]
