"""Points of a sweep made by hand, for tests of what is said about them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sparsespike.analysis.explore.metrics import METRICS
from sparsespike.analysis.explore.store import Row


def made_row(
    settings: Mapping[str, Any], trace: str = "digits", prices: str = "cmos45", reason: str = "", **metrics: float
) -> Row:
    """A point that fits, unless there is a reason; metrics that are not given are 1, an accuracy 0.9."""
    content = repr((sorted(settings.items()), trace, prices))
    key = hashlib.sha256(content.encode()).hexdigest()
    known = dict.fromkeys(METRICS, 1.0) | {"accuracy": 0.9} | metrics
    return Row(key, "a program", trace, prices, dict(settings), None if reason else known, reason)


def lanes_and_banks(numbers: Sequence[tuple[int, int, float, float, float]]) -> list[Row]:
    """(lanes, banks, latency s, energy J, area mm2) of each point."""
    return [
        made_row({"core.lanes": lanes, "core.weight_banks": banks}, latency=latency, energy=energy, area=area)
        for lanes, banks, latency, energy, area in numbers
    ]
