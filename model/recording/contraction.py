"""Products of all of a tensor's rows with one and the same matrix, however a model writes them: linear layers.

`einsum`, `W @ x` and products with a matrix that is repeated for every image are dispatched as batched products. They
are noted as what torch dispatches for a linear layer, so that everything behind has one form of it to know.
"""

import torch
from torch import Tensor

from .values import Sample, Value


def as_linear(value: Value, operands: tuple[Tensor, ...], sums: Tensor) -> tuple[Value, Value] | None:
    """(rows x matrix, the view of it that `value` is); None where a product is none of one fixed matrix.

    operands, sums: the tensors that `value.arguments` and `value` stand for.
    """
    if value.op not in ("bmm", "mm"):
        return None
    fixed = [part.fixed for part in value.arguments[:2]]
    turned = fixed[0]  # matrix x columns instead of rows x matrix
    if fixed[0] == fixed[1] or (value.op == "mm" and not turned):
        return None
    live, matrix = value.arguments[1 - fixed.index(True)], value.arguments[fixed.index(True)]
    given, weights = operands[1 - fixed.index(True)], operands[fixed.index(True)]
    if value.op == "bmm":
        if weights.stride(0) != 0 and not torch.equal(weights[:1].expand_as(weights), weights):
            return None  # another matrix for every one of the batch
        matrix = Value("select", matrix.shape[1:], value.path, torch.ops.aten.select.int, (matrix, 0, 0))
    if turned:
        given, sums = given.mT, sums.mT
        live = Value("transpose", tuple(given.shape), value.path, arguments=(live, -2, -1))
        matrix = Value("t", matrix.shape[::-1], value.path, torch.ops.aten.t.default, (matrix,))
    inputs, outputs = matrix.shape
    rows = Value("view", (given.numel() // inputs, inputs), value.path, arguments=(live,))
    if rows.from_input:
        rows.tensor = given.reshape(rows.shape).detach()
    made = Value("mm", (rows.shape[0], outputs), value.path, torch.ops.aten.mm.default, (rows, matrix))
    made.samples = Sample.of(sums.reshape(made.shape).detach())
    seen = Value("view", tuple(sums.shape), value.path, arguments=(made,))
    return made, Value("transpose", value.shape, value.path, arguments=(seen, -2, -1)) if turned else seen
