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
    **{op: f"the activation {op}" for op in ("gelu", "silu", "mish", "hardswish", "elu")},
    "topk": "choice of the largest",
    "sort": "sorting",
}
# Of what has no line above: what a user would call it
_SPOKEN = {
    "write": "a tensor that is written part by part (padding_mode='circular', or assignments to slices)",
    "constant_pad_nd": "a padding of its own (F.pad)",
    "cat": "cat (of shifted or overlapping parts)",
    "slice": "a slice (a crop)",
    "im2col": "unfold",
    "_trilinear": "a bilinear form (F.bilinear)",
    **dict.fromkeys(("_fft_r2c", "_fft_c2c", "_fft_c2r"), "a Fourier transform"),
    **dict.fromkeys(("mv", "dot"), "a matrix times one vector"),
    **dict.fromkeys(("bmm", "baddbmm"), "batched products with fixed matrices"),
    "reflection_pad1d": "padding_mode='reflect'",
    "reflection_pad2d": "padding_mode='reflect'",
    "replication_pad2d": "padding_mode='replicate'",
    "upsample_nearest2d": "interpolation (F.interpolate)",
    "upsample_bilinear2d": "interpolation (F.interpolate)",
}
_PRODUCTS = frozenset({"convolution", "addmm", "mm", "bmm", "baddbmm", "mv", "dot", "_trilinear"})
_LINEAR = frozenset({"mv", "dot", "baddbmm", "_trilinear", "mul"})


@dataclass(frozen=True)
class Foreign:
    """An operation without a counterpart. calls: its values.  operation: in a word."""

    name: str
    operation: str
    calls: tuple[Value, ...]

    def work(self, images: int) -> HostWork:
        """How much of it there is per image: multiply-accumulates of products, else elements that are made."""
        elements = sum(_size(call) for call in self.calls)
        first = self.calls[0]  # of factors that are summed up the multiplication: an addition follows each
        weighted = first.op == "mul" and any(part.fixed for part in first.parents)
        product = self.calls[0].op in _PRODUCTS
        operations = sum(_size(call) * _depth(call) for call in self.calls) if product else elements
        read = sum(_size(parent) for call in self.calls for parent in call.parents if not parent.fixed)
        return HostWork(
            name=self.name,
            operation=self.operation,
            operations=operations // images,
            unit="multiply_accumulate" if product or weighted else "elementwise",
            bytes_in=4 * read // images,
            bytes_out=4 * elements // images,
        )


def called(value: Value) -> str:
    """What an operation is called in a sentence: by torch's name for it, unless there is a better one."""
    if value.op == "convolution" and len(value.shape) == 5:
        return "three-dimensional convolution"
    return foreign_name(value) or _SPOKEN.get(value.op, value.op)


def remedy(value: Value) -> str:
    """What a user can do to have an operation mapped, in a word; "" where there is nothing but to take it out."""
    weighted = value.op in _LINEAR and any(part.fixed for part in value.parents)
    return "of one matrix for all rows, write it as F.linear" if weighted else ""


def foreign_name(value: Value) -> str | None:
    """What an operation is called that has no counterpart; None where it may have one."""
    space = getattr(value.function, "namespace", "aten")
    if space not in ("aten", "prims", "prim"):
        return f"the custom operation {space}::{value.op}"
    return value.note.get("inside") or _NAMES.get(value.op)


def _size(value: Value) -> int:
    return int(np.prod(value.shape))


def _depth(value: Value) -> int:
    """Products per element of the outcome."""
    if value.op == "convolution":
        return int(np.prod(value.parents[1].shape[1:]))
    if value.op == "_trilinear":
        return _size(value.parents[1]) // value.shape[-1]
    if value.op in ("mv", "dot"):
        return int(value.parents[-1].shape[-1])
    operands = value.parents[-2:]
    return int(operands[0].shape[-1])
