"""Where a tensor's elements lie among neurons, axis by axis: what operations that only move elements make of it.

The place of an element is a sum of one number per axis, as addresses are sums of strides. Reshapes, transpositions,
slices and stacks keep it one, so that nothing of the tensor's size is made; where one does not, it is not followed.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...simulator.errors import UserError
from .fields import IMAGE, TIME, TIMESTEPS_MAX, Field, ranks, time_of
from .values import Value, evaluate


class NotSeparableError(Exception):
    """A move after which places are no sum of one number per axis."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Places (see `fields`) of a tensor: base + parts[0][i] + parts[1][j] + …

    parts: int64[size] per axis, the first number of each 0.
    """

    base: int
    parts: tuple[Tensor, ...]

    @staticmethod
    def of(base: int, parts: Sequence[Tensor]) -> "Layout":
        """With the first numbers of all parts moved into the base."""
        return Layout(base + sum(int(part[0]) for part in parts), tuple(part - part[0] for part in parts))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(len(part) for part in self.parts)

    @property
    def static(self) -> bool:
        """Whether no timestep is said: the same at all of them."""
        return self.first(time_of) < 0

    def axis(self, axis: int) -> Tensor:
        """int64[size]: places along one axis, at the beginning of all others."""
        return self.base + self.parts[axis]

    def timed(self, call: int, calls: int) -> "Layout":
        """A timestep for what has none: the how-manieth copy of the same an element is, call after call."""
        if not self.static:
            return self
        parts, copies = list(self.parts), 1
        for axis, part in enumerate(parts):
            rank, many = ranks(part)
            if many > 1:
                if copies > 1:
                    raise NotSeparableError
                parts[axis], copies = part + (rank << TIME), many
        if copies == 1 and calls == 1:
            return self
        if copies * calls > TIMESTEPS_MAX:
            raise UserError(f"{copies * calls} timesteps; capture tells {TIMESTEPS_MAX} apart")
        return Layout(self.base + ((1 + call * copies) << TIME), tuple(parts))

    def change(self, axis: int, field: Field) -> Tensor:
        """int64[size]: by how much a field of the place changes along an axis; along all axes together it adds up."""
        return field(self.axis(axis)) - field(torch.tensor(self.base))

    def first(self, field: Field) -> int:
        """A field of the first element's place."""
        return int(field(torch.tensor(self.base)))

    def largest(self, field: Field) -> int:
        """The largest value of a field."""
        return self.first(field) + sum(int(self.change(axis, field).max()) for axis in range(len(self.parts)))

    def smallest(self, field: Field) -> int:
        """The smallest value of a field."""
        return self.first(field) + sum(int(self.change(axis, field).min()) for axis in range(len(self.parts)))

    def constant(self, axes: Iterable[int], *fields: Field) -> bool:
        """Whether these fields are the same along these axes."""
        return not any(bool(self.change(axis, field).any()) for axis in axes for field in fields)

    def reshaped(self, shape: Sequence[int]) -> "Layout":
        """In another shape. Raises NotSeparableError."""
        parts: list[Tensor] = []
        for before, after in _groups(self.shape, shape):
            if [len(self.parts[axis]) for axis in before] == list(after):
                parts += [self.parts[axis] for axis in before]
                continue
            flat = torch.zeros(1, dtype=torch.int64)
            for axis in before:
                flat = (flat[:, None] + self.parts[axis]).reshape(-1)
            parts += _separated(flat.reshape(tuple(after)))
        return Layout.of(self.base, parts)

    def permuted(self, order: Sequence[int]) -> "Layout":
        """Axes in another order."""
        return Layout(self.base, tuple(self.parts[axis] for axis in order))

    def expanded(self, shape: Sequence[int]) -> "Layout":
        """Repeated along axes of size 1, and new ones in front."""
        old = [torch.zeros(1, dtype=torch.int64)] * (len(shape) - len(self.parts)) + list(self.parts)
        parts = [part if len(part) == size else part.repeat(size) for part, size in zip(old, shape, strict=True)]
        return Layout(self.base, tuple(parts))

    def replaced(self, axis: int, part: Tensor) -> "Layout":
        """With other places along one axis."""
        parts = list(self.parts)
        parts[axis] = part
        return Layout.of(self.base, parts)

    def selected(self, axis: int, index: int) -> "Layout":
        """One position of an axis, which goes."""
        axis %= len(self.parts)
        parts = self.parts[:axis] + self.parts[axis + 1 :]
        return Layout(self.base + int(self.parts[axis][index]), parts)


def input_layout(shape: Sequence[int], time_axis: int | None, step: int | None) -> Layout:
    """Of a model's input: its first axis but for time counts images; what is behind is numbered through.

    step: the timestep of the whole tensor, where it is of one. Raises UserError where it is too large.
    """
    if time_axis is not None and shape[time_axis] > TIMESTEPS_MAX:
        raise UserError(f"inputs: {shape[time_axis]} timesteps; capture tells {TIMESTEPS_MAX} apart")
    image_axis = 1 if time_axis == 0 else 0
    inner = math.prod(size for axis, size in enumerate(shape) if axis not in (time_axis, image_axis))
    if inner >> TIME or shape[image_axis] >> (63 - IMAGE):
        raise UserError(f"inputs: shape {tuple(shape)} is too large to be traced at once; capture fewer images")
    parts, stride = [], inner
    for axis, size in enumerate(shape):
        if axis == time_axis:
            parts.append((torch.arange(size) + 1) << TIME)
        elif axis == image_axis:
            parts.append(torch.arange(size) << IMAGE)
        else:
            stride //= size
            parts.append(torch.arange(size) * stride)
    return Layout.of(0 if step is None else (step + 1) << TIME, parts)


def stacked(layouts: Sequence[Layout], axis: int) -> Layout:
    """Side by side along a new axis. Raises NotSeparableError where they differ in more than an offset."""
    first = layouts[0]
    for other in layouts[1:]:
        if not _alike(first.parts, other.parts):
            raise NotSeparableError
    axis %= len(first.parts) + 1
    new = torch.tensor([layout.base - first.base for layout in layouts])
    return Layout(first.base, (*first.parts[:axis], new, *first.parts[axis:]))


def joined(layouts: Sequence[Layout], axis: int) -> Layout:
    """One behind the other along an axis. Raises NotSeparableError where they differ in other ways."""
    first = layouts[0]
    axis %= len(first.parts)
    others = [part for index, part in enumerate(first.parts) if index != axis]
    for layout in layouts[1:]:
        if not _alike(others, [part for index, part in enumerate(layout.parts) if index != axis]):
            raise NotSeparableError
    along = torch.cat([layout.parts[axis] + (layout.base - first.base) for layout in layouts])
    return first.replaced(axis, along)


def moved(value: Value, find: Callable[[Value], Layout]) -> Layout:
    """The layout of a value that moves elements of its parents. Raises NotSeparableError."""
    given = value.arguments
    if value.op in ("stack", "cat"):
        if any(part.fixed for part in given[0]):
            raise NotSeparableError  # constants among neurons: no places of their own
        layouts = [find(part) for part in given[0]]
        axis = given[1] if len(given) > 1 else value.keywords.get("dim", 0)
        return stacked(layouts, axis) if value.op == "stack" else joined(layouts, axis)
    if value.op not in _MOVES or any(not parent.fixed for parent in value.parents[1:]):
        raise NotSeparableError
    return _MOVES[value.op](find(value.parents[0]), value)


def _same(layout: Layout, value: Value) -> Layout:
    return layout


def _reshape(layout: Layout, value: Value) -> Layout:
    return layout.reshaped(value.shape)


def _permute(layout: Layout, value: Value) -> Layout:
    return layout.permuted([axis % len(layout.parts) for axis in value.arguments[1]])


def _transpose(layout: Layout, value: Value) -> Layout:
    order = list(range(len(layout.parts)))
    first, second = (axis % len(order) for axis in (value.arguments[1:3] if value.op != "t" else (0, -1)))
    order[first], order[second] = order[second], order[first]
    return layout.permuted(order)


def _expand(layout: Layout, value: Value) -> Layout:
    return layout.expanded(value.shape)


def _select(layout: Layout, value: Value) -> Layout:
    return layout.selected(value.arguments[1], value.arguments[2])


def _unbind(layout: Layout, value: Value) -> Layout:
    return layout.selected(value.arguments[1] if len(value.arguments) > 1 else 0, value.output)


def _slice(layout: Layout, value: Value) -> Layout:
    given = list(value.arguments[1:])
    axis, start, stop, step = given + [0, None, None, 1][len(given) :]
    return layout.replaced(axis, layout.parts[axis][start:stop:step])


def _split(layout: Layout, value: Value) -> Layout:
    sizes = value.arguments[1]
    axis = value.arguments[2] if len(value.arguments) > 2 else 0
    size = value.shape[axis]
    start = sum(sizes[: value.output]) if isinstance(sizes, (list, tuple)) else sizes * value.output
    return layout.replaced(axis, layout.parts[axis][start : start + size])


def _flip(layout: Layout, value: Value) -> Layout:
    for axis in value.arguments[1]:
        layout = layout.replaced(axis, layout.parts[axis].flip(0))
    return layout


def _roll(layout: Layout, value: Value) -> Layout:
    shifts, axes = value.arguments[1], value.arguments[2] if len(value.arguments) > 2 else []
    if not axes:
        raise NotSeparableError
    for shift, axis in zip(shifts, axes, strict=True):
        layout = layout.replaced(axis, layout.parts[axis].roll(shift))
    return layout


def _repeat(layout: Layout, value: Value) -> Layout:
    times = value.arguments[1]
    wide = layout.expanded([1] * (len(times) - len(layout.parts)) + list(layout.shape))
    return Layout.of(wide.base, [part.repeat(count) for part, count in zip(wide.parts, times, strict=True)])


def _index(layout: Layout, value: Value) -> Layout:
    """By a constant list of positions along one axis."""
    if value.op == "index_select":
        axis, index = value.arguments[1], value.arguments[2]
    else:
        given = [(axis, index) for axis, index in enumerate(value.arguments[1]) if index is not None]
        if len(given) != 1:
            raise NotSeparableError
        axis, index = given[0]
    positions = evaluate(index)
    if positions.ndim != 1:
        raise NotSeparableError
    return layout.replaced(axis, layout.parts[axis][positions])


def _pad(layout: Layout, value: Value) -> Layout:
    """Zeros around a map belong nowhere; they get the places of its border, and only a convolution may read them."""
    sizes = value.arguments[1]
    for index in range(len(sizes) // 2):
        axis = len(layout.parts) - 1 - index
        before, after = sizes[2 * index : 2 * index + 2]
        part = layout.parts[axis]
        if before < 0 or after < 0:
            raise NotSeparableError
        layout = layout.replaced(axis, torch.cat([part[:1].repeat(before), part, part[-1:].repeat(after)]))
    return layout


_MOVES: dict[str, Callable[[Layout, Value], Layout]] = {
    **dict.fromkeys(("clone", "detach", "alias", "lift_fresh", "_to_copy"), _same),
    **dict.fromkeys(("mul", "div", "add", "sub"), _same),  # by 1, by 0: nothing changes
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("transpose", "t"), _transpose),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split"), _split),
    **dict.fromkeys(("index", "index_select"), _index),
    "permute": _permute,
    "expand": _expand,
    "select": _select,
    "unbind": _unbind,
    "slice": _slice,
    "flip": _flip,
    "roll": _roll,
    "constant_pad_nd": _pad,
    "repeat": _repeat,
}


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def _separated(places: Tensor) -> list[Tensor]:
    """One number per axis whose sums are these. Raises NotSeparableError."""
    parts = []
    for axis in range(places.ndim):
        part = places
        for other in reversed(range(places.ndim)):
            if other != axis:
                part = part.select(other, 0)
        parts.append(part - places.reshape(-1)[0])
    total = places.reshape(-1)[0]
    for axis, part in enumerate(parts):
        total = total + part.reshape([-1 if other == axis else 1 for other in range(places.ndim)])
    if not torch.equal(total.expand(places.shape), places):
        raise NotSeparableError
    return [parts[0] + places.reshape(-1)[0], *parts[1:]] if parts else []


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of the one shape and sizes of the other that hold the same elements, as small as they can be."""
    groups: list[tuple[list[int], list[int]]] = []
    old, new = list(enumerate(before)), list(after)
    while old or new:
        axes, sizes = [], []
        if old:
            axes.append(old.pop(0))
        if new:
            sizes.append(new.pop(0))
        while math.prod(size for _, size in axes) != math.prod(sizes):
            if math.prod(size for _, size in axes) < math.prod(sizes):
                axes.append(old.pop(0))
            else:
                sizes.append(new.pop(0))
        groups.append(([axis for axis, _ in axes], sizes))
    return groups
