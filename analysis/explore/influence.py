"""What the axes of a space do to an objective, over all of it and around a point, every point through a result file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...simulator.errors import UserError
from ..parallel import EVERYWHERE, Workers
from ..space import Space
from .evaluation import Evaluation
from .metrics import costs, parse_objectives
from .point import open_traces
from .sensitivity import Design, Indices, saltelli, sobol_indices
from .store import Row, open_store
from .sweep import Progress, Step, attach, checked, kept_on_interrupt
from .tornado import Tornado, neighbours, reference_of, tornado_of
from .variation import Choice


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
    (objective,) = _single(question.objective)
    dimensions = checked(space).dimensions
    free = [axis for axis, values in enumerate(dimensions.values()) if len(values) > 1]
    if not free:
        raise UserError(f"space {space.name}: has no axis with more than one value")
    reference = reference_of(space, question.around)
    design = saltelli([len(list(dimensions.values())[axis]) for axis in free], question.samples, question.seed)
    whole = {choice: _whole(choice, free, len(dimensions)) for choice in design.choices()}
    wanted = list(dict.fromkeys([reference, *neighbours(space, reference), *_needed(space, design, whole)]))
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
    values = {choice: _value(row, objective) for choice, row in rows.items()}
    tornado = tornado_of(space, reference, objective, values.get)
    names = [list(dimensions)[axis] for axis in free]
    indices = sobol_indices(names, design, lambda choice: values.get(whole[choice]), question.seed)
    return Influence(indices, tornado, len(wanted), len(wanted) - evaluation.computed)


def _single(text: str) -> tuple[str, ...]:
    names = parse_objectives(text)
    if len(names) > 1:
        raise UserError(f"objective {text}: one at a time")
    return names


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
