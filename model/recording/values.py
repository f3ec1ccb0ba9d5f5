"""The nodes of a recorded computation: what each tensor was made of, and the spikes that it held."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Content = Literal["binary", "integer", "real"]
LARGEST = 255  # whole number that counts as spikes: they are kept, and traced, in a byte
SAMPLED = 4093  # a prime, lest samples see some channels or positions only

# Operations that move elements and compute nothing; `layout` follows most of them. What torch composes of others, such
# as reshape or chunk, is dispatched as these.
MOVES = frozenset(
    {
        *("view", "_unsafe_view", "_reshape_alias", "permute", "transpose", "t", "unsqueeze", "squeeze", "expand"),
        *("clone", "select", "slice", "split", "split_with_sizes", "unsafe_split", "unbind", "detach", "alias"),
        *("lift_fresh", "_to_copy", "cat", "stack", "repeat", "index_select", "gather", "index", "roll", "flip"),
        *("constant_pad_nd", "unfold", "diagonal", "select_scatter", "slice_scatter", "pixel_unshuffle"),
    }
)
NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit"})
# Elementwise, or made of another tensor's shape alone, though torch does not mark them so
_PLAIN = frozenset(
    {
        *("fill", "zero", "copy", "where", "masked_fill", "view_as_real", "view_as_complex"),
        *("rand_like", "randn_like", "randint_like", "bernoulli", "ones_like", "zeros_like", "empty_like", "full_like"),
        *("write", "state", "native_dropout"),
    }
)


def plain(op: str, function: Any) -> bool:
    """Whether an operation moves elements, or makes each of its own counterparts: what neurons are made of."""
    return op in MOVES or op in _PLAIN or torch.Tag.pointwise in getattr(function, "tags", ())


@dataclass(frozen=True)
class Spikes:
    """A tensor's values in little room: one bit each where they are 0 or 1, a byte where they are 0 to 255.

    content `real`: anything else, not kept.  largest: of the values.
    """

    content: Content
    shape: tuple[int, ...]
    packed: NDArray[np.uint8] | None = None
    largest: int = 0

    @staticmethod
    def of(tensor: Tensor) -> "Spikes":
        """Classify by value: what a tensor's type says of it does not matter."""
        shape = tuple(tensor.shape)
        if tensor.is_complex():
            return Spikes("real", shape)
        flat = tensor.detach().reshape(-1)
        fired = flat != 0
        if _equal(fired, flat):
            return Spikes.pack(fired.numpy().reshape(shape))
        values = flat.to(torch.uint8)
        if not _equal(values, flat):
            return Spikes("real", shape)
        return Spikes("integer", shape, values.numpy().copy(), int(values.max()))

    @staticmethod
    def pack(spikes: NDArray[np.bool_] | NDArray[np.uint8]) -> "Spikes":
        """Of what is known to be 0 or 1."""
        packed = np.packbits(spikes.reshape(-1))
        return Spikes("binary", spikes.shape, packed, int(packed.any()))

    def part(self, *index: int) -> NDArray[np.uint8]:
        """uint8 of the last axes, at these positions of the first ones, without unpacking all the others."""
        assert self.packed is not None
        rest = self.shape[len(index) :]
        size = math.prod(rest)
        start = int(np.ravel_multi_index(index, self.shape[: len(index)])) * size
        if self.content == "integer":
            return self.packed[start : start + size].reshape(rest)
        bits = np.unpackbits(self.packed[start // 8 : -(-(start + size) // 8)])
        return bits[start % 8 : start % 8 + size].reshape(rest)

    def dense(self) -> NDArray[np.uint8]:
        """uint8 of the tensor's shape. Raises ValueError where the values were real."""
        if self.packed is None:
            raise ValueError("real values are not kept")
        size = int(np.prod(self.shape))
        values = self.packed if self.content == "integer" else np.unpackbits(self.packed, count=size)
        return values.reshape(self.shape)


def _equal(whole: Tensor, flat: Tensor) -> bool:
    """Whether numbers of a narrower type are the same; most real ones differ early."""
    start = slice(0, 4096)
    return torch.equal(whole[start].to(flat.dtype), flat[start]) and torch.equal(whole.to(flat.dtype), flat)


@dataclass(frozen=True)
class Sample:
    """A few of a layer's sums, kept so that its reading can be proved: every `step`-th of a row of its outcome."""

    row: int
    step: int
    kept: Tensor

    @staticmethod
    def of(sums: Tensor) -> "tuple[Sample, ...]":
        """Of the last row and the middle one: at most SAMPLED numbers each."""
        rows = dict.fromkeys((len(sums) - 1, len(sums) // 2))
        step = -(-sums[0].numel() // SAMPLED) if len(sums) else 1
        return tuple(Sample(row, step, sums[row].reshape(-1)[::step].clone()) for row in rows if len(sums))


@dataclass(eq=False, repr=False)
class Value:
    """A tensor as the recording knows it: not its numbers, but what made it.

    op: "input", "parameter", "constant", "neuron", or the operation's name in torch ("convolution", "addmm", …).
    function, arguments, keywords: the call, with Values in place of tensors that came from somewhere.
    output: which of the call's tensors this is.  path: of the module that was running.
    tensor: of inputs, parameters and constants.  module: of neurons.  spikes: where they were taken.
    samples: of the sums of layers.  serial: grows with every value that is made.
    """

    op: str
    shape: tuple[int, ...]
    path: str
    function: Callable[..., Any] | None = None
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    output: int = 0
    tensor: Tensor | None = None
    module: torch.nn.Module | None = None
    spikes: Spikes | None = None
    samples: tuple[Sample, ...] = ()
    note: dict[str, Any] = field(default_factory=dict)
    serial: int = field(default_factory=itertools.count().__next__)

    def __repr__(self) -> str:
        return f"<{self.op} {list(self.shape)} in {self.path or '(root)'}>"

    @property
    def parents(self) -> list["Value"]:
        """The values that it was made of, in the order of the call's arguments."""
        return list(_values((self.arguments, tuple(self.keywords.values()))))

    @property
    def moves(self) -> bool:
        """Whether it only moves elements of its parents."""
        return self.op in MOVES or self.op == "write" or self.identity

    @property
    def identity(self) -> bool:
        """Whether it multiplies by 1 everywhere or adds 0: a mask that masks nothing, say."""
        if "identity" not in self.note:
            self.note["identity"] = self.op in ("mul", "div", "add", "sub") and _changes_nothing(self)
        return bool(self.note["identity"])

    @property
    def fixed(self) -> bool:
        """Whether it follows from parameters and constants alone."""
        if "fixed" not in self.note:
            inputs = self.op in ("input", "neuron", "state")
            self.note["fixed"] = not inputs and all(parent.fixed for parent in self.parents)
        return bool(self.note["fixed"])

    @property
    def origin(self) -> "Value":
        """The value of the same elements behind all moves that lose and repeat none of them."""
        value = self
        while value.moves:
            live = [parent for parent in value.parents if not parent.fixed]
            if len(live) != 1 or math.prod(live[0].shape) != math.prod(value.shape):
                break
            value = live[0]
        return value

    @property
    def seen(self) -> "Value | None":
        """The value whose spikes were taken of these elements, whichever view of them it is."""
        found: Value | None = self.origin.note.get("seen")
        return found

    def take(self, tensor: Tensor) -> None:
        """Take the spikes, unless they were taken of another view of the same elements."""
        if self.seen is None:
            self.spikes = Spikes.of(tensor)
            self.origin.note["seen"] = self

    @property
    def content(self) -> Content | None:
        """What its values are, where they were looked at."""
        seen = self.seen
        return None if seen is None or seen.spikes is None else seen.spikes.content

    @property
    def spiking(self) -> bool:
        """Whether its values were looked at and are whole numbers from 0 to 255."""
        return self.content in ("binary", "integer")

    @property
    def from_input(self) -> bool:
        """Whether it follows from the model's input without any weights of a layer: still the images."""
        if "from_input" not in self.note:
            live = [parent for parent in self.parents if not parent.fixed]
            plain = self.op not in ("neuron", "convolution", "addmm", "mm", "bmm", "state")
            self.note["from_input"] = self.op == "input" or (
                plain and bool(live) and all(part.from_input for part in live)
            )
        return bool(self.note["from_input"])


def _values(item: Any) -> Iterator[Value]:
    if isinstance(item, Value):
        yield item
    elif isinstance(item, (list, tuple)):
        for part in item:
            yield from _values(part)


def replaced(item: Any, replace: Callable[[Value], Any]) -> Any:
    """The same nest of lists and tuples with something else for every Value in it."""
    if isinstance(item, Value):
        return replace(item)
    if isinstance(item, (list, tuple)):
        return type(item)(replaced(part, replace) for part in item)
    return item


def evaluate(value: Value) -> Tensor:
    """A fixed value's numbers, computed again from parameters and constants."""
    if value.tensor is not None:
        return value.tensor
    if "number" not in value.note:
        assert value.function is not None
        result = value.function(*replaced(value.arguments, evaluate), **value.keywords)
        value.note["number"] = result if isinstance(result, Tensor) else result[value.output]
    number: Tensor = value.note["number"]
    return number


def _changes_nothing(value: Value) -> bool:
    first, second = value.arguments[:2]
    if value.keywords.get("rounding_mode") is not None:
        return False
    if not isinstance(first, Value) or first.fixed or tuple(first.shape) != tuple(value.shape):
        return False
    neutral = 1 if value.op in ("mul", "div") else 0
    if isinstance(second, Value):
        return second.fixed and bool((evaluate(second) == neutral).all())
    return bool(second == neutral)
