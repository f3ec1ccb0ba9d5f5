"""The only unpickler: a stack machine for the opcodes and the names that pickled tensors need, and for no others.

Nothing is imported, looked up or called because a file says so. Opcodes that make or update objects, or fetch
persistent or registered ones, are not there to be run; each allowed name stands for a function below, or for nothing
callable.
"""

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import torch
from torch.storage import TypedStorage

from ...simulator.errors import UserError
from ..checkpoint import TORCH_MAGIC, load_plain

MOST_OPCODES = 200_000  # a tensor takes about 30; so many make a few MB of objects
COPIES = 4  # of a file's bytes, in the calls that turn them into tensors; twice is what protocol 0 takes


class UnpickleError(ValueError):
    """Why a pickle is not read, in half a sentence."""


def unpickle(file: BinaryIO, size: int) -> Any:
    """The dicts, lists, tuples, numbers, texts and tensors that a pickle of protocol 0 to 5 and `size` bytes holds.

    Raises UnpickleError for everything else, before it is made.
    """
    machine = _Machine(COPIES * size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what pickletools has to say of odd characters
            return _run(machine, _Reader(file, size))
    except UnpickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError):
        raise UnpickleError("damaged, or no pickle") from None


class _Reader:
    """A file of so many bytes, of which nobody asks for more than there are: room for as many would be made first."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.readline, self.tell = file, size, file.readline, file.tell

    def read(self, count: int) -> bytes:
        """The next bytes, as many as there are."""
        return self.file.read(min(count, self.size))


def _run(machine: "_Machine", file: _Reader) -> Any:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if opcode.name == "STOP":
            break
        if count >= MOST_OPCODES:
            raise UnpickleError(f"more than {MOST_OPCODES:,} opcodes, far more than tensors need")
        machine.step(opcode.name, argument)
    return machine.pop()


class _Machine:
    """Stack, marks (lengths of the stack) and memo of a pickle that is being read, and bytes that it may yet copy."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Do what an opcode says; `argument` as pickletools decodes it."""
        if opcode in _VALUES:
            self.stack.append(argument)
        elif opcode in _MAKERS:
            self.stack.append(_MAKERS[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise UnpickleError(f"opcode {opcode} is refused: tensors do not need it, code would")

    def pop(self) -> Any:
        """The top of the stack; nothing below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnpickleError("damaged: nothing on the stack")
        return self.stack.pop()

    def pop_some(self, count: int) -> tuple[Any, ...]:
        """The last so many, in the order in which they came."""
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_mark(self) -> list[Any]:
        """All that came since the last mark, which goes too."""
        if not self.marks:
            raise UnpickleError("damaged: no mark")
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top."""
        self._top(list).extend(items)

    def update(self, items: list[Any]) -> None:
        """Keys and values in turn, into the dict on top."""
        self._top(dict).update(_pairs(items))

    def _top(self, kind: type[Any]) -> Any:
        top = self.pop()
        if type(top) is not kind:
            raise UnpickleError(f"damaged: a {type(top).__name__} where a {kind.__name__} is needed")
        self.stack.append(top)
        return top

    def put(self, index: int) -> None:
        """Remember what is on top."""
        self.memo[index] = self.stack[-1]

    def find(self, module: Any, name: Any) -> None:
        """Push what an allowed name stands for."""
        found = _NAMES.get(f"{module}.{name}")
        if found is None:
            raise UnpickleError(f"needs {module}.{name}, but no file may run code here; save tensors alone, or an .npz")
        self.stack.append(found)

    def call(self) -> None:
        """What an allowed name stands for, on the tuple on top."""
        function, arguments = self.pop_some(2)
        if not isinstance(function, _Name) or function.call is None or not isinstance(arguments, tuple):
            raise UnpickleError("a call of something that is no allowed name")
        self.left -= sum(len(argument) for argument in arguments if isinstance(argument, (bytes, str)))
        if self.left < 0:
            raise UnpickleError("makes more of its bytes than it has")
        self.stack.append(function.call(*arguments))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise UnpickleError("damaged: a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True))


@dataclass(frozen=True)
class _Name:
    """What an allowed name of a file stands for; call: None where it is only ever mentioned."""

    call: Callable[..., Any] | None = None


def _make_dict(*arguments: Any) -> dict[Any, Any]:
    """An OrderedDict, or a defaultdict of something: the plain dict that it is as long as it is only read."""
    if not (arguments == () or (len(arguments) == 1 and isinstance(arguments[0], _Name))):
        raise UnpickleError("a dict that is made from something")
    return {}


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes, as protocols 0 to 2 write them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnpickleError("bytes in another encoding than theirs")
    return text.encode("latin-1")


def _load_storage(data: Any) -> TypedStorage:
    """A tensor's numbers: a torch file of the form from before 1.6 within the pickle, which can hold no code."""
    if not isinstance(data, bytes) or not data.startswith(TORCH_MAGIC):
        raise UnpickleError("the numbers of a tensor are in no form of torch's")
    try:
        storage = load_plain(BytesIO(data), "the numbers of a tensor")
    except UserError as error:
        raise UnpickleError(str(error)) from None
    if not isinstance(storage, TypedStorage):
        raise UnpickleError("the numbers of a tensor are something else")
    return storage


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_unused: Any) -> torch.Tensor:
    """A view of a storage, which must lie inside: torch would enlarge the storage instead."""
    whole = all(type(number) is int and 0 <= number < 2**62 for number in (offset, *size, *stride))
    if not (isinstance(storage, TypedStorage) and whole and len(size) == len(stride)):
        raise UnpickleError("a tensor without numbers or without a shape")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and (last + 1) * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise UnpickleError("a tensor that is larger than its numbers")
    tensor: torch.Tensor = torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, {})
    return tensor


_NAMES = {
    "collections.OrderedDict": _Name(_make_dict),
    "collections.defaultdict": _Name(_make_dict),
    "builtins.list": _Name(),
    "builtins.dict": _Name(),
    "__builtin__.list": _Name(),  # as protocols 0 to 2 call it
    "__builtin__.dict": _Name(),
    "_codecs.encode": _Name(_encode),
    "torch.storage._load_from_bytes": _Name(_load_storage),
    "torch._utils._rebuild_tensor_v2": _Name(_rebuild_tensor),
}

_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.pop_some(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.pop_some(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.pop_some(3)),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_mark()),
    "DICT": lambda machine, _: machine.stack.append(_pairs(machine.pop_mark())),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.update(list(machine.pop_some(2))),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_mark()),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, index: machine.put(index)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.stack.append(machine.memo[index])),
    "GLOBAL": lambda machine, names: machine.find(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.find(*machine.pop_some(2)),
    "REDUCE": lambda machine, _: machine.call(),
}
