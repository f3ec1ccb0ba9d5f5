"""The recorder: sees every operation that torch dispatches while a model runs once, and every known neuron as one.

Only the graph is kept, and spikes where something reads them: activations die as they would without a recorder.
"""

import contextlib
import inspect
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from ...simulator.errors import UserError
from .contraction import as_linear
from .known import is_neuron, spikes_of
from .layout import Layout
from .values import NORMS, Sample, Value, plain

# Whoever reads here meets a layer of the chip: its operands' values are looked at, and kept if they are spikes. So are
# those of operations that nothing is known of.
READERS = {
    "convolution": (0,),
    "addmm": (1, 2),
    "mm": (0, 1),
    "bmm": (0, 1),
    "baddbmm": (1, 2),
    "max_pool2d_with_indices": (0,),
    "avg_pool2d": (0,),
    "_adaptive_avg_pool2d": (0,),
    "mul": (0, 1),
    "div": (0,),
    "constant_pad_nd": (0,),
    "sum": (0,),
    "mean": (0,),
}
_FILLS = {
    "ones_like": 1,
    "zeros_like": 0,
    "empty_like": 0,
    "full_like": None,
    "new_ones": 1,
    "new_zeros": 0,
    "new_empty": 0,
    "new_full": None,
}
_SUMS = frozenset({"convolution", "addmm", "mm"})
_AVERAGE = frozenset({"sum", "mean"})
_LEAVE = (Tensor.tolist, Tensor.numpy, Tensor.__array__)
_DECIDES = frozenset({"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"})


class Tape(TorchDispatchMode):
    """A recording of one run.

    values: in the order of their making, those that compute something.  outputs: what the model returned, of several
    tensors the first; returned: all of them.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.values: list[Value] = []
        self._of: Any = WeakTensorKeyDictionary()
        self._bases: dict[int, Any] = {}
        self._paths = [""]
        self._model = model
        self._recurrent = {
            name: f"recurrence ({type(module).__name__})"
            for name, module in model.named_modules()
            if isinstance(module, nn.RNNBase | nn.RNNCellBase)
        }
        self._inside = 0  # known neurons that are running
        self.outputs: list[Value] = []
        self.returned: list[Value] = []
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            note = {"trained": isinstance(tensor, nn.Parameter)}
            self._of[tensor] = Value("parameter", tuple(tensor.shape), name, tensor=tensor.detach(), note=note)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler, which takes seconds, only to keep it away from here."""
        return False

    def input(self, tensor: Tensor, layout: Layout) -> None:
        """Declare a tensor as the model's input, and which image and timestep its elements belong to."""
        self._of[tensor] = Value("input", tuple(tensor.shape), "", tensor=tensor, note={"layout": layout})

    def run(self, tensor: Tensor) -> None:
        """Record the model on a tensor that was declared as input."""
        with self.recording():
            returned = self._model(tensor)
        self.output(returned)

    def output(self, returned: Any) -> None:
        """Note what the model returned, of tuples, lists and dicts the first tensor; spikes in it are kept."""
        for part in _tensors(returned):
            if (value := self._of.get(part)) is not None:
                value.take(part)
                self.returned.append(value)
        while isinstance(returned, (tuple, list, dict)) and returned:
            returned = next(iter(returned.values())) if isinstance(returned, dict) else returned[0]
        value = self._of.get(returned) if isinstance(returned, Tensor) else None
        if value is not None:
            value.take(returned)
            self.outputs.append(value)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record what the model does; hooks are gone behind it, whatever happened."""
        hooks = []
        for name, module in self._model.named_modules():
            known = is_neuron(module)
            hooks.append(module.register_forward_pre_hook(self._enter(name, known)))
            hooks.append(module.register_forward_hook(self._leave(known), always_call=True, with_kwargs=True))
        try:
            with torch.no_grad(), self, _Leaving(self):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, name: str, known: bool) -> Any:
        def hook(_module: nn.Module, _inputs: Any) -> None:
            self._paths.append(name)
            self._inside += known

        return hook

    def _leave(self, known: bool) -> Any:
        def hook(module: nn.Module, inputs: Any, keywords: Any, output: Any) -> None:
            path = self._paths.pop()
            if known and self._inside == 1 and output is not None:
                self._neuron(module, path, first_of(module, inputs, keywords), output)
            self._inside -= known

        return hook

    def _neuron(self, module: nn.Module, path: str, drive: Tensor, output: Any) -> None:
        """A known neuron has run: one value, with all its spikes."""
        parent = self._known(drive, path)
        spikes, states = spikes_of(output)
        value = Value("neuron", tuple(spikes.shape), path, arguments=(parent,), module=module)
        value.take(spikes)
        self._of[spikes] = value
        self.values.append(value)
        for state in states:
            self._of[state] = Value("state", tuple(state.shape), path, arguments=(value,))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note it unless a known neuron is at work."""
        keywords = dict(kwargs or {})
        if self._inside:
            return func(*args, **keywords)
        name = func.overloadpacket.__name__
        if name in _DECIDES:
            self.refuse_decisions(name, args)
        self._read(func, name, args)
        out = func(*args, **keywords)
        self._note(func, name, args, keywords, out)
        return out

    def refuse_decisions(self, name: str, args: tuple[Any, ...]) -> None:
        """Raises UserError where a computed value is taken out of the network."""
        value = self._of.get(args[0]) if args and isinstance(args[0], Tensor) and not self._inside else None
        if value is not None and not value.fixed:
            raise UserError(
                f"module {self._paths[-1] or '(root)'!r}: the model decides by a value that it has computed ({name}), "
                "or takes it out of torch; what depends on it cannot be traced: make it independent of the data"
            )

    def _read(self, func: Any, name: str, args: tuple[Any, ...]) -> None:
        known = plain(name.removesuffix("_"), func) or name in NORMS
        for position in READERS.get(name, () if known else range(len(args))):
            operand = args[position] if position < len(args) else None
            if not isinstance(operand, Tensor):
                continue
            value = self._of.get(operand)
            if value is not None and not value.fixed:
                value.take(operand)
                if value.from_input and name in READERS and name not in _AVERAGE:
                    value.tensor = operand.detach()  # the images, whatever was done to them on the way

    def _known(self, tensor: Tensor, path: str) -> Value:
        """A tensor's value; one that was there before the run and belongs to no module is a constant."""
        value = self._of.get(tensor)
        if value is None:
            value = Value("constant", tuple(tensor.shape), path, tensor=tensor.detach())
            self._of[tensor] = value
        found: Value = value
        return found

    def _note(self, func: Any, name: str, args: tuple[Any, ...], keywords: dict[str, Any], out: Any) -> None:
        path = self._paths[-1]
        plain = self._plain(args, path)
        named = {key: self._plain(item, path) for key, item in keywords.items()}
        written = [
            args[index]
            for index, argument in enumerate(func._schema.arguments[: len(args)])
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        tensors = (
            [out]
            if isinstance(out, Tensor)
            else [item for item in (out if isinstance(out, (tuple, list)) else ()) if isinstance(item, Tensor)]
        )
        short = name[:-1] if name.endswith("_") and not name.startswith("_") else name
        if short in _FILLS:  # depends on another tensor's shape, not on its numbers
            size, number = (
                list(out.shape),
                _FILLS[short] if _FILLS[short] is not None else args[1 if "like" in short else 2],
            )
            func, plain, named = torch.full, (size, number), {"dtype": out.dtype}
        for index, tensor in enumerate(tensors):
            value = Value(short, tuple(tensor.shape), path, func, plain, named, index)
            if short == "copy" and written:  # copy_(to, from): from's elements, in to's shape
                value = Value(
                    "expand", tuple(tensor.shape), path, torch.ops.aten.expand.default, (plain[1], list(tensor.shape))
                )
            linear = as_linear(value, args, tensor)
            if linear is not None:
                self.values.append(linear[0])
                value = linear[1]
            elif short in _SUMS and index == 0:
                value.samples = Sample.of(tensor.detach())
            self._set(tensor, value, bool(written))
        if not tensors and written:
            raise UserError(
                f"module {path or '(root)'!r}: {name} changes tensors in place in a way that is not understood"
            )

    def _set(self, tensor: Tensor, value: Value, in_place: bool) -> None:
        storage = tensor.untyped_storage()._cdata
        if value.path in self._recurrent:
            value.note["inside"] = self._recurrent[value.path]
        if not value.moves:
            self.values.append(value)
        if in_place:
            self._rebind(tensor, value, storage)
        elif storage not in self._bases or self._bases[storage]() is None or not _is_view(value):
            self._bases[storage] = weakref.ref(tensor)
        self._of[tensor] = value

    def _rebind(self, tensor: Tensor, value: Value, storage: int) -> None:
        """A tensor was written through a view: whoever reads its base from now on sees the new elements."""
        base = self._bases[storage]() if storage in self._bases else None
        if base is None or base is tensor:
            return
        old, view = self._of.get(base), self._of.get(tensor)
        if old is None or view is None:
            return
        inside = {name: value.note[name] for name in ("inside",) if name in value.note}
        self._of[base] = Value("write", tuple(base.shape), value.path, arguments=(old, view, value), note=inside)

    def _plain(self, item: Any, path: str) -> Any:
        if isinstance(item, Tensor):
            return self._known(item, path)
        if isinstance(item, (list, tuple)):
            return type(item)(self._plain(part, path) for part in item)
        return item


class _Leaving(TorchFunctionMode):
    """Sees numbers leave torch: such calls are never dispatched."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _LEAVE:
            self._tape.refuse_decisions(func.__name__, args)
        return func(*args, **dict(kwargs or {}))


def _tensors(item: Any) -> Iterator[Tensor]:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, (tuple, list, dict)):
        for part in item.values() if isinstance(item, dict) else item:
            yield from _tensors(part)


def first_of(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    """What a module was called with in its first parameter's place."""
    drive: Tensor = inputs[0] if inputs else keywords[next(iter(inspect.signature(module.forward).parameters))]
    return drive


def _is_view(value: Value) -> bool:
    returns = value.function._schema.returns if value.function is not None else []  # type: ignore[attr-defined]
    return bool(returns) and returns[0].alias_info is not None and not returns[0].alias_info.is_write
