"""Operations of all timesteps brought together: a site is one layer of the model, its calls are its timesteps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .values import Value, evaluate

Kind = Literal["synapse", "neuron", "pool", "product", "mask", "other"]

_SYNAPSES = {"convolution": (0, 1), "addmm": (1, 2), "mm": (0, 1)}  # operation -> positions of (values, weights)
_POOLS = frozenset({"max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d"})


@dataclass(eq=False)
class Site:
    """A layer of the model. number: tells it from others.  path: its module.  calls: its values, in order."""

    kind: Kind
    number: int
    path: str
    calls: list[Value] = field(default_factory=list)

    @property
    def value(self) -> Value:
        """The first call."""
        return self.calls[0]


def kind_of(value: Value) -> Kind:
    """What a value is to the chip."""
    if value.op == "neuron":
        return "neuron"
    if "inside" in value.note:  # of a module that is named as a whole
        return "other"
    if value.op in _SYNAPSES and value.output == 0 and weight(value).fixed and not operand(value).fixed:
        return "synapse"
    if value.op in _POOLS and value.output == 0:
        return "pool"
    live = [parent for parent in value.parents if not parent.fixed]
    if value.op in ("bmm", "mm", "baddbmm") and len(live) > 1:
        return "product"
    if value.op == "mul" and len(live) == 2 and all(part.spiking for part in live):
        return "mask"
    return "other"


def operand(value: Value) -> Value:
    """What a synapse reads: the values, not the weights."""
    part: Value = value.arguments[_SYNAPSES[value.op][0]]
    return part


def weight(value: Value) -> Value:
    """The weights of a synapse, as the operation takes them."""
    part: Value = value.arguments[_SYNAPSES[value.op][1]]
    return part


def bias(value: Value) -> NDArray[np.float64] | None:
    """float64[outputs] of a synapse, None where it has none."""
    position = {"convolution": 2, "addmm": 0}.get(value.op)
    part = None if position is None else value.arguments[position]
    return evaluate(part).to(torch.float64).reshape(-1).numpy() if isinstance(part, Value) else None


class Sites:
    """All sites of a recording, by value and in the order of their first calls."""

    def __init__(self, values: list[Value]) -> None:
        self._by_key: dict[tuple[object, ...], Site] = {}
        self._of: dict[Value, tuple[Site, int]] = {}
        for value in values:
            kind = kind_of(value)
            if kind != "other":
                self._add(kind, value)

    def __iter__(self) -> Iterator[Site]:
        return iter(self._by_key.values())

    def _add(self, kind: Kind, value: Value) -> None:
        key = self._key(kind, value)
        site = self._by_key.setdefault(key, Site(kind, len(self._by_key), value.path))
        self._of[value] = site, len(site.calls)
        site.calls.append(value)

    def _key(self, kind: Kind, value: Value) -> tuple[object, ...]:
        if kind == "neuron":  # one module may serve several layers, if it keeps no state
            return kind, value.path, self.anchor(value.parents[0])
        if kind == "synapse":
            return kind, value.path, *made_from(weight(value)), self.anchor(operand(value))
        anchors = tuple(self.anchor(parent) for parent in value.parents if not parent.fixed)
        return kind, value.path, value.op, *anchors

    def anchor(self, value: Value) -> object:
        """The number of the site that a value comes from, whatever happened on the way; else what it began as."""
        while value not in self._of:
            live = [parent for parent in value.parents if not parent.fixed]
            if not live:
                return value.op
            value = live[0]
        return self._of[value][0].number

    def of(self, value: Value) -> Site | None:
        """The site that a value is a call of."""
        return self._of[value][0] if value in self._of else None

    def call_of(self, value: Value) -> tuple[int, int]:
        """(the how-manieth call of its site a value is, how many there are); (0, 1) for what is no site."""
        if value not in self._of:
            return 0, 1
        site, call = self._of[value]
        return call, len(site.calls)


def made_from(value: Value) -> tuple[object, ...]:
    """The parameter that a weight was made from, and how: the same for every call, other for each slice of it."""
    steps: list[object] = []
    while value.parents:
        others = [str(part) for part in value.arguments if not isinstance(part, Value)]
        steps += [value.op, value.output, *others]
        value = value.parents[0]
    return value, *steps
