"""Every point of a result file as CSV, for other programs."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ....simulator.files import write_text
from ..metrics import METRICS
from ..store import Row


def write_csv(path: str | Path, rows: Sequence[Row]) -> None:
    """Write key, trace, energy table, whether it fits and why not, settings, and metrics with their units; a line each.

    Numbers are written in full, in the metrics' own units (s, J, B, …); cells of what a point has not are empty.
    Raises UserError where the file cannot be written.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    units = [f"{name} [{metric.unit}]" if metric.unit else name for name, metric in METRICS.items()]
    lines.writerow(["key", "trace", "energy table", "feasible", "reason", *keys, *units])
    for row in rows:
        settings = [row.settings.get(key, "") for key in keys]
        numbers = [(row.metrics or {}).get(name) for name in METRICS]
        lines.writerow([row.key, row.trace, row.prices, int(row.feasible), row.reason, *settings, *numbers])
    write_text(path, text.getvalue())
