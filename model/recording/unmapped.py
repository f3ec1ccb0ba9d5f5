"""Operations that no reader of a recording interprets: each is named, lest it vanish and layers with it.

What is understood is listed, what is not follows from that: of an operation that nobody has thought of it must be
said that it is there. Elementwise operations are understood: they are what neurons are made of.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from .host import called, foreign_name
from .sites import Sites
from .tape import Tape
from .values import NORMS, Value, evaluate, plain, replaced

# Sums, which the walk from a neuron to its layers follows, and where a maximum was found
_UNDERSTOOD = NORMS | {"sum", "mean", "max_pool2d_with_indices"}
# What a vote behind the last spikes is made of: the host's, not counted
_CHOICES = frozenset({"argmax", "argmin", "max", "min", "amax", "amin", "topk", "sort", "argsort"})
# Elementwise operations that give fixed numbers the say of live ones, and those behind which a spike is a spike
_WEIGHS = frozenset({"mul", "div", "where", "addcmul", "addcdiv", "lerp", "masked_fill"})
_THRESHOLDS = frozenset({"ge", "gt", "le", "lt", "eq", "ne", "heaviside", "sign", "round", "floor", "ceil"})


def unmapped(tape: Tape, sites: Sites) -> Iterator[tuple[str, Value]]:
    """(what it is called, the value) of every operation without a counterpart, in the order of the run."""
    reach = _Reach(tape, sites)
    calls: set[int] = set()
    for value in tape.values:
        if value.fixed:
            continue
        name = foreign_name(value)
        if name is not None:
            if value.output == 0:
                yield name, value
        elif _own_statistics(value) and value.output == 0:
            yield "normalisation by statistics of the data itself", value
        elif not _understood(value, sites) and reach.matters(value) and id(value.arguments) not in calls:
            calls.add(id(value.arguments))  # once for all that it makes
            yield called(value), value
        elif value.op in ("sum", "mean") and (factors := _weighted(value)) is not None and reach.weighs(factors):
            yield "weights that are multiplied and then summed", factors


def _understood(value: Value, sites: Sites) -> bool:
    known = value.op in _UNDERSTOOD or sites.of(value) is not None or value.function is None
    return known or value.moves or plain(value.op, value.function)


def _own_statistics(value: Value) -> bool:
    """Whether it normalises by the statistics of what it reads: instance norm, batch norm as in training."""
    return value.op in NORMS and any(part is True for part in value.arguments)


class _Reach:
    """What the layers, neurons and outputs of a recording depend on."""

    def __init__(self, tape: Tape, sites: Sites) -> None:
        last = tape.returned or tape.values
        inner = [parent for site in sites for call in site.calls for parent in call.parents]
        self._layers = _ancestors(inner)
        self._spikes = _ancestors([value for value in last if value.content == "binary"])
        self._returned = _ancestors(last)

    def matters(self, value: Value) -> bool:
        """Whether an operation lies on the way from the input or spikes to neurons, or has weights of its own.

        What prepares the input, and what is made of the last spikes, without trained weights, is the host's.
        """
        weighs = any(part.fixed and math.prod(part.shape) > 1 for part in value.parents)
        if value.from_input and not trained(value):
            return value in self._spikes and value not in self._layers
        if value in self._layers or (value in self._spikes and value.op not in _CHOICES):
            return True
        return weighs and value in self._returned

    def weighs(self, factors: Value) -> bool:
        """Whether a product that is summed up is a layer's: weights of the input only where they were trained."""
        return (not factors.from_input or trained(factors)) and (factors in self._layers or factors in self._returned)


def _ancestors(values: Iterable[Value]) -> set[Value]:
    """The values, and all that these depend on."""
    found: set[Value] = set()
    left = [value for value in values if not value.fixed]
    while left:
        value = left.pop()
        if value not in found:
            found.add(value)
            left += [parent for parent in value.parents if not parent.fixed]
    return found


def trained(value: Value) -> bool:
    """Whether one of the fixed operands of an operation was made of the model's parameters."""
    left = [parent for parent in value.parents if parent.fixed]
    while left:
        part = left.pop()
        if part.note.get("trained"):
            return True
        left += part.parents
    return False


def _weighted(total: Value) -> Value | None:
    """The multiplication with factors that differ along the axes that a sum is over: a product with weights."""
    value: Value = total.parents[0]
    steps: list[Value] = []
    while True:
        live = [parent for parent in value.parents if not parent.fixed]
        if len(live) != 1:
            return None
        if value.op in _WEIGHS and not value.identity and (factors := _factors(value)) is not None:
            for step in reversed(steps):
                assert step.function is not None
                factors = step.function(*replaced(step.arguments, _Fill(factors)), **step.keywords)
            return value if _differ(factors, total) else None
        if value.op in _THRESHOLDS or not plain(value.op, value.function) or (value.moves and value.function is None):
            return None
        if value.moves and not value.identity:
            steps.append(value)
        value = live[0]


class _Fill:
    """Numbers in place of the one live operand of a move."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers

    def __call__(self, value: Value) -> Tensor:
        return evaluate(value) if value.fixed else self._numbers


def _factors(value: Value) -> Tensor | None:
    """What each element of a product's live operand is multiplied by; None where it is one number for all."""
    numbers = [part for part in map(evaluate, (part for part in value.parents if part.fixed)) if part.numel() > 1]
    return numbers[0].expand(value.shape) if numbers else None


def _differ(factors: Tensor, total: Value) -> bool:
    given = total.arguments[1] if len(total.arguments) > 1 else None
    axes = given if isinstance(given, (list, tuple)) and given else range(factors.ndim)
    return any(
        factors.shape[axis] > 1 and not torch.equal(factors.narrow(axis, 0, 1).expand_as(factors), factors)
        for axis in axes
    )
