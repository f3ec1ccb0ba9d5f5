"""The leaky integrate-and-fire (LIF) neuron of Spikformer, over all timesteps at once, and what an ANN has for it."""

from typing import Any

import torch
from torch import Tensor, nn

SURROGATE_ALPHA = 4.0


class _MultiStepLIF(torch.autograd.Function):
    """Forward and backward through time written out with few passes over memory: several times faster than autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v_th: float) -> Tensor:
        spikes = x.new_empty(x.shape)
        charged = x.new_empty(x.shape)  # membrane potential after integration, before the reset
        v = x.new_zeros(x.shape[1:])
        for t in range(x.shape[0]):
            torch.lerp(v, x[t], 0.5, out=charged[t])  # v + (x - v) / 2
            torch.ge(charged[t], v_th, out=spikes[t])
            torch.addcmul(charged[t], charged[t], spikes[t], value=-1.0, out=v)  # hard reset: h - h = 0 exactly
        ctx.save_for_backward(charged, spikes)
        ctx.v_th = v_th
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad_spikes,) = grads
        charged, spikes = ctx.saved_tensors
        grad_x = torch.empty_like(charged)
        shift = charged.new_tensor(-SURROGATE_ALPHA * ctx.v_th)
        for t in range(charged.shape[0] - 1, -1, -1):
            s = torch.add(shift, charged[t], alpha=SURROGATE_ALPHA).sigmoid_()
            surrogate = torch.ops.aten.sigmoid_backward(grad_spikes[t], s)  # gradient x s (1 - s)
            # x enters with weight 1/2, and so does the potential carried over; hence one tensor serves for both.
            torch.mul(surrogate, 0.5 * SURROGATE_ALPHA, out=grad_x[t])
            if t + 1 < charged.shape[0]:
                # v = h (1 - spike) with the spike detached: a fired neuron hands nothing back
                after = grad_x[t + 1]
                grad_x[t].add_(torch.addcmul(after, after, spikes[t], value=-1.0), alpha=0.5)
        return grad_x, None


class LIF(nn.Module):
    """Multi-step LIF neuron with tau = 2, hard reset to 0 and a sigmoid surrogate gradient.

    v <- v + (x - v) / 2; spike where v >= v_th, then v <- 0. A spike's gradient is that of sigmoid(4 (v - v_th)); the
    reset is detached. The state starts at 0 in every call, so nothing leaks from one batch to the next. Potentials are
    float32 in any precision; spikes are exact in all.
    """

    def __init__(self, v_th: float = 1.0) -> None:
        super().__init__()
        self.v_th = v_th

    def forward(self, x: Tensor) -> Tensor:
        """float[time, ...] input currents -> float[time, ...] spikes, 0 or 1."""
        spikes: Tensor = _MultiStepLIF.apply(x.float() if x.dtype.itemsize < 4 else x, self.v_th)
        return spikes.to(x.dtype)


def make_neuron(kind: str, v_th: float = 1.0) -> nn.Module:
    """What stands behind every batch norm: `lif`, or in the float network of a quantised ANN a ReLU (`relu`).

    Neither has parameters, so both networks have the same state dict. A ReLU has no threshold.
    """
    return LIF(v_th) if kind == "lif" else nn.ReLU()
