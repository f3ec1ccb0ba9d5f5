"""A row of the bench: what was measured, the bar that it is held against, and whether it is met."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sparsespike.analysis.tables import Table, si

from .clock import Step


@dataclass(frozen=True)
class Bar:
    """A limit of the row's ratio, or of its seconds where it has none; what: the row in words."""

    sense: Literal["at least", "at most"]
    limit: float
    unit: Literal["x", "s"]
    what: str

    @property
    def text(self) -> str:
        """As it stands in the table."""
        return f"{'≥' if self.sense == 'at least' else '≤'} {self.limit:g} {self.unit}"


BARS = {
    "mlp_replay_vs_sanafe": Bar("at least", 30, "x", "synaptic events/s over SANA-FE's, its spikes replayed"),
    "mlp_packets_vs_sanafe": Bar("at least", 60, "x", "the same with 32 neurons per core"),
    "mlp_verify_vs_sanafe": Bar("at least", 15, "x", "the same network in int8, computed and verified by the chip"),
    "spikformer_vs_bare_loop": Bar("at most", 6, "x", "linear layers, time over that of their bare additions"),
    "spikformer_whole": Bar("at most", 8, "x", "all layers, time over that of their bare additions"),
    "imagenet_event_cost_ratio": Bar("at most", 1.3, "x", "time per spike sent, over spikformer's"),
    "bounds_speed": Bar("at least", 100, "x", "lower bounds of cycles, over the event loop"),
    "bounds_tightness": Bar("at least", 0.7, "x", "bound / simulated cycles, lowest median of any kind of layer"),
    "two_processes": Bar("at least", 1.8, "x", "throughput of two processes over that of one"),
    "reprice": Bar("at most", 1e-4, "s", "one digits run priced in another technology, by layer and component"),
    "sweep_two_workers": Bar("at least", 1.8, "x", "points per second of a sweep by two workers over those by one"),
    "sweep_overhead": Bar("at most", 0.01, "s", "a point of a sweep beside its simulation; memory of 8 x the points"),
    "start": Bar("at most", 2, "s", "`sparsespike simulate` of one digits image, in all"),
    "start_cold": Bar("at most", 90, "s", "all kernels compiled, no cache"),
}


@dataclass(frozen=True)
class Row:
    """seconds: of one run; median over the rounds. ratio: median over the rounds; None where nothing was compared.

    events: synaptic events of one run, exact. against: what it is compared with, and that one's seconds and events.
    placing_seconds: placement, which is not in `seconds`. loop_seconds: the event loop's part of `seconds`.
    first_seconds: the first run of this process, which compiles kernels or loads them. holds: what else must hold.
    """

    name: str
    ratio: float | None
    events: int
    seconds: float
    against: str = ""
    against_seconds: float | None = None
    against_events: int | None = None
    placing_seconds: float | None = None
    loop_seconds: float | None = None
    first_seconds: float | None = None
    rounds: int = 1
    holds: bool = True
    note: str = ""
    more: Mapping[str, float | int] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is no ratio to hold against it."""
        bar = BARS[self.name]
        value = self.seconds if bar.unit == "s" else self.ratio
        if value is None:
            return None
        return self.holds and (value >= bar.limit if bar.sense == "at least" else value <= bar.limit)

    def to_json(self) -> dict[str, Any]:
        """All of it, with the bar."""
        bar = BARS[self.name]
        plain = asdict(self)
        return {**plain.pop("more"), **plain, "bar": bar.limit, "sense": bar.sense, "unit": bar.unit, "met": self.met}


@dataclass(frozen=True)
class Setting:
    """Where files go, how many rounds, which rows are wanted, and whom to tell how far it is."""

    folder: Path
    rounds: int
    wanted: Sequence[str]
    step: Step

    def picks(self, *names: str) -> tuple[str, ...]:
        """Those of the names that are wanted."""
        return tuple(name for name in names if name in self.wanted)


COLUMNS = (
    "row",
    "ratio",
    "bar",
    "met",
    "synaptic events",
    "one run",
    "event loop",
    "placement",
    "compared with",
    "its run",
    "first run",
)


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """Rows as `to_json` gives them, as a table; notes stand below it."""
    notes = [f"{row['name']}: {row['note']}" for row in rows if row["note"]]
    return Table(title, COLUMNS, tuple(_cells(row) for row in rows), "\n".join(notes))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        format_ratio(row["ratio"]),
        BARS[row["name"]].text,
        {True: "yes", False: "no", None: "-"}[row["met"]],
        f"{row['events']:,}",
        format_seconds(row["seconds"]),
        format_seconds(row["loop_seconds"]),
        format_seconds(row["placing_seconds"]),
        row["against"] or "-",
        format_seconds(row["against_seconds"]),
        format_seconds(row["first_seconds"]),
    )


def format_seconds(seconds: float | None) -> str:
    """With a prefix; a dash where nothing was measured."""
    return "-" if seconds is None else si(seconds, "s")


def format_ratio(ratio: float | None) -> str:
    """Three digits; a dash where nothing was compared."""
    if ratio is None:
        return "-"
    return f"{ratio:,.0f} x" if ratio >= 100 else f"{ratio:#.3g} x"
