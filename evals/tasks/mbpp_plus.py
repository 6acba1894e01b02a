"""The extended inputs of MBPP+ (Liu et al., 2023, arXiv:2305.01210) as tests: what the reference gives, the candidate
must give.

JSON knows no tuples, sets or complex numbers, so an input takes the types that the task's own assertions show at the
same place. And two results agree in the sense of the first of those assertions: `set(f(x)) == set(...)` compares
sets, `assert f(x)` compares truth, `math.isclose(f(x), ..., rel_tol=0.001)` compares within its tolerance.
"""

import ast
import contextlib
import re
from collections.abc import Sequence
from typing import Any

FLOAT_TOLERANCE = 1e-6
"""For floating point results where the task names no tolerance, as EvalPlus has it."""

_WHOLE = re.compile(r"-?\d+")

_CHECK = """
import copy as _copy, math as _math
inf, nan = float("inf"), float("nan")


def _close(got, want):
    if got == want:
        return True
    if isinstance(want, (list, tuple)):
        return type(got) is type(want) and len(got) == len(want) and all(map(_close, got, want))
    if isinstance(want, dict):
        return type(got) is dict and got.keys() == want.keys() and all(_close(got[key], want[key]) for key in want)
    if not (isinstance(want, float) or isinstance(got, float)):
        return False
    if not isinstance(want, (int, float)) or not isinstance(got, (int, float)):
        return False
    return (got != got and want != want) or _math.isclose(got, want, rel_tol=1e-7, abs_tol={tolerance!r})


def _agree(_got, _want):
    return {agree}


def _short(value):
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


_own = dict()
exec({reference!r}, _own)
_reference = _own[{entry_point!r}]
_INPUTS = {inputs!r}


{assertions}
for _arguments in _INPUTS:
    try:
        _want = _reference(*_copy.deepcopy(_arguments))
    except Exception:
        # The task says nothing about an input that its reference refuses.
        continue
    _got = {entry_point}(*_copy.deepcopy(_arguments))
    _call = "{entry_point}(" + ", ".join(map(_short, _arguments)) + ")"
    assert _agree(_got, _want), f"{{_call}}: want {{_short(_want)}}, got {{_short(_got)}}"
"""


def tests(
    assertions: Sequence[str], entry_point: str, reference: str, inputs: Sequence[Sequence[Any]], tolerance: float
) -> str:
    """The source of the tests: the task's own assertions, then every extended input.

    Args:
        assertions: sources of one assert statement each.
        inputs: as JSON gives them, a list of arguments each.
        tolerance: absolute, of floating point results; 0 takes `FLOAT_TOLERANCE`.

    Raises:
        ValueError: an assertion does not parse, or none of them calls the function.
    """
    statements = [node for source in assertions for node in ast.parse(source).body]
    calls = [call for node in statements for call in calls_of(node, entry_point)]
    if not calls:
        raise ValueError(f"no assertion calls {entry_point}")
    examples = [[literal(argument) for argument in call.args] for call in calls]
    return _CHECK.format(
        tolerance=tolerance or FLOAT_TOLERANCE,
        agree=agreement(statements, entry_point),
        reference=reference,
        entry_point=entry_point,
        inputs=[arguments_like(arguments, examples) for arguments in inputs],
        assertions="\n".join(ast.unparse(node) for node in statements),
    )


def agreement(statements: Sequence[ast.stmt], entry_point: str) -> str:
    """An expression over `_got` and `_want` that holds when two results agree as the first assertion compares them."""
    test = next((n.test for n in statements if isinstance(n, ast.Assert) and calls_of(n, entry_point)), None)
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        side = test.left if calls_of(test.left, entry_point) else test.comparators[0]
        return f"_close({_with(side, entry_point, '_got')}, {_with(side, entry_point, '_want')})"
    if isinstance(test, ast.Call) and ast.unparse(test.func).endswith("isclose") and len(test.args) == 2:
        got, want = (_with(test.args[0], entry_point, name) for name in ("_got", "_want"))
        options = "".join(f", {ast.unparse(keyword)}" for keyword in test.keywords)
        return f"{ast.unparse(test.func)}({got}, {want}{options})"
    if test is not None:
        return f"bool({_with(test, entry_point, '_got')}) == bool({_with(test, entry_point, '_want')})"
    return "_close(_got, _want)"


def asks_truth(assertions: Sequence[str], entry_point: str) -> bool:
    """Every assertion asks only whether a result counts as true: `assert f(x)` or `assert not f(x)`."""

    def bare(node: ast.expr) -> bool:
        inner = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) else node
        return isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == entry_point

    statements = [node for source in assertions for node in ast.parse(source).body]
    return all(isinstance(node, ast.Assert) and bare(node.test) for node in statements)


def arguments_like(arguments: Sequence[Any], examples: Sequence[Sequence[Any]]) -> list[Any]:
    """Arguments from JSON with the types of the example calls' arguments."""
    return [
        like(argument, [example[place] for example in examples if place < len(example)])
        for place, argument in enumerate(arguments)
    ]


def like(value: Any, examples: Sequence[Any], around: type = list) -> Any:
    """A JSON value with the types that the examples have, place by place.

    Args:
        around: the type of the sequence that holds the value: that of a sequence of which the examples show nothing.
    """
    if value == [] and any(isinstance(example, dict) for example in examples):
        # An empty set among sets is written as {} in the assertions.
        return {}
    if isinstance(value, list):
        shown = [example for example in examples if isinstance(example, list | tuple | set | frozenset)]
        kinds = [type(example) for example in shown]
        kind = max(kinds, key=kinds.count) if kinds else around
        every = [inner for example in shown for inner in example]
        parts = []
        for place, part in enumerate(value):
            same = [example[place] for example in shown if isinstance(example, list | tuple) and place < len(example)]
            parts.append(like(part, same if any(_alike(part, inner) for inner in same) else every, kind))
        return kind(parts)
    if isinstance(value, dict):
        inner = [part for example in examples if isinstance(example, dict) for part in example.values()]
        keys = {key for example in examples if isinstance(example, dict) for key in example}
        numbers = any(isinstance(key, int) for key in keys)
        return {
            int(key) if numbers and key not in keys and _WHOLE.fullmatch(key) else key: like(part, inner)
            for key, part in value.items()
        }
    if isinstance(value, str) and examples and all(isinstance(e, int | float | complex) for e in examples):
        shows_complex = any(isinstance(example, complex) for example in examples)
        for number in (complex,) if shows_complex else (float, complex):
            with contextlib.suppress(ValueError):
                return number(value)
    return value


def _alike(value: Any, example: Any) -> bool:
    return isinstance(value, list | dict) == isinstance(example, list | tuple | set | frozenset | dict)


def calls_of(node: ast.AST, entry_point: str) -> list[ast.Call]:
    """The calls of the function in a piece of source, in its order."""
    calls = [
        call
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == entry_point
    ]
    return sorted(calls, key=lambda call: (call.lineno, call.col_offset))


def literal(node: ast.expr) -> Any:
    """The value of an argument, None where only running it would tell."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _with(expression: ast.expr, entry_point: str, name: str) -> str:
    """The expression with a name in the place of the call."""

    class Replace(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            if isinstance(node.func, ast.Name) and node.func.id == entry_point:
                return ast.Name(name, ast.Load())
            return self.generic_visit(node)

    return ast.unparse(Replace().visit(ast.parse(ast.unparse(expression), mode="eval").body))
