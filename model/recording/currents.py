"""What drives a neuron: synapses, and what lies between their sums and the potential."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .affine import ARITHMETIC, NORMS, affine
from .places import Places
from .sites import Site, Sites
from .values import Value

Float = Tensor  # float64[channels] or of one element
_SUM_KEEPS = ARITHMETIC | NORMS | {"mean", "sum"}


@dataclass(eq=False)
class Term:
    """A site's sums on their way to a neuron: gain x sum + offset, pooled in between where `pools` says so."""

    site: Site
    gain: Float = field(default_factory=lambda: torch.ones(1, dtype=torch.float64))
    offset: Float = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    pools: tuple[Value, ...] = ()


@dataclass(eq=False)
class Drive:
    """All that adds up to a neuron's input. odd: operations in between that have no counterpart on the chip."""

    terms: list[Term] = field(default_factory=list)
    odd: list[Value] = field(default_factory=list)


def drive_of(value: Value, sites: Sites, places: Places) -> Drive:
    """Walk from a neuron's input back to the synapses, pools, products and spikes that it is the sum of."""
    drive = Drive()
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    _Walk(sites, places, drive).back(value, one, zero, ())
    return drive


@dataclass(eq=False)
class _Walk:
    sites: Sites
    places: Places
    drive: Drive
    seen: set[Value] = field(default_factory=set)

    def back(self, value: Value, gain: Float, offset: Float, pools: tuple[Value, ...]) -> None:
        """`value` enters as gain x value + offset."""
        site = self.sites.of(value)
        if site is not None and not (site.kind == "pool" and is_sum(value.parents[0], self.sites)):
            self.drive.terms.append(Term(site, gain, offset, pools))
            return
        if value in self.seen:
            return
        self.seen.add(value)
        live = [parent for parent in value.parents if not parent.fixed]
        if not live:
            self.drive.odd.append(value)
        elif site is not None:  # a pool of sums; a negative factor behind it would make its largest sum the smallest
            if bool((gain <= 0).any()):
                self.drive.odd.append(value)
            self.back(live[0], gain, offset, (*pools, value))
        elif value.op in ("add", "sub") and len(live) == 2:
            self._added(value, live, gain, offset, pools)
        elif len(live) == 1 and value.moves:
            self.back(live[0], gain, offset, pools)
        elif len(live) == 1 and (found := affine(value, self.places)) is not None:
            self.back(live[0], gain * found[0], offset + gain * found[1], pools)
        else:
            self._odd(value, live, gain, offset, pools)

    def _added(self, value: Value, live: list[Value], gain: Float, offset: Float, pools: tuple[Value, ...]) -> None:
        """Two sums that meet. One that is spread over axes of the other is no sum of its neurons' own."""
        if any(tuple(part.shape) != tuple(value.shape) for part in live):
            self.drive.odd.append(value)
        factor = float(value.keywords.get("alpha", 1)) * (-1 if value.op == "sub" else 1)
        self.back(live[0], gain, offset, pools)
        self.back(live[1], gain * factor, offset * 0, pools)

    def _odd(self, value: Value, live: list[Value], gain: Float, offset: Float, pools: tuple[Value, ...]) -> None:
        """Not understood; what lies behind it drives the neuron all the same."""
        self.drive.odd.append(value)
        for parent in live:
            self.back(parent, gain, offset, pools)


def is_sum(value: Value, sites: Sites) -> bool:
    """Whether a value is the sum of some layer, however scaled or pooled: no neuron has looked at it yet."""
    while True:
        site = sites.of(value)
        if site is not None and site.kind != "pool":
            return site.kind in ("synapse", "product")
        live = [parent for parent in value.parents if not parent.fixed]
        if len(live) == 2 and value.op in ("add", "sub"):
            return any(is_sum(parent, sites) for parent in live)
        if len(live) != 1 or not (site is not None or value.moves or value.op in _SUM_KEEPS):
            return False
        value = live[0]
