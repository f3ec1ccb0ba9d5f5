"""What a run costs: by layer, action and component, what moves apart from what stands, each with its band.

A band adds up the lows of all prices, and the highs: the ends are reached if every number errs the same way.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sourced import Band, Kind
from .actions import COMPONENT_OF
from .standing import STANDING

Floats = NDArray[np.float64]
MOVING = tuple(dict.fromkeys(("dram", *COMPONENT_OF.values())))
COMPONENTS = (*MOVING, *STANDING)
MUCH = 0.1  # a total that rests on assumed prices by more than this says so


@dataclass(frozen=True)
class Prices:
    """Prices of one chip in one technology; all linear in the table's entries.

    keys, kinds: the entries (a product of two is one, and as weak as the weaker).  bands: float64[entries, 3].
    per_action: float64[Action, entries], how often an entry is in an action; per_cycle: float64[STANDING, entries].
    action: float64[Action, 3] pJ.  cycle: float64[STANDING, 3] pJ per clock cycle.  Last axes: (low, nominal, high).
    """

    keys: tuple[str, ...]
    kinds: tuple[Kind, ...]
    bands: Floats
    per_action: Floats
    per_cycle: Floats
    action: Floats
    cycle: Floats


@dataclass(frozen=True)
class Energy:
    """What a run costs. All arrays in pJ with a last axis (low, nominal, high).

    counts: int64[layers, Action].  cycles: int64[layers].  prices: what they were priced with.
    components: float64[layers, COMPONENTS, 3], of which `STANDING` is static, shared out by the layers' cycles.
    """

    layers: tuple[str, ...]
    counts: NDArray[np.int64]
    cycles: NDArray[np.int64]
    prices: Prices
    components: Floats

    @property
    def standing(self) -> Floats:
        """What time costs: float64[layers, STANDING, 3]."""
        return self.components[:, len(MOVING) :]

    @cached_property
    def total(self) -> Band:
        """Everything: (low, nominal, high)."""
        band: Band = self.components.sum(axis=(0, 1))
        return band

    @property
    def moving(self) -> Band:
        """What actions cost, (low, nominal, high)."""
        band: Band = self.components[:, : len(MOVING)].sum(axis=(0, 1))
        return band

    @property
    def static(self) -> Band:
        """What time costs, (low, nominal, high)."""
        band: Band = self.standing.sum(axis=(0, 1))
        return band

    def by_component(self) -> dict[str, float]:
        """Nominal pJ of each component; those of `STANDING` are static."""
        return _named(COMPONENTS, self.components[:, :, 1].sum(axis=0))

    def by_layer(self) -> dict[str, float]:
        """Nominal pJ of each layer; what stands is shared out by time."""
        return _named(self.layers, self.components[:, :, 1].sum(axis=1))

    def by_layer_and_component(self) -> dict[str, dict[str, float]]:
        """Nominal pJ, layer by layer and component by component."""
        rows = self.components[:, :, 1].tolist()
        return {name: dict(zip(COMPONENTS, row, strict=True)) for name, row in zip(self.layers, rows, strict=True)}

    def component_bands(self) -> dict[str, list[float]]:
        """[low, nominal, high] pJ of each component."""
        return _bands(COMPONENTS, self.components.sum(axis=0))

    def layer_bands(self) -> dict[str, list[float]]:
        """[low, nominal, high] pJ of each layer."""
        return _bands(self.layers, self.components.sum(axis=1))

    def to_json(self) -> dict[str, Any]:
        """pJ as plain data: nominal total, band, parts; `bands` are [low, nominal, high]; static parts add up to it."""
        (low, nominal, high), static = self.total.tolist(), self.standing.sum(axis=0)
        return {
            "total": nominal,
            "low": low,
            "high": high,
            "dynamic": self.moving.tolist(),
            "static": self.static.tolist(),
            "static_by_component": _bands(STANDING, static),
            "by_component": self.by_component(),
            "by_layer": self.by_layer(),
            "bands": {"by_component": self.component_bands(), "by_layer": self.layer_bands()},
            "by_entry": self.by_entry(),
            "by_kind": self.by_kind(),
            "assumed_share": self.assumed_share,
            "dram_share": self.dram_share,
            "warning": self.warning(),
        }

    @cached_property
    def _per_entry(self) -> Floats:
        """Nominal pJ that each entry of the table brings in: float64[entries]; adds up to the total.

        Layers are added up as floats: a sum of them may be beyond 64 bits.
        """
        prices = self.prices
        actions = (self.counts.sum(axis=0, dtype=np.float64)[:, None] * prices.per_action).sum(axis=0)
        cycles = self.cycles.sum(dtype=np.float64) * prices.per_cycle.sum(axis=0)
        share: Floats = (actions + cycles) * prices.bands[:, 1]
        return share

    def by_entry(self) -> dict[str, float]:
        """Nominal pJ that each entry of the table brings in, by its dotted key, the largest first; zeros left out."""
        named = _named(self.prices.keys, self._per_entry)
        return dict(sorted(((key, pj) for key, pj in named.items() if pj), key=lambda item: -item[1]))

    def by_kind(self) -> dict[str, float]:
        """Nominal pJ by the kind of number that it rests on: measured, …, assumed."""
        found: dict[str, float] = {}
        for kind, pj in zip(self.prices.kinds, self._per_entry.tolist(), strict=True):
            found[kind] = found.get(kind, 0.0) + pj
        return found

    @property
    def assumed_share(self) -> float:
        """Share of the nominal total that rests on prices which are assumed; 0 of nothing."""
        total = float(self.total[1])
        return self.by_kind().get("assumed", 0.0) / total if total else 0.0

    @property
    def dram_share(self) -> float:
        """Share of the nominal total that DRAM takes, traffic and background; 0 of nothing."""
        parts, total = self.by_component(), float(self.total[1])
        return (parts["dram"] + parts["dram_background"]) / total if total else 0.0

    def warning(self) -> str:
        """A sentence where more than a tenth of the total is assumed, with the largest of these prices; else ""."""
        if self.assumed_share <= MUCH:
            return ""
        kinds = dict(zip(self.prices.keys, self.prices.kinds, strict=True))
        guessed = [(key, pj) for key, pj in self.by_entry().items() if kinds[key] == "assumed"]
        parts = ", ".join(f"{key} {100 * pj / self.total[1]:.1f} %" for key, pj in guessed[:3])
        return f"{100 * self.assumed_share:.1f} % of the energy rests on assumed prices: {parts}"


def _named(names: tuple[str, ...], values: Floats) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


def _bands(names: tuple[str, ...], bands: Floats) -> dict[str, list[float]]:
    return dict(zip(names, bands.tolist(), strict=True))
