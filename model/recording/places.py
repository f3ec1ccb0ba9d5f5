"""Where each element of a tensor came from: which neuron, of which image and timestep.

Shapes and names of axes are never trusted: whatever a model reshapes, transposes or stacks, the place tells which
neuron an element belongs to, and when.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .fields import TIME, TOKEN, NotFollowedError, image_of, of_chip_alone, ranks, time_of, token_of
from .layout import Layout, NotSeparableError, moved, stacked
from .products import AttentionView, product_places, view_attention
from .values import NORMS, Value

# Operations whose first operand is a stack of maps, and whose outcome keeps the stack
_MAPS = frozenset({"convolution", "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d"})
_ROWS = ("addmm", "mm")
_REDUCTIONS = ("sum", "mean")


class Places:
    """Finds the places of values; `call_of` says which of its module's or weight's calls a value is (0, 1, …)."""

    def __init__(self, call_of: Callable[[Value], tuple[int, int]]) -> None:
        self._call_of = call_of
        self._known: dict[Value, Layout] = {}
        self._attentions: dict[Value, AttentionView] = {}

    def of(self, value: Value) -> Layout:
        """The value's layout. Raises NotFollowedError where a place depends on the data, or is no sum over axes."""
        if value not in self._known:
            try:
                self._known[value] = self._moved(value) if value.moves else self._made(value)
            except NotSeparableError:
                raise NotFollowedError(value) from None
        return self._known[value]

    def timesteps(self, values: Iterable[Value]) -> int:
        """How many there are, by the latest place of any neuron, or of a layer that one feeds."""
        latest = 0
        for value in values:
            if not value.fixed and (value.op == "neuron" or value.op == "convolution" or value.op in _ROWS):
                with of_chip_alone():
                    latest = max(latest, self.of(value).largest(time_of))
        return latest + 1

    def images_of(self, value: Value) -> Tensor:
        """int64[first axis]: the image that each row of a value belongs to."""
        return image_of(self.of(value).axis(0))

    def stack(self, value: Value) -> Tensor:
        """int64[rows]: image and timestep of each row of a layer's operand, in their fields of a place."""
        source = self.of(value.parents[_OPERAND.get(value.op, 0)]).timed(*self._call_of(value))
        if not source.constant(range(1, len(source.parts)), image_of, time_of):
            raise NotFollowedError(value)  # a row of several images or timesteps
        return (source.axis(0) >> TIME) << TIME

    def tokens(self, value: Value) -> Tensor:
        """int64[rows]: the token of each row of a linear layer; 0 where a row is a whole map.

        Rows of the model's input are numbered through, by image and timestep.
        """
        source = value.parents[_OPERAND.get(value.op, 0)]
        if source.from_input:
            return ranks(self.stack(value))[0]
        layout = self.of(source)
        if not layout.constant([1], token_of):
            return torch.zeros(value.shape[0], dtype=torch.int64)
        return token_of(layout.axis(0))

    def attention(self, value: Value) -> AttentionView:
        """The attention that ends in a product of two live values. Raises NotFollowedError where it is none."""
        if value not in self._attentions:
            self._attentions[value] = view_attention(value, self.of)
        return self._attentions[value]

    def _moved(self, value: Value) -> Layout:
        return self._written(value) if value.op == "write" else moved(value, self.of)

    def _written(self, value: Value) -> Layout:
        """A buffer that was filled position by position along one axis. Raises NotSeparableError."""
        pieces: dict[int, Layout] = {}
        axis = None
        while value.op == "write":
            old, view, new = value.arguments
            along, index = _position(view, old)
            if axis not in (None, along):
                raise NotSeparableError
            axis = along
            pieces.setdefault(index, self.of(new))
            value = old
        if axis is None or sorted(pieces) != list(range(value.shape[axis])):
            raise NotSeparableError
        return stacked([pieces[index] for index in range(len(pieces))], axis)

    def _made(self, value: Value) -> Layout:
        """Places of what an operation computed."""
        if value.op == "input":
            given: Layout = value.note["layout"]
            return given
        if value.op == "neuron":
            return self.of(value.parents[0]).timed(*self._call_of(value))
        if value.op in _MAPS and len(value.shape) in (3, 4) and value.output == 0:
            return self._maps(value)
        if value.op in ("bmm", "mm") and sum(not parent.fixed for parent in value.parents) == 2:
            return self._product(value)
        if value.op in _ROWS and not value.parents[_OPERAND.get(value.op, 0)].fixed:
            rows = self.stack(value) + (self.tokens(value) << TOKEN)
            return Layout.of(0, [rows, torch.arange(value.shape[1])])
        if value.op in NORMS:
            return self.of(value.parents[0])
        return self._reduced(value) if value.op in _REDUCTIONS else self._elementwise(value)

    def _elementwise(self, value: Value) -> Layout:
        """Of several operands of the same shape the latest: a potential of the step before is no source of place."""
        live = [parent for parent in value.parents if not parent.fixed and tuple(parent.shape) == tuple(value.shape)]
        if not live:
            raise NotFollowedError(value)
        return max((self.of(parent) for parent in live), key=lambda layout: layout.first(time_of))

    def _product(self, value: Value) -> Layout:
        """Of spiking attention, or of any other two activations: the host's, but its neurons are followed too."""
        try:
            return self.attention(value).places
        except NotFollowedError:
            return product_places(self.of(value.parents[0]), self.of(value.parents[1]), value.shape)

    def _maps(self, value: Value) -> Layout:
        """[stack, channels, …]: every position of the map is a token."""
        _, channels, *grid = value.shape
        rows = [torch.arange(size) << TOKEN for size in grid]
        if len(grid) == 2:
            rows[0] = rows[0] * grid[1]
        return Layout.of(0, [self.stack(value), torch.arange(channels), *rows])

    def _reduced(self, value: Value) -> Layout:
        """A sum lies where its first summand does."""
        layout = self.of(value.parents[0])
        given = value.arguments[1] if len(value.arguments) > 1 else None
        axes = {axis % len(layout.parts) for axis in given} if given else set(range(len(layout.parts)))
        kept = [part[:1] if axis in axes else part for axis, part in enumerate(layout.parts)]
        return Layout(layout.base, tuple(kept)).reshaped(value.shape)


def _position(view: Value, base: Value) -> tuple[int, int]:
    """(axis, index) of the one position that a view selects of its base. Raises NotSeparableError."""
    if view.op == "select" and tuple(view.parents[0].shape) == tuple(base.shape):
        axis, index = view.arguments[1:3]
        return axis % len(base.shape), index % base.shape[axis]
    raise NotSeparableError


_OPERAND = {"addmm": 1}
