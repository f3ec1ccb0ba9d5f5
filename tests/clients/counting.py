"""What a model did, counted apart from the program under test: hooks on its own modules, and torch's convolution."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextlib.contextmanager
def watched(model: nn.Module) -> Iterator[tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]]:
    """(inputs, outputs) of every leaf module by its path, a tensor per call."""
    inputs: dict[str, list[Tensor]] = defaultdict(list)
    outputs: dict[str, list[Tensor]] = defaultdict(list)

    def note(path):
        def hook(module, given, returned):
            inputs[path].append(given[0])
            outputs[path].append(returned[0] if isinstance(returned, tuple) else returned)

        return hook

    hooks = [module.register_forward_hook(note(path)) for path, module in model.named_modules()]
    try:
        with torch.no_grad():
            yield inputs, outputs
    finally:
        for hook in hooks:
            hook.remove()


def additions(module: nn.Module, spikes: list[Tensor]) -> int:
    """Spikes (by value) times the weights that are not zero, over every position of the map."""
    weight = (module.weight != 0).double()
    total = 0.0
    for part in spikes:
        part = part.double()
        if isinstance(module, nn.Linear):
            total += float(F.linear(part, weight).sum())
            continue
        flat = part.flatten(0, part.ndim - weight.ndim) if part.ndim > weight.ndim else part
        convolve = F.conv2d if weight.ndim == 4 else F.conv1d
        total += float(
            convolve(flat, weight, None, module.stride, module.padding, module.dilation, module.groups).sum()
        )
    return round(total)


def as_rows(spikes: Tensor) -> Tensor:
    """[T, B, C, …] -> [B, T, tokens, C], the order of a trace's rows."""
    flat = spikes.flatten(3) if spikes.ndim > 3 else spikes[..., None]
    return flat.permute(1, 0, 3, 2)


def dense(trace, name: str) -> Tensor:
    """A stream of a trace in the same form."""
    stream = trace.streams[name]
    events = torch.from_numpy(stream.events.to_dense(stream.channels).copy())
    return events.reshape(trace.images, trace.numerics.timesteps, stream.tokens, stream.channels)
