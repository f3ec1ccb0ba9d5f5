"""What drives a neuron: synapses, and what lies between their sums and the potential."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .sites import Site, Sites
from .values import Value, evaluate

Float = Tensor  # float64[channels] or of one element


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


def drive_of(value: Value, sites: Sites) -> Drive:
    """Walk from a neuron's input back to the synapses, pools, products and spikes that it is the sum of."""
    drive = Drive()
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    _walk(value, one, zero, (), sites, drive, set())
    return drive


def _walk(
    value: Value, gain: Float, offset: Float, pools: tuple[Value, ...], sites: Sites, drive: Drive, seen: set[Value]
) -> None:
    """`value` enters as gain x value + offset."""
    site = sites.of(value)
    if site is not None and not (site.kind == "pool" and is_sum(value.parents[0], sites)):
        drive.terms.append(Term(site, gain, offset, pools))
        return
    if value in seen:
        return
    seen.add(value)
    live = [parent for parent in value.parents if not parent.fixed]
    if not live:
        drive.odd.append(value)
    elif site is not None:  # a pool of sums; a negative factor behind it would make its largest sum the smallest
        if bool((gain <= 0).any()):
            drive.odd.append(value)
        _walk(live[0], gain, offset, (*pools, value), sites, drive, seen)
    elif value.op in ("add", "sub") and len(live) == 2:
        factor = float(value.keywords.get("alpha", 1)) * (-1 if value.op == "sub" else 1)
        _walk(live[0], gain, offset, pools, sites, drive, seen)
        _walk(live[1], gain * factor, offset * 0, pools, sites, drive, seen)
    elif len(live) == 1 and value.moves:
        _walk(live[0], gain, offset, pools, sites, drive, seen)
    elif len(live) == 1 and (affine := _affine(value)) is not None:
        _walk(live[0], gain * affine[0], offset + gain * affine[1], pools, sites, drive, seen)
    else:
        drive.odd.append(value)
        for parent in live:
            if value.op not in ("native_dropout",):
                _walk(parent, gain, offset, pools, sites, drive, seen)


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


_SUM_KEEPS = frozenset(
    {
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "rsub",
        "native_batch_norm",
        "_native_batch_norm_legit_no_training",
        "mean",
        "sum",
    }
)


def _affine(value: Value) -> tuple[Float, Float] | None:
    """(factor, summand) of an operation with one live operand; None where it is not affine per channel."""
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    if value.op in ("native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit"):
        return _norm(value)
    if value.op in ("add", "sub", "mul", "div", "rsub", "neg"):
        if value.op == "neg":
            return -one, zero
        first_lives = isinstance(value.arguments[0], Value) and not value.arguments[0].fixed
        other = value.arguments[1] if first_lives else value.arguments[0]
        number = (evaluate(other) if isinstance(other, Value) else torch.tensor(other)).to(torch.float64)
        flat = _per_channel(number, value)
        if flat is None:
            return None
        alpha = float(value.keywords.get("alpha", 1))
        if value.op == "mul":
            return flat, zero
        if value.op == "div":
            return (1 / flat, zero) if first_lives else None
        if value.op == "add":
            return (one, alpha * flat) if first_lives else (alpha * one, flat)
        if value.op == "sub":
            return (one, -alpha * flat) if first_lives else (-alpha * one, flat)
        return -one * alpha, flat  # rsub: other - alpha x self
    return None


def _per_channel(number: Tensor, value: Value) -> Float | None:
    """A factor of one element, or of one per channel: axis 1 of a stack of maps, the last one of rows."""
    if number.numel() == 1:
        return number.reshape(1)
    sizes = [1] * (len(value.shape) - number.ndim) + list(number.shape)
    long = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(long) != 1:
        return None
    axis = long[0]
    return number.reshape(-1) if axis in (len(value.shape) - 1, len(value.shape) - 3, 1) else None


def _norm(value: Value) -> tuple[Float, Float] | None:
    weight, bias, mean, variance, *rest = value.arguments[1:]
    training = rest[0] if value.op == "native_batch_norm" else False
    epsilon = value.arguments[7] if value.op == "native_batch_norm" else value.arguments[6]
    if training or mean is None:
        return None
    parts = [
        evaluate(part).to(torch.float64) if isinstance(part, Value) else None for part in (weight, bias, mean, variance)
    ]
    gain = (parts[3] + epsilon).rsqrt() if parts[3] is not None else torch.ones(1, dtype=torch.float64)
    if parts[0] is not None:
        gain = gain * parts[0]
    shift = -(parts[2] if parts[2] is not None else 0) * gain
    return gain, shift + (parts[1] if parts[1] is not None else 0)
