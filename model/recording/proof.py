"""What was read of a model, held against what the model did: a layer's sums, and its neurons' spikes.

Both are computed again from the streams and weights that the trace would hold. Where that gives other numbers, some
step was misunderstood, and no trace may say otherwise.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...simulator.errors import UserError
from .context import Context
from .drafts import LayerDraft
from .fields import image_of, time_of
from .known import Rule
from .sites import Site
from .streams import Draft

# Of all that is added up in a float32 sum: how far another order of additions may lead
_TOLERANCE = 1e-5


def prove_sums(context: Context, layer: LayerDraft, site: Site) -> None:
    """Compare what was kept of a layer's sums with its weights times its stream. Raises UserError."""
    assert layer.weights is not None
    kernel, bias = _tensor(layer.weights), None if layer.bias is None else _tensor(layer.bias)
    kept = [(call, sample) for call in dict.fromkeys((site.calls[0], site.calls[-1])) for sample in call.samples]
    for call, sample in kept:
        place, token = context.places.stack(call)[sample.row], int(context.places.tokens(call)[sample.row])
        given = _map(layer.source, int(image_of(place)), max(int(time_of(place)), 0))
        sums = _convolved(given[None], kernel, bias, layer)[0]
        row = sums.reshape(-1) if site.value.op == "convolution" else sums.reshape(len(kernel), -1)[:, token]
        if bool(((row[:: sample.step] - sample.kept).abs() > _bound(kernel, bias, given)).any()):
            raise UserError(_unlike(site))


def prove_head(context: Context, layer: LayerDraft, site: Site, factor: float) -> None:
    """As `prove_sums` for a head: it reads factor x the sum of spikes over tokens, and time where rows are images."""
    assert layer.weights is not None
    assert layer.source.spikes is not None
    call, steps = site.calls[-1], range(layer.source.spikes.shape[1])
    stack = context.places.stack(call)
    per_image = len(stack) * len(site.calls) == context.streams.images
    kernel, bias = _tensor(layer.weights[:, :, 0, 0]), torch.zeros(()) if layer.bias is None else _tensor(layer.bias)
    for sample in call.samples:
        image, time = int(image_of(stack[sample.row])), int(time_of(stack[sample.row]))
        given = [_map(layer.source, image, step) for step in (steps if per_image else [max(time, 0)])]
        total = factor * torch.stack(given).sum((0, 2, 3))
        sums = kernel @ total + bias
        bound = _TOLERANCE * float((kernel.abs() @ total.abs() + bias.abs()).max())
        if bool(((sums[:: sample.step] - sample.kept).abs() > bound).any()):
            raise UserError(_unlike(site))


def _unlike(site: Site) -> str:
    return (
        f"module {site.path or '(root)'!r}: its sums are not its weights times the spikes that it seems to read: "
        "something between them cannot be followed (views of tensors that are written in place, say)"
    )


def contradictions(layer: LayerDraft, rule: Rule) -> int:
    """How many spikes of the first image differ from those that the layer's sums and its neurons' rule give.

    Sums from the model's own spikes, potentials reset by them too; where a potential lies at its threshold both count
    as right.
    """
    assert layer.target is not None
    assert layer.target.spikes is not None
    steps = range(layer.target.spikes.shape[1])
    fired = _fired(layer, steps)
    if layer.kind == "hadamard":
        return _of_gate(layer, rule, fired)
    sums, bound = _drive(layer, steps)
    v, wrong = torch.zeros_like(sums[0]), 0
    for current, spikes in zip(sums, fired, strict=True):
        v = rule.decay * v + rule.gain * current
        sure = (v - rule.threshold).abs() > len(sums) * rule.gain * bound
        wrong += int((sure & (_over(v, rule) != spikes)).sum())
        v = torch.where(spikes != 0, v * 0 if rule.reset_by is None else v - rule.reset_by, v)
    return wrong


def _fired(layer: LayerDraft, steps: range) -> Tensor:
    """float32[T, channels, height, width]: what a layer adds to the stream that it writes, 0 or 1 if all is well."""
    assert layer.target is not None
    fired = torch.stack([_map(layer.target, 0, step) for step in steps])
    if layer.residual is not None:
        fired = fired - torch.stack([_map(layer.residual, 0, step) for step in steps])
    return fired


def _drive(layer: LayerDraft, steps: range) -> tuple[Tensor, float]:
    """float32[T, channels, height, width] of what neurons take in for the first image, and how sure that is."""
    maps = torch.stack([_map(layer.source, 0, step) for step in steps])
    if layer.kind == "attention":
        q, k, v = maps.unflatten(1, (3, layer.heads, -1)).flatten(4).unbind(1)  # [T, heads, head width, tokens]
        sums = (v @ k.mT @ q).flatten(1, 2).unflatten(-1, maps.shape[-2:]) * layer.scale
        sums = sums * _tensor(layer.gain).reshape(-1, 1, 1) + _tensor(layer.offset).reshape(-1, 1, 1)
        return sums, _TOLERANCE * float(sums.abs().max())
    weight, bias = (_tensor(part) for part in layer.folded)
    sums = _convolved(maps, weight, bias, layer)
    if layer.pooled is not None:
        pool = layer.pooled
        sums = F.max_pool2d(sums, (pool.height, pool.width), pool.stride, (pool.pad_y, pool.pad_x))
    return sums, _bound(weight, bias, maps)


def _of_gate(layer: LayerDraft, rule: Rule, fired: Tensor) -> int:
    """As `contradictions` for q AND gate: the gate shows where q spikes; behind a doubtful potential nothing counts."""
    maps = torch.stack([_map(layer.source, 0, step) for step in range(len(fired))]).flatten(2)
    q, k, v = maps.unflatten(1, (3, -1)).unbind(1)  # [T, channels, tokens]
    sums = (k * v).sum(-1) * _tensor(layer.gain) + _tensor(layer.offset)
    potential, wrong = torch.zeros_like(sums[0]), 0
    sure = torch.ones_like(sums[0], dtype=torch.bool)
    for current, ours, spikes in zip(sums, q, fired.flatten(2), strict=True):
        potential = rule.decay * potential + rule.gain * current
        near = (potential - rule.threshold).abs() <= _TOLERANCE * (potential.abs() + rule.threshold)
        sure &= ~near | (potential == rule.threshold)  # what is equal is so in small integers, which are exact
        gate = _over(potential, rule)
        wrong += int((sure[:, None] & (ours * gate[:, None] != spikes)).sum())
        left = potential * 0 if rule.reset_by is None else potential - rule.reset_by
        potential = torch.where(gate != 0, left, potential)
    return wrong


def _over(v: Tensor, rule: Rule) -> Tensor:
    return (v > rule.threshold if rule.strict else v >= rule.threshold).to(v.dtype)


def _convolved(maps: Tensor, kernel: Tensor, bias: Tensor | None, layer: LayerDraft) -> Tensor:
    window = layer.window
    return F.conv2d(maps, kernel, bias, window.stride, (window.pad_y, window.pad_x))


def _bound(kernel: Tensor, bias: Tensor | None, given: Tensor) -> float:
    """What float32 may lose of any sum of a layer."""
    added = kernel.abs().flatten(1).sum(1) * float(given.abs().max())
    return _TOLERANCE * float((added if bias is None else added + bias.abs()).max())


def _map(draft: Draft, image: int, step: int) -> Tensor:
    """float32[channels, height, width] of a stream at one timestep of one image, in the model's numbers."""
    if draft.pixels is not None:
        return torch.from_numpy(draft.pixels[image])
    assert draft.spikes is not None
    rows = torch.from_numpy(draft.spikes.part(image, step)).to(torch.float32) * draft.unit
    return rows.mT.reshape(draft.channels, draft.height, draft.width)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(torch.float32)
