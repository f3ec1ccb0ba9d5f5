"""The ticket ladder: what each ticket costs, and how well it sees, on one and the same chip."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...style import PALETTE, blank
from ..store import Row
from .figures import MARKERS, label_axes, scaled
from .labels import label_points
from .naming import short_traces

PAIR = ("energy", "accuracy")
MOST_CHIPS = 3


def rungs(rows: Sequence[Row], chip: Row) -> list[Row]:
    """The feasible points with the settings and prices of `chip`, one per trace, the least energy first.

    Points without an accuracy (traces without labels) are none.
    """
    same = [row for row in rows if row.feasible and (row.settings, row.prices) == (chip.settings, chip.prices)]
    known = [row for row in same if (row.metrics or {})["accuracy"] is not None]
    return sorted(known, key=lambda row: ((row.metrics or {})["energy"] or 0.0, row.trace))


def ladder(chips: Mapping[str, Sequence[Row]], tickets: Mapping[str, str], ax: Axes) -> None:
    """Accuracy against energy per image, a line per chip through its `rungs`.

    tickets: trace -> what it is called beside its point on the first chip's line.
    """
    every = [row for steps in chips.values() for row in steps]
    points = dict(zip((row.key for row in every), scaled(every, PAIR).tolist(), strict=True))
    for number, (name, steps) in enumerate(chips.items()):
        xs, ys = zip(*(points[row.key] for row in steps), strict=True)
        ax.plot(xs, ys, color=PALETTE[number], marker=MARKERS[number], linewidth=0.8, label=f"on the chip of {name}")
    label_axes(ax, every, PAIR)
    ax.set_title("Tickets on one chip: accuracy against energy")
    ax.legend(loc="best")
    first = next(iter(chips.values()))
    label_points([(ax, {tickets[row.trace]: (points[row.key][0], points[row.key][1]) for row in first})])


def ladder_figure(rows: Sequence[Row], points: Mapping[str, Row]) -> Figure | None:
    """The ladder on the chips of the first few points with several tickets; None where no chip has two.

    points: letter -> point. Tickets are numbered, with a key below.
    """
    chips: dict[str, list[Row]] = {}
    for name, point in points.items():
        steps = rungs(rows, point)
        if len(steps) > 1 and len(chips) < MOST_CHIPS and all(steps != other for other in chips.values()):
            chips[name] = steps
    if not chips:
        return None
    traces = short_traces(row for steps in chips.values() for row in steps)
    tickets = {trace: str(number) for number, trace in enumerate(traces, 1)}
    figure = blank(6.4, 3.8 + 0.16 * len(tickets))
    key = "\n".join(f"{tickets[trace]}  {short}" for trace, short in traces.items())
    figure.supxlabel(key, x=0.02, ha="left", size=7.5)
    ladder(chips, tickets, figure.subplots())
    return figure
