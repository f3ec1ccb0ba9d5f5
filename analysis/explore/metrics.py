"""What a simulated point is judged by, each number with its unit and how it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...simulator.errors import UserError, nearest
from ..tables import kib, percent, si
from ..views import Report, images_of, per_image


@dataclass(frozen=True)
class Metric:
    """A number of a report. of: the number, None where the report has none.  text: how it is written.

    sense: 1 where less is better, -1 where more is, 0 where neither is, so that it is no objective.
    bound: what a report of lower bounds (`bound_report`) says of it: "exact", the number itself; "below", one that the
    simulated number never goes below; "" nothing, as of a ratio of two bounds.
    """

    label: str
    unit: str
    of: Callable[[Report], float | None]
    text: Callable[[float], str]
    sense: int = 1
    bound: Literal["exact", "below", ""] = ""


def _unit(unit: str) -> Callable[[float], str]:
    return lambda value: si(value, unit)


def _accuracy(report: Report) -> float | None:
    """On all test images, as the ticket that was traced records it; else on the images of the run."""
    known = report["provenance"]["trace"].get("ticket_integer_test_accuracy")
    return float(known) if known else report["accuracy"]


def _energy(end: str) -> Callable[[Report], float]:
    return lambda report: report["energy_pj"][end] * 1e-12 / images_of(report)


METRICS: dict[str, Metric] = {
    "latency": Metric(
        "latency per image", "s", lambda report: per_image(report)["latency_s"], _unit("s"), bound="below"
    ),
    "energy": Metric("energy per image", "J", _energy("total"), _unit("J"), bound="below"),
    "area": Metric("area", "mm²", lambda report: report["area_mm2"], lambda value: f"{value:.3g} mm²", bound="exact"),
    "accuracy": Metric("accuracy", "", _accuracy, percent, sense=-1, bound="exact"),
    "cycles": Metric(
        "cycles per image",
        "",
        lambda report: per_image(report)["cycles"],
        lambda value: f"{value:,.0f}",
        bound="below",
    ),
    "edp": Metric("energy x delay", "J s", lambda report: report["edp_js"], _unit("J s"), bound="below"),
    "power": Metric("average power", "W", lambda report: report["power_w"]["average"], _unit("W")),
    "peak_power": Metric("peak power", "W", lambda report: report["power_w"]["peak"], _unit("W"), bound="exact"),
    "dram": Metric("DRAM traffic per image", "B", lambda report: per_image(report)["dram_bytes"], kib, bound="exact"),
    "throughput": Metric(
        "throughput",
        "images/s",
        lambda report: report["images_per_s"],
        lambda value: f"{value:,.0f} images/s",
        sense=-1,
    ),
    "energy_low": Metric("energy per image, lowest prices", "J", _energy("low"), _unit("J"), sense=0),
    "energy_high": Metric("energy per image, highest prices", "J", _energy("high"), _unit("J"), sense=0),
    "operations": Metric(
        "synaptic operations per image",
        "",
        lambda report: report["synaptic_events"] / images_of(report),
        lambda value: f"{value:,.0f}",
        sense=0,
    ),
    "assumed": Metric(
        "share of energy that rests on assumed prices",
        "",
        lambda report: report["energy_pj"].get("assumed_share"),  # bounds do not say
        percent,
        sense=0,
    ),
    "extrapolated": Metric(
        "memories beyond the SRAM table",
        "",
        lambda report: len(report["extrapolated_macros"]),
        lambda value: f"{value:.0f}",
        sense=0,
    ),
}
OBJECTIVES = [name for name, metric in METRICS.items() if metric.sense]
BOUNDED = [name for name in OBJECTIVES if METRICS[name].bound]

Metrics = Mapping[str, float | None]


def metrics_of(report: Report) -> dict[str, float | None]:
    """Every metric of a report."""
    return {name: metric.of(report) for name, metric in METRICS.items()}


def parse_objectives(text: str) -> tuple[str, ...]:
    """ "latency,energy" -> ("latency", "energy"). Raises UserError for an unknown name, or one that stands twice."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f"no objective {name!r}; {nearest(name, OBJECTIVES)}")
        if names.count(name) > 1:
            raise UserError(f"objective {name!r} stands twice")
    return tuple(names)


def costs(metrics: Metrics, objectives: Sequence[str]) -> list[float]:
    """The objectives as numbers that are all to be small: accuracy as 1 - accuracy, throughput negative.

    Raises UserError where the point has no such number.
    """
    values = []
    for name in objectives:
        value = metrics[name]
        if value is None:
            raise UserError(f"objective {name!r}: a point has none ({_why_none(name)})")
        values.append(1 - value if name == "accuracy" else METRICS[name].sense * value)
    return values


def _why_none(name: str) -> str:
    return "its trace has no labels" if name == "accuracy" else "its run has too few images"


def described(metrics: Metrics, names: Sequence[str]) -> dict[str, str]:
    """Name -> the number as it is written, a dash where there is none."""
    found: dict[str, Any] = {name: metrics[name] for name in names}
    return {name: "-" if value is None else METRICS[name].text(value) for name, value in found.items()}


def cost_text(name: str, cost: float) -> str:
    """How the metric behind one of `costs` is written."""
    return METRICS[name].text(1 - cost if name == "accuracy" else METRICS[name].sense * cost)
