"""Neurons that are known by their class, of any version of spikingjelly and snnTorch, without importing either."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..neuron import LIF

_STATES = ("mem", "syn", "syn_exc", "syn_inh", "spk")  # what snnTorch's neurons remember from one call to the next


@dataclass(frozen=True)
class Rule:
    """How a neuron's potential v moves: v <- decay v + gain x; a spike where v >= threshold (`strict`: v >).

    After a spike v is 0 (reset_by None), or reset_by less. v counts from the resting potential.
    All numbers are those of every neuron of a module.
    """

    decay: float
    gain: float
    threshold: float
    reset_by: float | None
    strict: bool


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is a spiking neuron whose inside need not be looked at: no synapses are hidden in it."""
    known = _base(module, "spikingjelly", "BaseNode") or _base(module, "snntorch", "SpikingNeuron")
    return (known or isinstance(module, LIF)) and all(parameter.ndim < 2 for parameter in module.parameters())


def _base(module: nn.Module, library: str, name: str) -> bool:
    kinds = type(module).__mro__
    return any(
        kind.__name__.endswith(name) and kind.__module__.partition(".")[0] == library for kind in kinds
    ) and not any(kind.__name__.startswith("NonSpiking") for kind in kinds)


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a known neuron; None where its class or its setting has no counterpart on the chip."""
    if isinstance(module, LIF):
        return Rule(0.5, 0.5, module.v_th, None, False)
    name = type(module).__name__.removeprefix("MultiStep").removeprefix("Simple")
    if _base(module, "spikingjelly", "BaseNode"):
        return _spikingjelly(module, name)
    return _snntorch(module) if name == "Leaky" else None


def _spikingjelly(node: Any, name: str) -> Rule | None:
    """v <- v + (x - (v - v_reset)) / tau, without decay_input x in full; integrate-and-fire: v <- v + x."""
    rest = 0.0 if node.v_reset is None else float(node.v_reset)
    threshold = float(node.v_threshold) - rest
    reset_by = threshold if node.v_reset is None else None
    if name == "IFNode":
        return Rule(1.0, 1.0, threshold, reset_by, False)
    if name == "LIFNode":
        share = 1.0 / float(node.tau)
    elif name == "ParametricLIFNode":
        share = float(node.w.detach().sigmoid())
    else:
        return None
    return Rule(1.0 - share, share if getattr(node, "decay_input", True) else 1.0, threshold, reset_by, False)


def _snntorch(leaky: Any) -> Rule | None:
    """mem <- beta mem + x, less a threshold one step after a spike; that is threshold / beta at once."""
    odd = (
        leaky.state_quant or leaky.inhibition or not leaky.reset_delay or float(leaky.graded_spikes_factor.max()) != 1.0
    )
    beta, threshold = leaky.beta.detach().clamp(0, 1), torch.as_tensor(leaky.threshold).detach()
    if odd or beta.numel() != 1 or threshold.numel() != 1 or float(beta) == 0.0:
        return None
    keep, fire = float(beta), float(threshold)
    if leaky.reset_mechanism == "none":
        return None
    return Rule(keep, 1.0, fire, fire / keep if leaky.reset_mechanism == "subtract" else None, True)


def single_step(model: nn.Module) -> bool:
    """Whether the model's neurons take one timestep per call and remember the rest: such a model is called T times."""
    return any(_steps(module) for module in model.modules() if is_neuron(module))


def _steps(neuron: Any) -> bool:
    if isinstance(neuron, LIF):
        return False
    if _base(neuron, "snntorch", "SpikingNeuron"):
        return bool(neuron.init_hidden)
    mode = getattr(neuron, "step_mode", None)  # older versions have a class of its own for many steps
    return mode == "s" if mode is not None else not type(neuron).__name__.startswith("MultiStep")


def spikes_of(output: Any) -> tuple[Tensor, list[Tensor]]:
    """A neuron's spikes, and the states that it returns beside them (spikes, potential, …)."""
    if isinstance(output, Tensor):
        return output, []
    tensors = [item for item in output if isinstance(item, Tensor)]
    return tensors[0], tensors[1:]


def remembers(module: nn.Module) -> bool:
    """Whether a module of a known library holds something from an earlier run; not where each call hands it in."""
    memories = getattr(module, "_memories", None)
    if isinstance(memories, dict):  # spikingjelly: what it remembers, and beside it what it is reset to
        fresh = getattr(module, "_memories_rv", {})
        return any(_differs(state, fresh.get(name)) for name, state in memories.items())
    if not _base(module, "snntorch", "SpikingNeuron") or not module.init_hidden:
        return False
    return any(_differs(getattr(module, name, None), 0.0) for name in _STATES)


def _differs(state: Any, fresh: Any) -> bool:
    rest = fresh if isinstance(fresh, (int, float)) else 0.0
    return isinstance(state, Tensor) and state.numel() > 0 and bool((state != rest).any())
