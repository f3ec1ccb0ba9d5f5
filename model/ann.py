"""The quantised ANN twin: which ranges its lowering must know, and watching them in the float network.

The twin has the spiking network's layers with a ReLU behind each batch norm, one timestep and 8-bit activations. Its
attention is (Q K^T) V without softmax; that product is never negative, so the ReLU behind it changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..simulator.trace import ProductOrder
from .config import SpikformerConfig
from .spikformer import Spikformer

RESIDUAL = "x"  # all sums of the residual stream: they are added up in integers, so they have one scale


def product_order(config: SpikformerConfig, block: int) -> ProductOrder:
    """Which product of a block's attention comes first, and is rounded: the one that takes fewer operations."""
    return "kv_first" if config.kept_tokens[block] > config.width // config.heads else "qk_first"


def range_names(config: SpikformerConfig) -> tuple[str, ...]:
    """The activations whose ranges lowering must know; none of a spiking network.

    sps<i>: convolutions before the last.  x: the residual stream, the last convolution's output included.
    block<i>.q, .k, .v, .fc1: outputs of those layers.  block<i>.inner: the first product of attention.
    block<i>.attention: (Q K^T) V x scale.
    """
    if config.neuron == "lif":
        return ()
    sps = [f"sps{index}" for index in range(len(config.sps_channels) - 1)]
    parts = ("q", "k", "v", "inner", "attention", "fc1")
    return (*sps, RESIDUAL, *(f"block{index}.{part}" for index in range(config.depth) for part in parts))


class Ranges:
    """Watches a float twin: the largest activation of each range in every batch of images.

    Only tokens that are left count: what becomes of dropped ones is seen nowhere.
    """

    def __init__(self, config: SpikformerConfig) -> None:
        self.config = config
        self._batches: list[dict[str, float]] = []
        self._mask: Tensor | None = None
        self._operands: dict[str, Tensor] = {}

    def result(self) -> dict[str, float]:
        """The range by name: the mean over the batches of the largest activation, so that no single image stretches a
        scale that all others share; what lies beyond clips. 0 where nothing was active.
        """
        count = len(self._batches)
        return {name: sum(batch[name] for batch in self._batches) / count for name in range_names(self.config)}

    @contextmanager
    def watching(self, model: Spikformer) -> Iterator[None]:
        """While it lasts, every forward pass of the network counts as a batch."""
        hooks = [] if self.config.neuron == "lif" else [self._start(model), *self._sps(model), *self._blocks(model)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _start(self, model: Spikformer) -> Any:
        def start(_module: nn.Module, _inputs: Any) -> None:
            self._batches.append(dict.fromkeys(range_names(self.config), 0.0))
            self._mask = None

        return model.register_forward_pre_hook(start)

    def _sps(self, model: Spikformer) -> Iterator[Any]:
        last = len(self.config.sps_channels) - 1
        for index in range(last + 1):
            neuron = getattr(model.patch_embed, f"proj_lif{index or ''}")
            yield self._output(neuron, f"sps{index}" if index < last else RESIDUAL)

    def _blocks(self, model: Spikformer) -> Iterator[Any]:
        for index, block in enumerate(model.block):
            attn: Any = block.attn
            mlp: Any = block.mlp
            yield block.register_forward_pre_hook(self._entry)
            for part in "qkv":
                yield self._output(getattr(attn, f"{part}_lif"), f"block{index}.{part}")
            yield self._output(attn.attn_lif, f"block{index}.attention")
            yield mlp.register_forward_pre_hook(lambda _, inputs: self._see(RESIDUAL, inputs[0]))
            yield self._output(mlp.fc1_lif, f"block{index}.fc1")
            yield self._output(block, RESIDUAL)

    def _output(self, module: nn.Module, name: str) -> Any:
        return module.register_forward_hook(lambda _module, _inputs, output: self._see(name, output))

    def _entry(self, _module: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
        """A block's input and the mask of the tokens that it works on."""
        x, mask = inputs
        self._mask = mask > 0
        self._see(RESIDUAL, x)

    def _see(self, name: str, values: Tensor) -> None:
        """values: float[1, images, tokens, channels]."""
        left = values[0] if self._mask is None else values[0][self._mask]
        self._note(name, left)
        block, _, part = name.partition(".")
        if part in ("q", "k", "v"):
            self._operands[part] = values[0] if self._mask is None else values[0] * self._mask[:, :, None]
        elif part == "attention":
            self._note(f"{block}.inner", self._first_product(int(block.removeprefix("block"))))

    def _first_product(self, block: int) -> Tensor:
        q, k, v = (
            self._operands[part].unflatten(-1, (self.config.heads, -1)).transpose(1, 2)  # [images, heads, tokens, d]
            for part in "qkv"
        )
        return k.mT @ v if product_order(self.config, block) == "kv_first" else q @ k.mT

    def _note(self, name: str, values: Tensor) -> None:
        batch = self._batches[-1]
        batch[name] = max(batch[name], float(values.max()))
