"""Points that take the same time, cycle by cycle: what one simulation says of the others.

Sizes of memories decide what fits, what stays on the chip and what spills (rules D2 to D5), and nothing else of a run's
time; the technology decides prices alone; and `gate` has the timing of `off` (T5). So once one of two such points is
simulated, the cycles of the other are known, and with its own counts, which are exact in its bound, so is its energy.
"""

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from ...simulator.dram import decided_by_sizes
from ...simulator.energy import Pricer
from ...simulator.hardware import NAMES, ORIGIN
from ...simulator.placement import place
from .point import Point, table_of, trace_of
from .store import Row

SIZES = {
    "core": {"weight_kib", "pointer_kib", "spike_kib", "potential_kib"},
    "token_unit": {"weight_kib", "feature_kib"},
    "attention": {"operand_kib"},
}


class Twins:
    """Simulated points by what their time depends on. point: the point of a row."""

    def __init__(self, point: Callable[[Row], Point], simulated: Iterable[Row]) -> None:
        self._point = point
        self._simulated: dict[str, list[Row]] = {}  # by likeness
        self._paces: dict[str, Hashable] = {}  # by key, of those that have had to be compared: it takes a placement
        for row in simulated:
            self.add(row)

    def add(self, row: Row) -> None:
        """A simulated point."""
        self._simulated.setdefault(likeness_of(self._point(row)), []).append(row)

    def sharpen(self, bound: Row) -> Row:
        """A bound with the cycles of a simulated twin, and what they cost the point; as it is where there is none."""
        point = self._point(bound)
        for row in self._simulated.get(likeness_of(point), ()):
            if self._pace(row) == self._pace(bound):
                return _at_pace(bound, row, point)
        return bound

    def _pace(self, row: Row) -> Hashable:
        if row.key not in self._paces:
            self._paces[row.key] = pace_of(self._point(row))
        return self._paces[row.key]


def likeness_of(point: Point) -> str:
    """Trace, and all of the chip that may matter to time but sizes; twins are alike and have one `pace_of`."""
    chip = point.chip.model_dump(exclude=ORIGIN | NAMES | {"technology"})
    for part, sizes in SIZES.items():
        chip[part] = {key: value for key, value in chip[part].items() if key not in sizes}
    if chip["token_unit"]["policy"] == "gate":
        chip["token_unit"]["policy"] = "off"
    return json.dumps([point.trace.sha256, chip], sort_keys=True)


def pace_of(point: Point) -> Hashable:
    """What the sizes of its memories decide about a point's time."""
    trace = trace_of(point.trace)
    return decided_by_sizes(place(trace, point.chip), trace.images)


def _at_pace(bound: Row, simulated: Row, point: Point) -> Row:
    """The bound's metrics at the simulated cycles: each cycle more costs what the chip takes per cycle."""
    known, true = dict(bound.metrics or {}), simulated.metrics or {}
    cycles, energy, latency = known["cycles"], known["energy"], true["latency"]
    assert cycles is not None
    assert energy is not None
    assert latency is not None
    more = (true["cycles"] or 0) - cycles
    standing_pj = float(Pricer(point.chip, table_of(point.prices)).prices.cycle[:, 1].sum())
    energy += more * standing_pj * 1e-12
    return replace(
        bound,
        metrics=known | {"cycles": true["cycles"], "latency": latency, "energy": energy, "edp": energy * latency},
    )
