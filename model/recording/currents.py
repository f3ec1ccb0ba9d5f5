"""What drives a neuron: synapses, and what lies between their sums and the potential."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .affine import ARITHMETIC, affine
from .places import Places
from .sites import Site, Sites
from .values import NORMS, Value

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
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    walk = _Walk(sites, places, [_Entering(value, one, zero, ())])
    while walk.left:
        walk.back(walk.left.pop())
    return walk.drive


@dataclass(frozen=True, eq=False)
class _Entering:
    """A value that enters a neuron as gain x value + offset, behind these pools."""

    value: Value
    gain: Float
    offset: Float
    pools: tuple[Value, ...]


@dataclass(eq=False)
class _Walk:
    """left: values that are still to be followed, the next one last: as deep as a potential's history is long."""

    sites: Sites
    places: Places
    left: list[_Entering]
    drive: Drive = field(default_factory=Drive)
    seen: set[Value] = field(default_factory=set)

    def back(self, now: _Entering) -> None:
        """One step towards the synapses."""
        value = now.value
        site = self.sites.of(value)
        pooled = site is not None and site.kind == "pool" and pools_sums(value, self.sites)
        if site is not None and not pooled:
            self.drive.terms.append(Term(site, now.gain, now.offset, now.pools))
            return
        if value in self.seen:
            return
        self.seen.add(value)
        live = [parent for parent in value.parents if not parent.fixed]
        if self._ends(value, live):
            self.drive.odd.append(value)  # it makes sums of spikes, as a layer does: what made these drives others
            return
        if pooled:  # sums; a negative factor behind them would make their largest the smallest
            if bool((now.gain <= 0).any()):
                self.drive.odd.append(value)
            self.left.append(replace(now, value=live[0], pools=(*now.pools, value)))
        elif value.op in ("add", "sub") and len(live) == 2:
            self._added(now, live)
        elif len(live) == 1 and value.moves:
            self.left.append(replace(now, value=live[0]))
        elif len(live) == 1 and (found := affine(value, self.places)) is not None:
            offset = now.offset + now.gain * found[1]
            self.left.append(replace(now, value=live[0], gain=now.gain * found[0], offset=offset))
        else:  # not understood; what lies behind it drives the neuron all the same
            self.drive.odd.append(value)
            self.left += [replace(now, value=parent) for parent in reversed(live)]

    def _ends(self, value: Value, live: list[Value]) -> bool:
        """Whether an operation of the host, or a sum without weights, reads spikes: it is no part of a neuron."""
        if value.op in ("sum", "mean"):
            return live[0].spiking and not any(self._sums(part) for part in live)
        return bool(value.note.get("foreign")) and any(part.spiking and not self._sums(part) for part in live)

    def _sums(self, value: Value) -> bool:
        """Whether what looks like spikes is a layer's sums, or q AND k."""
        site = self.sites.of(value.origin)
        return is_sum(value, self.sites) or (site is not None and site.kind == "mask")

    def _added(self, now: _Entering, live: list[Value]) -> None:
        """Two sums that meet. One that is spread over axes of the other is no sum of its neurons' own."""
        value = now.value
        if any(tuple(part.shape) != tuple(value.shape) for part in live):
            self.drive.odd.append(value)
        factor = float(value.keywords.get("alpha", 1)) * (-1 if value.op == "sub" else 1)
        self.left.append(replace(now, value=live[1], gain=now.gain * factor, offset=now.offset * 0))
        self.left.append(replace(now, value=live[0]))


def pools_sums(pool: Value, sites: Sites) -> bool:
    """Whether a pool works on sums, or on what was made of them, on the way to a neuron."""
    return is_sum(pool.parents[0], sites) or pool.parents[0].content == "real"


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
