"""What modules remember from one call to the next, and how often a model calls its neurons."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .known import is_neuron, single_step

_INNER = frozenset({"_parameters", "_modules", "training"})  # what a forward pass does not change


@contextlib.contextmanager
def states_kept(model: nn.Module) -> Iterator[None]:
    """Put all that modules hold but their parameters back behind a run, so that the next one finds it the same."""
    before = [(module, _held(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, held in before:
            _put_back(module, held)


def _held(module: nn.Module) -> dict[str, Any]:
    """Its attributes; dicts, such as buffers and the memories of libraries, one level deep; tensors as they are now."""
    return {
        name: {key: _now(item) for key, item in value.items()} if type(value) is dict else _now(value)
        for name, value in vars(module).items()
        if name not in _INNER and "hooks" not in name
    }


def _now(value: Any) -> Any:
    return (value, value.clone()) if isinstance(value, Tensor) else (value, None)


def _put_back(module: nn.Module, held: dict[str, Any]) -> None:
    mine = vars(module)
    for name in [name for name in mine if name not in held and name not in _INNER and "hooks" not in name]:
        del mine[name]
    for name, value in held.items():
        if isinstance(value, dict):
            inner = mine.setdefault(name, {})
            inner.clear()
            inner.update({key: _restored(item) for key, item in value.items()})
        else:
            mine[name] = _restored(value)


def _restored(kept: tuple[Any, Tensor | None]) -> Any:
    """The same object; a tensor with the numbers that it had, which a model may have overwritten."""
    value, numbers = kept
    if numbers is not None and not torch.equal(value, numbers):
        with torch.no_grad():
            value.copy_(numbers)
    return value


def called_stepwise(model: nn.Module, inputs: Tensor, time_axis: int | None) -> bool:
    """Whether a model takes one timestep per call: it has neurons that do, and does not loop over time itself.

    Tried on one image: a model that loops calls each of them once per timestep.
    """
    if time_axis is None or not single_step(model) or inputs.shape[time_axis] == 1:
        return time_axis is not None and single_step(model)
    calls = dict.fromkeys((module for module in model.modules() if is_neuron(module)), 0)

    def count(module: nn.Module, _inputs: Any) -> None:
        calls[module] += 1

    hooks = [module.register_forward_pre_hook(count) for module in calls]
    image_axis = 1 if time_axis % inputs.ndim == 0 else 0
    try:
        with states_kept(model), torch.no_grad():
            model(inputs.narrow(image_axis, 0, 1))
    except Exception:  # whatever a model says to inputs with a time axis that it does not take
        return True
    finally:
        for hook in hooks:
            hook.remove()
    return not all(count and count % inputs.shape[time_axis] == 0 for count in calls.values())
