"""Constraints between keys: arithmetic and comparisons over dotted names, parsed once, computed without running code.

"core.weight_banks * core.weight_word_bits <= 512 and mesh.columns >= mesh.rows"
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...simulator.errors import UserError, nearest

LONGEST = 400  # characters; also keeps what is parsed shallow
GRAMMAR = "a constraint compares numbers, words and keys with + - * / // % < <= > >= == != in and or not"


def _on_numbers(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Python's operators also repeat texts and fill them in; here they compute."""

    def checked(left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError("only numbers can be computed with")
        return compute(left, right)

    return checked


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _on_numbers(operator.add),
    ast.Sub: _on_numbers(operator.sub),
    ast.Mult: _on_numbers(operator.mul),
    ast.Div: _on_numbers(operator.truediv),
    ast.FloorDiv: _on_numbers(operator.floordiv),
    ast.Mod: _on_numbers(operator.mod),
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.Not: operator.not_, ast.USub: operator.neg}


@dataclass(frozen=True)
class Constraint:
    """A condition that a combination of settings must meet; `text` as the file has it, `keys` that it looks at."""

    text: str
    keys: frozenset[str]
    tree: ast.expr

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is met; values: key -> value. Raises UserError where the values cannot be compared or divided."""
        try:
            return bool(_value(self.tree, values))
        except (TypeError, ArithmeticError) as error:
            said = ", ".join(f"{key} = {values[key]!r}" for key in sorted(self.keys))
            raise UserError(f"constraint {self.text!r}: {error} with {said}") from None


def parse_constraint(text: str, known: list[str]) -> Constraint:
    """Read a constraint over the keys in `known`.

    Raises UserError, with the constraint, for what is no comparison, for anything that computes otherwise, and for an
    unknown key (the nearest is named).
    """
    where = f"constraint {text[:LONGEST]!r}"
    if len(text) > LONGEST:
        raise UserError(f"{where}…: longer than {LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"{where}: cannot be read; {GRAMMAR}") from None
    keys: set[str] = set()
    for node in _parts(tree, where):
        key = _key(node)
        if key is not None:
            if key not in known:
                raise UserError(f"{where}: {key}: unknown key; {nearest(key, known)}")
            keys.add(key)
    if not keys or not isinstance(tree, ast.Compare | ast.BoolOp | ast.UnaryOp):
        raise UserError(f"{where}: compares no key; {GRAMMAR}")
    return Constraint(text, frozenset(keys), tree)


def _key(node: ast.expr) -> str | None:
    """`core.lanes` for the tree of that name; None for any other tree."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _key(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None


def _parts(node: ast.expr, where: str) -> list[ast.expr]:
    """The tree and all below it, keys whole. Raises UserError for what a constraint cannot hold."""
    if _key(node) is not None:
        return [node]
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            below: list[ast.expr] = []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            below = [left, right]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            below = [operand]
        case ast.BoolOp(values=values):
            below = list(values)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
            below = [left, *others]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            below = list(elements)
        case _:
            raise UserError(f"{where}: {ast.unparse(node)!r} is not understood; {GRAMMAR}")
    return [node, *(part for child in below for part in _parts(child, where))]


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    key = _key(node)
    if key is not None:
        return values[key]
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, values))
        case ast.BoolOp(op=op, values=terms):
            met = (bool(_value(term, values)) for term in terms)
            return all(met) if isinstance(op, ast.And) else any(met)
        case ast.Compare(left=left, ops=ops, comparators=others):
            terms = [_value(term, values) for term in (left, *others)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, terms, terms[1:], strict=False))
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element, values) for element in elements]
    raise AssertionError(ast.dump(node))  # `parse_constraint` lets nothing else through
