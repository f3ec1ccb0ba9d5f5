"""What the page of a result file knows: its points in columns, each text said once, so that many points stay small."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ....style import PALETTE
from ....views import Report
from ...advice.chip_file import chip_template, flat_keys, point_names, toml_value
from ...metrics import METRICS, OBJECTIVES
from ...store import Row
from ..chosen import mean_causes, mean_components
from ..naming import SHORT, short_keys, short_traces, varied

Columns = dict[str, list[Any]]

DIGITS = 3  # of what a component or a cause takes; metrics are in full, so that the page's fronts are exact


def page_data(
    rows: Sequence[Row],
    report_of: Callable[[Row], Report],
    base: Mapping[str, Any],
    objectives: Sequence[str],
    step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Everything that the page's script reads (page.js says of each part how).

    rows: all points.  report_of: the report of one that fits.  base: dotted keys of the chip that the space starts
    from, its name too.  objectives: of the front that is shown first.  step: called with (reports read, reports).
    """
    feasible = [row for row in rows if row.feasible]
    chips: list[dict[str, str]] = []
    energy, cycles = _Parts(), _Parts()
    for done, row in enumerate(feasible, 1):
        report = report_of(row)
        chip = flat_keys(report["provenance"]["chip"]) | point_names(row, base["name"])
        chips.append({key: toml_value(value) for key, value in chip.items()})
        energy.add(mean_components(report))
        cycles.add(mean_causes(report))
        step(done, len(feasible))
    reasons = Counter(row.reason for row in rows if not row.feasible)
    return {
        "points": len(feasible),
        "keys": [row.key[:SHORT] for row in feasible],
        "chip": base["name"],
        "objectives": list(objectives),
        "metrics": [_metric(name, feasible) for name in METRICS],
        "axes": _axes(feasible),
        "energy": energy.columns,
        "cycles": cycles.columns,
        "toml": _chip_texts(chips),
        "palette": list(PALETTE),
        "unfit": [[count, reason] for reason, count in reasons.most_common()],
    }


class _Parts:
    """Named parts of each point, in columns; what a point has not is 0, and what is 0 everywhere is left out."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self._points = 0

    def add(self, parts: Mapping[str, float]) -> None:
        """The parts of one more point."""
        for name, value in parts.items():
            if value:
                column = self._columns.setdefault(name, [])
                column += [0] * (self._points - len(column))
                column.append(float(f"{value:.{DIGITS}g}"))
        self._points += 1

    @property
    def columns(self) -> dict[str, list[float]]:
        """Name -> a value per point, the largest part first."""
        whole = {name: column + [0] * (self._points - len(column)) for name, column in self._columns.items()}
        ordered = sorted(whole.items(), key=lambda part: -sum(part[1]))
        return {name.replace("_", " "): values for name, values in ordered}


def _metric(name: str, rows: Iterable[Row]) -> dict[str, Any]:
    metric = METRICS[name]
    values = [(row.metrics or {})[name] for row in rows]
    sense = metric.sense if name in OBJECTIVES and None not in values else 0
    return {"name": name, "label": metric.label, "unit": metric.unit, "sense": sense, "values": values}


def _axes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What points are told apart and filtered by: trace and energy table where there are several, and the settings."""
    traces, several = short_traces(rows), varied(rows)
    axes = [_axis("trace", "trace", [traces[row.trace] for row in rows])]
    if len({row.prices for row in rows}) > 1:
        axes.append(_axis("prices", "energy table", [row.prices for row in rows]))
    for key, short in short_keys(several).items():
        axes.append(_axis(key, short, [row.settings.get(key, "") for row in rows]))
    return axes


def _axis(key: str, label: str, values: Sequence[Any]) -> dict[str, Any]:
    distinct = list(dict.fromkeys(values))
    if not any(isinstance(value, str) for value in distinct):
        distinct.sort()
    place = {value: at for at, value in enumerate(distinct)}
    return {"key": key, "label": label, "values": distinct, "index": [place[value] for value in values]}


def _chip_texts(chips: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Chip files in short: one text with a mark {{key}} for each key that differs, and what stands there.

    keys: key -> {"texts": distinct values as TOML, "index": which of them each point has}.
    """
    keys: dict[str, dict[str, list[Any]]] = {}
    for key in chips[0]:
        distinct = {text: at for at, text in enumerate(dict.fromkeys(chip[key] for chip in chips))}
        if len(distinct) > 1:
            keys[key] = {"texts": list(distinct), "index": [distinct[chip[key]] for chip in chips]}
    marks = {key: "{{" + key + "}}" if key in keys else text for key, text in chips[0].items()}
    return {"text": chip_template(marks), "keys": keys}
