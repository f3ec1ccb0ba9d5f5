"""What exact fronts cost on the shipped spaces, against whole sweeps: python -m bench.exact_fronts --out DIR [SPACE …].

Each space is swept whole on its own tickets and on others, then the exact front is asked for in a new file; the two
fronts must be equal. Interrupted, the sweeps go on where they stopped (times are then of what was left, and left out).
Example: python -m bench.exact_fronts --out out/exact_fronts memory
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# the space's own tickets, then others that come by the command line
OTHERS = {
    "memory": ("digits-dense",),
    "cores": ("digits-dense",),
    "tokens": ("digits-keep0.7-seed0-round09", "digits-keep0.7-seed2-round04"),
}
OBJECTIVES = ("latency,energy", "latency,energy,area")


@dataclass(frozen=True)
class Measured:
    """A front. bounds_s, simulations_s: of the exact front.  sweep_s: of all points; None where it was interrupted.

    latency_tightness, energy_tightness: medians of bound / simulated.
    """

    space: str
    tickets: str
    objectives: str
    points: int
    fit: int
    simulated: int
    front: int
    latency_tightness: float
    energy_tightness: float
    bounds_s: float
    simulations_s: float
    sweep_s: float | None


def measure(name: str, others: Sequence[str], folder: Path) -> list[Measured]:
    """All fronts of a space, on its tickets or on others. Raises AssertionError where a front is not brute force's."""
    from sparsespike.analysis.explore.store import open_store
    from sparsespike.analysis.explore.sweep import run_sweep
    from sparsespike.analysis.parallel import Workers
    from sparsespike.explorations import opened_space

    whole = folder / f"{Path(name).stem}{'-others' if others else ''}.sqlite"
    space, paths = opened_space(name, others, whole)
    begin = time.perf_counter()
    outcome = run_sweep(space, paths, whole, workers=Workers(1))
    sweep_s = None if outcome.known else time.perf_counter() - begin
    with open_store(whole) as store:
        true = {row.key: row for row in store.rows()}
    return [_front(space, paths, whole, objectives, true, sweep_s) for objectives in OBJECTIVES]


def _front(space, paths, whole, objectives, true, sweep_s) -> Measured:
    """The exact front in a new file, held against `true`, the rows of the whole sweep by key."""
    import numpy as np
    from sparsespike.analysis.explore.exact import Steps, run_exact
    from sparsespike.analysis.explore.pruning import parse_goal
    from sparsespike.analysis.explore.results import fronts
    from sparsespike.analysis.explore.store import open_store
    from sparsespike.analysis.parallel import Workers

    out, goal = whole.with_suffix(f".{objectives.replace(',', '-')}.sqlite"), parse_goal(objectives)
    out.unlink(missing_ok=True)
    moments = [time.perf_counter()]
    steps = Steps(simulating=lambda done, total: moments.append(time.perf_counter()))
    result = run_exact(space, paths, out, goal, workers=Workers(1), steps=steps)
    with open_store(out) as store:
        rows, bounds = store.rows(), store.rows(bounds=True)
    mine, brute = fronts(rows, goal.objectives), fronts(list(true.values()), goal.objectives)
    assert mine == brute, f"{whole}: {objectives}: the exact front is not that of the sweep"
    tight = np.array(
        [
            [row.metrics[name] / true[row.key].metrics[name] for name in ("latency", "energy")]
            for row in bounds
            if row.feasible
        ]
    )
    assert (tight <= 1 + 1e-9).all(), f"{whole}: a bound is above the simulation"
    latency, energy = np.median(tight, axis=0).tolist()
    return Measured(
        space.name,
        ", ".join(space.traces),
        objectives,
        result.points,
        result.fit,
        result.simulated,
        sum(map(len, mine.values())),
        latency,
        energy,
        moments[1] - moments[0],
        time.perf_counter() - moments[1],
        sweep_s,
    )


def table(measured: Sequence[Measured]) -> str:
    """Markdown."""
    lines = [
        "| space | tickets | objectives | fit | front | simulated | bounds | simulations | whole sweep |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        cells = (
            f"`{one.space}`",
            one.tickets if "," not in one.tickets else f"{one.tickets.count(',') + 1} tickets",
            one.objectives,
            f"{one.fit} of {one.points}",
            str(one.front),
            f"{one.simulated} ({one.simulated / one.fit:.0%})",
            f"{one.bounds_s:.0f} s",
            f"{one.simulations_s:.0f} s",
            "-" if one.sweep_s is None else f"{one.sweep_s:.0f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write DIR/exact_fronts.json and DIR/exact_fronts.md."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"  # one thread; the libraries, which are loaded below, read this then
    parser = argparse.ArgumentParser(prog="python -m bench.exact_fronts", description=__doc__.partition(":")[0])
    parser.add_argument("spaces", nargs="*", metavar="SPACE", help=f"of {', '.join(OTHERS)}; all where none is named")
    parser.add_argument("--out", type=Path, default=Path("out/exact_fronts"), metavar="DIR")
    asked = parser.parse_args()
    from sparsespike.analysis.console import show

    measured: list[Measured] = []
    for name in asked.spaces or OTHERS:
        for others in ((), OTHERS[name]):
            measured += measure(name, others, asked.out)
            show(table(measured[-len(OBJECTIVES) :]))
    (asked.out / "exact_fronts.json").write_text(json.dumps([asdict(one) for one in measured], indent=1) + "\n")
    (asked.out / "exact_fronts.md").write_text(table(measured))


if __name__ == "__main__":
    main()
