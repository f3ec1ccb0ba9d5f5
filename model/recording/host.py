"""Operations that the chip has no counterpart for: what they are called, and how much of them there is."""

from dataclasses import dataclass

import numpy as np

from ...simulator.trace import HostWork
from .values import Value

# Computes on values that are no spikes, in a way that no chip of spikes does
_NAMES = {
    "_softmax": "softmax",
    "_log_softmax": "softmax",
    "native_layer_norm": "layer normalisation",
    "native_group_norm": "group normalisation",
    "_scaled_dot_product_flash_attention_for_cpu": "softmax attention",
    "_scaled_dot_product_efficient_attention": "softmax attention",
    "_native_multi_head_attention": "softmax attention",
    "_transformer_encoder_layer_fwd": "a softmax transformer layer",
    "mkldnn_rnn_layer": "recurrence",
    "embedding": "table look-up",
    "lstm": "recurrence",
    "gru": "recurrence",
    "_cdist_forward": "distances",
    "topk": "choice of the largest",
    "sort": "sorting",
}
_PRODUCTS = frozenset({"convolution", "addmm", "mm", "bmm", "baddbmm"})


@dataclass(frozen=True)
class Foreign:
    """An operation without a counterpart. calls: its values.  operation: in a word."""

    name: str
    operation: str
    calls: tuple[Value, ...]

    def work(self, images: int) -> HostWork:
        """How much of it there is per image: multiply-accumulates of products, else elements that are made."""
        elements = sum(_size(call) for call in self.calls)
        product = self.calls[0].op in _PRODUCTS
        operations = sum(_size(call) * _depth(call) for call in self.calls) if product else elements
        read = sum(_size(parent) for call in self.calls for parent in call.parents if not parent.fixed)
        return HostWork(
            name=self.name,
            operation=self.operation,
            operations=operations // images,
            unit="multiply_accumulate" if product else "elementwise",
            bytes_in=4 * read // images,
            bytes_out=4 * elements // images,
        )


def foreign_name(value: Value) -> str | None:
    """What an operation is called that has no counterpart; None where it may have one."""
    space = getattr(value.function, "namespace", "aten")
    if space not in ("aten", "prims", "prim"):
        return f"the custom operation {space}::{value.op}"
    return _NAMES.get(value.op)


def _size(value: Value) -> int:
    return int(np.prod(value.shape))


def _depth(value: Value) -> int:
    """Products per element of the outcome."""
    if value.op == "convolution":
        return int(np.prod(value.parents[1].shape[1:]))
    operands = value.parents[-2:]
    return int(operands[0].shape[-1])
