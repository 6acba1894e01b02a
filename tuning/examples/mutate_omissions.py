"""Bugs by omission in one Python expression: an argument, a call, an operand or a prefix that is left out.

Each function takes a scope and gives (edits, what is then wrong) for every place where its bug can be seeded.
"""

import ast
import itertools
import re

from tuning.examples.mutate_edit import Edit
from tuning.examples.mutate_expressions import Found
from tuning.examples.mutate_python import Scope, called_name, is_talk

_CONVERSIONS = re.compile(
    r"^(abs|bool|bytes|dict|enumerate|float|frozenset|int|iter|len|list|max|min|next|range|repr|reversed|round|set|"
    r"sorted|str|sum|tuple|zip|any|all|Path)$"
)
_SELF_GIVING = re.compile(
    r"^(copy|items|keys|values|read|readlines|splitlines|split|strip|lstrip|rstrip|lower|upper|encode|decode|resolve|"
    r"absolute|expanduser|popleft|pop|group|groups|get|total_seconds|isoformat|as_posix|hexdigest|digest|result|sum|"
    r"mean|item|tolist|flatten|ravel)$"
)
"""Methods of no argument whose result is not what they are called on: without them another value goes on."""
_OPTIONAL = frozenset({"stacklevel", "indent", "file", "flush", "name", "description", "help", "doc"})
"""Keywords that nothing depends on."""


def missing_argument(scope: Scope) -> Found:
    """The last positional argument, or a keyword argument, left out."""
    for call in scope.of(ast.Call):
        given: list[ast.AST] = [*call.args, *call.keywords]
        if is_talk(call):
            continue
        for before, one in itertools.pairwise(given):
            last_positional = bool(call.args) and one is call.args[-1] and not isinstance(one, ast.Starred)
            named = isinstance(one, ast.keyword) and one.arg is not None and one.arg not in _OPTIONAL
            start, end = scope.span(before)[1], scope.span(one)[1]
            gap = scope.source.slice(start, scope.span(one)[0])
            if (last_positional or named) and gap.strip() == ",":
                text = " ".join(scope.text(one).split())
                yield (Edit(start, end, ""),), f"the argument {_short(text)} is missing"


def missing_conversion(scope: Scope) -> Found:
    """`x` for `int(x)`, `sorted(x)`, `len(x)`."""
    for call in scope.of(ast.Call):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        alone = len(call.args) == 1 and not call.keywords and not isinstance(call.args[0], ast.Starred)
        statement = isinstance(scope.parents.get(call), ast.Expr)
        if _CONVERSIONS.match(name) and alone and not statement and not isinstance(call.args[0], ast.GeneratorExp):
            inside = scope.text(call.args[0])
            if "\n" not in inside and isinstance(call.args[0], ast.Name | ast.Attribute | ast.Call | ast.Subscript):
                yield (scope.replaced(call, inside),), f"`{name}` is not called on {_short(inside)}"


def missing_method(scope: Scope) -> Found:
    """`x` for `x.strip()`: the object itself where the result of its method is meant."""
    for call in scope.of(ast.Call):
        function = call.func
        if not isinstance(function, ast.Attribute) or call.args or call.keywords:
            continue
        if _SELF_GIVING.match(function.attr) and not isinstance(scope.parents.get(call), ast.Expr):
            inside = scope.text(function.value)
            if "\n" not in inside:
                yield (scope.replaced(call, inside),), f"`.{function.attr}()` is missing after {_short(inside)}"


def missing_parentheses(scope: Scope) -> Found:
    """`x.method` for `x.method()`: the method itself where its result is meant."""
    for call in scope.of(ast.Call):
        parent = scope.parents.get(call)
        if call.args or call.keywords or isinstance(parent, ast.Await) or called_name(call) in ("super", "locals"):
            continue
        if isinstance(call.func, ast.Attribute):
            text = scope.text(call.func)
            if "\n" not in text:
                yield (scope.replaced(call, text),), f"{_short(text)} is not called"


def missing_subscript(scope: Scope) -> Found:
    """`x` for `x[0]`."""
    for node in scope.of(ast.Subscript):
        index = node.slice
        read = isinstance(node.ctx, ast.Load) and not isinstance(scope.parents.get(node), ast.Call)
        plain = isinstance(index, ast.Constant | ast.Name) and isinstance(node.value, ast.Name | ast.Attribute)
        if read and plain and not called_name(node.value)[:1].isupper():
            inside = scope.text(node.value)
            if inside not in ("list", "dict", "tuple", "set", "type"):
                yield (scope.replaced(node, inside),), f"{_short(inside)} as a whole where one of it is meant"


def missing_operand(scope: Scope) -> Found:
    """`a` for `a + b`; conditions are another operator's."""
    for node in scope.of(ast.BinOp):
        if isinstance(scope.parents.get(node), ast.BinOp) or not isinstance(
            node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.FloorDiv | ast.Mod
        ):
            continue
        left, right = scope.text(node.left), scope.text(node.right)
        off_by_one = isinstance(node.right, ast.Constant) and node.right.value == 1
        if not off_by_one and "\n" not in left + right:
            yield (scope.replaced(node, left),), f"{_short(right)} is not taken into account"


def missing_yield(scope: Scope) -> Found:
    """A value that is computed and not yielded."""
    for node in scope.of(ast.Yield):
        given = node.value is not None and not isinstance(node.value, ast.Constant)
        if given and isinstance(scope.parents.get(node), ast.Expr):
            inside = scope.text(node.value)  # type: ignore[arg-type]
            if "\n" not in inside:
                yield (scope.replaced(node, inside),), f"{_short(inside)} is not yielded"
    for source in scope.of(ast.YieldFrom):
        if isinstance(scope.parents.get(source), ast.Expr):
            inside = scope.text(source.value)
            if "\n" not in inside:
                yield (scope.replaced(source, inside),), f"what {_short(inside)} gives is not yielded"


def missing_raise(scope: Scope) -> Found:
    """An exception that is made and not raised."""
    for node in scope.of(ast.Raise):
        if isinstance(node.exc, ast.Call) and node.cause is None:
            inside = scope.text(node.exc)
            if "\n" not in inside:
                yield (scope.replaced(node, inside),), "the exception is made and not raised"


def missing_star(scope: Scope) -> Found:
    """`f(x)` for `f(*x)`."""
    for call in scope.of(ast.Call):
        for one in call.args:
            if isinstance(one, ast.Starred) and isinstance(one.value, ast.Name | ast.Attribute):
                inside = scope.text(one.value)
                yield (scope.replaced(one, inside),), f"{_short(inside)} is not unpacked"


def missing_minus(scope: Scope) -> Found:
    """`x` for `-x`."""
    for node in scope.of(ast.UnaryOp):
        indexes = isinstance(scope.parents.get(node), ast.Subscript | ast.Slice)
        if isinstance(node.op, ast.USub) and not indexes:
            inside = scope.text(node.operand)
            if "\n" not in inside:
                yield (scope.replaced(node, inside),), "the minus sign is missing"


def missing_prefix(scope: Scope) -> Found:
    """A string whose fields stay as they are written, since its `f` is missing."""
    for node in scope.of(ast.JoinedStr):
        text = scope.text(node)
        if re.match(r"[fF]['\"]", text) and "\n" not in text and text.count(text[1]) == 2 and "{{" not in text:
            start, _ = scope.span(node)
            yield (Edit(start, start + 1, ""),), "the string lacks its `f`, so its fields are not filled in"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
