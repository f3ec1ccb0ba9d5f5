"""Any torch module as a trace: run once on the user's inputs, watched from outside, lowered where that is possible."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..simulator.errors import UserError, nearest
from ..simulator.trace import HostWork, Level, Trace
from .recording.drafts import Reading
from .recording.exact import UnlikeError, derive
from .recording.exact_trace import exact
from .recording.fields import NotFollowedError
from .recording.host import Foreign, called, remedy
from .recording.known import remembers
from .recording.layout import input_layout
from .recording.own import own_trace
from .recording.read import read
from .recording.states import called_stepwise, states_kept
from .recording.tape import Tape
from .recording.trace import replay
from .recording.values import Value
from .spikformer import Spikformer

Unsupported = Literal["refuse", "host"]
_UNSUPPORTED = ("refuse", "host")
_LEVELS = ("exact", "replay")


def capture(
    model: nn.Module,
    inputs: Tensor,
    time_axis: int | None = 0,
    unsupported: Unsupported = "refuse",
    *,
    step_by_step: bool | None = None,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    level: Level | None = None,
) -> Trace:
    """The trace of a trained spiking network on some inputs, whatever library its neurons come from.

    The model runs once, in evaluation mode and without gradients. Its layers are found by what they do with the data:
    convolutions and linear layers that read spikes (or the images), pools, spiking attention, residual additions, and
    known neurons (spikingjelly's, snnTorch's, this project's); of others the spikes are taken as they are.

    inputs: float32, with batch (image) axis 0 but for time. time_axis: of `inputs`, None where the model makes time
    itself, as the official Spikformer does.
    step_by_step: call the model once per timestep with inputs[t], as snnTorch and single-step spikingjelly have it;
    None finds out, by the neurons and one image.
    unsupported: operations that the chip has no counterpart for (softmax, layer normalisation, …) are refused, or
    counted as work of the `host`.
    labels: of the images, for accuracy.
    level: `exact` lowers the network to the chip's integers, whose spikes the trace then holds, so that `--verify`
    works; `replay` holds the model's own spikes, and the pattern of its weights. None: exact where that is possible.
    This project's own networks with token selectors are lowered as `export` does it, calibrated on the inputs.

    Raises UserError where the model or the inputs cannot be used, naming the module.
    """
    _check(model, inputs, time_axis, unsupported, level)
    if step_by_step is not None and not isinstance(step_by_step, bool):
        raise UserError(f"step_by_step = {step_by_step!r}, needs True, False or None")
    images = inputs.shape[1 if time_axis is not None and time_axis % inputs.ndim == 0 else 0]
    known = _known(labels, images)
    if step_by_step and time_axis is None:
        raise UserError("step_by_step = True, but time_axis = None: there is no axis to take the steps along")
    with _said(model, inputs):
        stepwise = called_stepwise(model, inputs, time_axis) if step_by_step is None else step_by_step
    if isinstance(model, Spikformer) and model.predictor and level != "replay":
        if time_axis is not None:
            raise UserError(f"time_axis = {time_axis}, but this network makes time itself: time_axis=None")
        with _said(model, inputs):
            return own_trace(model, inputs, known)
    tape = _record(model, inputs, time_axis, stepwise)
    reading = _read(tape, images, unsupported == "refuse")
    host = _host(reading, images, unsupported)
    if not any(layer.source.spikes is not None for layer in reading.layers):
        raise UserError(f"{type(model).__name__}: no layer reads spikes: there is nothing for the chip to do")
    source = {"source": "capture", "model": type(model).__name__}
    try:
        if level == "replay":
            raise UnlikeError("asked for")
        if host:
            raise UnlikeError(f"{host[0].name}: {host[0].operation} is work of the host")
        return exact(reading, derive(reading, reading.timesteps), known, source)
    except UnlikeError as reason:
        if level == "exact":
            raise UserError(f"{type(model).__name__}: level = 'exact' is out of reach: {reason}") from None
        return replay(reading, (images, reading.timesteps), str(reason), host, source, known)


def _read(tape: Tape, images: int, refuse: bool) -> Reading:
    """What a recording says of the model."""
    try:
        return read(tape, images, refuse=refuse)
    except NotFollowedError as error:
        raise UserError(
            f"module {error.value.path or '(root)'!r}: {_lost(error.value)}: capture does not follow that operation, "
            "or it depends on the data, or mixes images or timesteps; unsupported='host' does not help: take it out of "
            "the model, or move it in front of the first layer or behind the last spikes"
        ) from None


def _lost(value: Value) -> str:
    return f"behind {called(value)} it cannot be told which neuron an element belongs to"


def _known(labels: Sequence[int] | NDArray[np.integer] | None, images: int) -> NDArray[np.int64] | None:
    if labels is None:
        return None
    try:
        given = np.asarray(labels)
    except ValueError:
        raise UserError("labels: need one integer per image") from None
    if given.shape != (images,):
        count = f"{len(given)} of them" if given.ndim == 1 else f"shape {given.shape}"
        raise UserError(f"labels: {count}, but the inputs hold {images} images")
    if not np.issubdtype(given.dtype, np.integer):
        raise UserError(f"labels: {given.dtype}, need integers")
    if given.min(initial=0) < 0:
        raise UserError(f"labels: {given.min()}, need 0 or more")
    return given.astype(np.int64)


def _check(model: nn.Module, inputs: Tensor, time_axis: int | None, unsupported: str, level: str | None) -> None:
    if not isinstance(model, nn.Module):
        raise UserError(f"model: {type(model).__name__}, needs a torch.nn.Module")
    if unsupported not in _UNSUPPORTED:
        raise UserError(f"unsupported = {unsupported!r}; {nearest(str(unsupported), _UNSUPPORTED)}")
    if level is not None and level not in _LEVELS:
        raise UserError(f"level = {level!r}; {nearest(str(level), _LEVELS)}")
    if model.training:
        raise UserError(f"{type(model).__name__}: is in training mode; call model.eval() first")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _check_tensor(name, tensor)
    for name, module in model.named_modules():
        if remembers(module):
            raise UserError(
                f"module {name or '(root)'!r}: its state is not reset, it still holds potentials of an earlier run; "
                "reset it first (spikingjelly: functional.reset_net(model), snnTorch: utils.reset(model))"
            )
    _check_inputs(inputs, time_axis)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if nn.parameter.is_lazy(tensor):
        raise UserError(f"{name}: has no shape yet; run the model once on its inputs first")
    if tensor.device.type != "cpu":
        raise UserError(f"{name}: lies on {tensor.device}; move the model first: model.cpu()")
    if tensor.dtype.is_floating_point and tensor.dtype != torch.float32:
        raise UserError(f"{name}: is {_plain(tensor.dtype)}; capture needs float32: model.float()")
    if tensor.dtype.is_complex or tensor.is_quantized or tensor.is_sparse:
        raise UserError(f"{name}: is {_plain(tensor.dtype)}; capture needs dense float32")
    if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
        raise UserError(f"{name}: holds NaN or infinite values")


def _check_inputs(inputs: Tensor, time_axis: int | None) -> None:
    if not isinstance(inputs, Tensor):
        raise UserError(f"inputs: {type(inputs).__name__}, needs a torch tensor")
    if torch.is_inference_mode_enabled() or inputs.is_inference():
        raise UserError(
            "torch.inference_mode() hides what a model does; call capture outside of it, on ordinary tensors"
        )
    if inputs.layout != torch.strided or inputs.is_quantized:
        raise UserError(f"inputs: {inputs.layout}, need a dense tensor: inputs.to_dense()")
    if inputs.device.type != "cpu" or inputs.dtype != torch.float32:
        raise UserError(
            f"inputs: {_plain(inputs.dtype)} on {inputs.device}, needs float32 on cpu: inputs.float().cpu()"
        )
    if inputs.numel() == 0 or not bool(torch.isfinite(inputs).all()):
        raise UserError("inputs: empty, or with NaN or infinite values")
    needed = 2 if time_axis is None else 3
    if inputs.ndim < needed:
        axes = "images" if time_axis is None else "time, images"
        raise UserError(f"inputs: shape {tuple(inputs.shape)}, needs at least {needed} axes ({axes}, …)")
    if time_axis is not None and type(time_axis) is not int:
        raise UserError(f"time_axis = {time_axis!r}, needs an axis number, or None")
    if time_axis is not None and not -inputs.ndim <= time_axis < inputs.ndim:
        raise UserError(f"time_axis = {time_axis}, but the inputs have axes 0 to {inputs.ndim - 1}")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _record(model: nn.Module, inputs: Tensor, time_axis: int | None, stepwise: bool) -> Tape:
    tape = Tape(model)
    with states_kept(model), _said(model, inputs):
        if time_axis is None:
            tape.input(inputs, input_layout(inputs.shape, None, None))
            tape.run(inputs)
        elif not stepwise:
            tape.input(inputs, input_layout(inputs.shape, time_axis % inputs.ndim, None))
            tape.run(inputs)
        else:
            for step, part in enumerate(inputs.unbind(time_axis)):
                tape.input(part, input_layout(part.shape, None, step))
                tape.run(part)
    return tape


@contextlib.contextmanager
def _said(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """What the model raises, in a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = str(error).strip().splitlines()
        raise UserError(
            f"{type(model).__name__} cannot run on inputs of shape {tuple(inputs.shape)}: {type(error).__name__}: "
            f"{text[0] if text else ''}; is time on the right axis (time_axis, step_by_step)?"
        ) from error


def _named(part: Foreign) -> str:
    advice = remedy(part.calls[0])
    return f"{part.operation} in {part.name!r}" + (f" ({advice})" if advice else "")


def _host(reading: Reading, images: int, unsupported: str) -> tuple[HostWork, ...]:
    """Work for the host, a line per module and operation. Raises UserError where it is refused."""
    if reading.unsupported and unsupported == "refuse":
        found = dict.fromkeys(_named(part) for part in reading.unsupported)
        way = ", or say unsupported='host' to have them counted as work of the host, outside of cycles and energy"
        if reading.lost is not None:
            way = f"; unsupported='host' does not help here: {_lost(reading.lost)}"
        raise UserError(f"the chip has no counterpart for {', '.join(found)}; take them out of the model{way}")
    return tuple(part.work(images) for part in reading.unsupported)
