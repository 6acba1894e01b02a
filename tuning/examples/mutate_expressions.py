"""Bugs inside one Python expression: wrong operators, bounds, conditions, constants, keys and arguments.

Each function takes a scope and gives (edits, what is then wrong) for every place where its bug can be seeded.
"""

import ast
import itertools
import re
from collections.abc import Iterator

from tuning.examples.mutate_edit import Edit
from tuning.examples.mutate_python import Scope, called_name

Found = Iterator[tuple[tuple[Edit, ...], str]]

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}
_ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_DIRECTION = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NEGATION = {"==": "!=", "!=": "==", "in": "not in", "not in": "in", "is": "is not", "is not": "is"}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "%"),
    ast.Mod: ("%", "//"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_NUMBER_CALLS = frozenset(
    [
        "len",
        "int",
        "float",
        "abs",
        "round",
        "sum",
        "ord",
        "count",
        "find",
        "rfind",
        "index",
        "tell",
        "bit_length",
        "time",
        "monotonic",
    ]
)
_NUMBER_NAME = re.compile(
    r"(^|_)(i|j|k|n|m|x|y|z|idx|index|pos|position|start|stop|end|lo|hi|low|high|count|counter|offset|size|length|len|"
    r"width|height|depth|level|total|num|number|step|column|col|row|line|lineno|indent|left|right|first|last|year|"
    r"month|day|hour|minute|second|seconds|timeout|port|limit|maximum|minimum)$"
)
_UNSTEADY = re.compile(r"\btime\b|monotonic|perf_counter|random|version|\d\.\d|\btimeout\b|deadline")
"""Comparisons with such an operand differ at one point that a program never meets, or on other versions only."""
_SYMMETRIC = re.compile(
    r"^(max|min|gcd|lcm|hypot|isclose|union|intersection|symmetric_difference|isdisjoint|isinstance|issubclass|hasattr|"
    r"getattr|setattr|delattr|open|super|type|dict|set|partial|zip|chain|print|assert\w*|add|append|extend|Union|Optional)$"
)


def comparison_boundary(scope: Scope) -> Found:
    """`<` for `<=` and so on: off by one at the bound."""
    for node, old, place in _comparisons(scope):
        if old in _BOUNDARY and not _UNSTEADY.search(scope.text(node)) and not _is_record_search(scope, node):
            new = _BOUNDARY[old]
            yield (Edit(*place, new),), f"compares with `{new}` where `{old}` is meant, so the bound itself goes wrong"


def comparison_direction(scope: Scope) -> Found:
    """`<` for `>` and so on."""
    for _, old, place in _comparisons(scope):
        if old in _DIRECTION:
            new = _DIRECTION[old]
            yield (Edit(*place, new),), f"compares with `{new}` where `{old}` is meant"


def negated_comparison(scope: Scope) -> Found:
    """`==` for `!=`, `in` for `not in`, `is` for `is not`, and back."""
    for _, old, place in _comparisons(scope):
        if old in _NEGATION:
            new = _NEGATION[old]
            yield (Edit(*place, new),), f"tests `{new}` where `{old}` is meant, so the condition is the wrong way round"


def identity_comparison(scope: Scope) -> Found:
    """`is` for `==` between values whose identity means nothing."""
    for node, old, place in _comparisons(scope):
        sides = [node.left, *node.comparators]
        plain = all(not isinstance(side, ast.Constant) or isinstance(side.value, str | bytes | float) for side in sides)
        if old in ("==", "!=") and plain:
            new = "is" if old == "==" else "is not"
            before, after = scope.source.data[place[0] - 1 : place[0]], scope.source.data[place[1] : place[1] + 1]
            spaced = (" " if before.strip() else "") + new + (" " if after.strip() else "")
            yield (Edit(*place, spaced),), f"compares identity with `{new}` where equality ({old}) is meant"


def _comparisons(scope: Scope) -> Iterator[tuple[ast.Compare, str, tuple[int, int]]]:
    for node in scope.of(ast.Compare):
        if len(node.ops) != 1:
            continue
        old = _COMPARISONS[type(node.ops[0])]
        pattern = r"\b" + old.replace(" ", r"\s+") + r"\b" if old[0].isalpha() else re.escape(old)
        place = scope.between(node.left, node.comparators[0], pattern)
        if place:
            yield node, old, place


def _is_record_search(scope: Scope, node: ast.Compare) -> bool:
    """`if x > best: best = x`: with `>=` only ties change, which is rarely a bug."""
    parent = scope.parents.get(node)
    sides = {ast.unparse(node.left), ast.unparse(node.comparators[0])}
    return isinstance(parent, ast.If) and any(
        isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in sides for statement in parent.body
    )


def shifted_bound(scope: Scope) -> Found:
    """A range, slice or `± 1` that is one too long or too short."""
    for call in scope.of(ast.Call):
        yield from _shifted_count(scope, call)
    for node in scope.of(ast.BinOp):
        if _plus_or_minus_one(node) and isinstance(node.left, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            yield (scope.replaced(node, scope.text(node.left)),), f"{scope.text(node)} is meant: off by one"
    for piece in scope.of(ast.Slice):
        bounds = (piece.lower, piece.upper) if piece.step is None else ()
        for bound in bounds:
            if isinstance(bound, ast.Name) and _NUMBER_NAME.search(bound.id):
                yield (scope.replaced(bound, f"{bound.id} + 1"),), "the slice begins or ends one element too late"
            elif isinstance(bound, ast.Constant) and type(bound.value) is int and bound.value > 0:
                if bound is piece.lower and isinstance(piece.upper, ast.Constant):
                    # `x[1:2]` would become `x[2:2]`, which reads absurd.
                    continue
                yield (scope.replaced(bound, str(bound.value + 1)),), "the slice begins or ends one element too late"


def _shifted_count(scope: Scope, call: ast.Call) -> Found:
    """The stop of a `range`, the start of an `enumerate`."""
    name, given = call.func.id if isinstance(call.func, ast.Name) else "", call.args
    if name == "range" and given and not call.keywords:
        stop = given[1 if len(given) > 1 else 0]
        if isinstance(stop, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            text = scope.text(stop)
            yield (scope.replaced(stop, f"{text} + 1"),), "the range runs one step too far"
            yield (scope.replaced(stop, f"{text} - 1"),), "the range stops one step too early"
    if name == "enumerate" and len(given) == 2:
        first, start = given
        if isinstance(start, ast.Constant) and start.value == 1:
            edit = Edit(scope.span(first)[1], scope.span(start)[1], "")
            yield (edit,), "counts from 0 where 1 is meant"


def _plus_or_minus_one(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add | ast.Sub)
        and isinstance(node.right, ast.Constant)
        and type(node.right.value) is int
        and node.right.value == 1
    )


def wrong_index(scope: Scope) -> Found:
    """The neighbour of the element that is meant."""
    for node in scope.of(ast.Subscript):
        index = node.slice
        if "version" in scope.text(node.value):
            continue
        if isinstance(index, ast.Constant) and type(index.value) is int:
            new = index.value - 1 if index.value else 1
            yield (scope.replaced(index, str(new)),), f"reads element {new} where element {index.value} is meant"
        elif isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub) and scope.text(index) == "-1":
            yield (scope.replaced(index, "0"),), "reads the first element where the last is meant"
        elif isinstance(index, ast.Name) and index.id in ("i", "j", "k", "n", "idx", "index", "pos"):
            yield (scope.replaced(index, f"{index.id} + 1"),), "reads the next element instead of this one"
            yield (scope.replaced(index, f"{index.id} - 1"),), "reads the element before this one"


def swapped_arithmetic(scope: Scope) -> Found:
    """`-` for `+`, `*` for `/` and so on, where numbers are at work."""
    for node in scope.of(ast.BinOp):
        if type(node.op) not in _ARITHMETIC:
            continue
        old, new = _ARITHMETIC[type(node.op)]
        if not (_is_number(node.left) or _is_number(node.right)) or _is_text(node.left) or _is_text(node.right):
            continue
        place = scope.between(node.left, node.right, re.escape(old))
        if place:
            yield (Edit(*place, new),), f"uses `{new}` where `{old}` is meant"
    for step in scope.of(ast.AugAssign):
        if isinstance(step.op, ast.Add | ast.Sub) and (_is_number(step.value) or _is_number(step.target)):
            old, new = _ARITHMETIC[type(step.op)]
            place = scope.between(step.target, step.value, re.escape(old + "="))
            if place:
                yield (Edit(*place, new + "="),), f"uses `{new}=` where `{old}=` is meant"


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.Call):
        return called_name(node) in _NUMBER_CALLS
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) or _is_number(node.right)
    return isinstance(node, ast.Name | ast.Attribute) and bool(_NUMBER_NAME.search(called_name(node)))


def _is_text(node: ast.AST) -> bool:
    """A string, or a sequence: `+` and `*` join and repeat it."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp | ast.Dict | ast.Set)


def swapped_boolean(scope: Scope) -> Found:
    """`or` for `and`, and back."""
    for node in scope.of(ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in itertools.pairwise(node.values):
            place = scope.between(left, right, rf"\b{old}\b")
            if place:
                yield (Edit(*place, new),), f"joins the conditions with `{new}` where `{old}` is meant"


def negated_condition(scope: Scope) -> Found:
    """A condition that lacks a `not`, or has one too many."""
    tests: list[ast.expr] = [node.test for node in scope.of(ast.If)]
    tests += [node.test for node in scope.of(ast.IfExp)]
    tests += [node.test for node in scope.of(ast.While)]
    tests += [test for node in scope.of(ast.comprehension) for test in node.ifs]
    for test in tests:
        operands = test.values if isinstance(test, ast.BoolOp) else [test]
        for operand in operands:
            if isinstance(operand, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
                start, _ = scope.span(operand)
                yield (Edit(start, start, "not "),), "the condition is the wrong way round: there must be no `not`"


def missing_not(scope: Scope) -> Found:
    """`not` left out."""
    for node in scope.of(ast.UnaryOp):
        parent = scope.parents.get(node)
        toggles = isinstance(parent, ast.Assign) and ast.unparse(parent.targets[0]) == ast.unparse(node.operand)
        if isinstance(node.op, ast.Not) and not toggles:
            start, operand = scope.span(node)[0], scope.span(node.operand)[0]
            head = scope.source.slice(start, operand)
            if "#" not in head and "\n" not in head:
                # Brackets that open before the operand close after it, so only the keyword goes.
                length = len("not") + (1 if head[3:4] == " " else 0)
                yield (Edit(start, start + length, ""),), "`not` is missing, so the condition is the wrong way round"


def swapped_branches(scope: Scope) -> Found:
    """The two values of a conditional expression the wrong way round."""
    for node in scope.of(ast.IfExp):
        yes, no = scope.text(node.body), scope.text(node.orelse)
        if yes != no and "\n" not in yes + no:
            edits = (scope.replaced(node.body, no), scope.replaced(node.orelse, yes))
            yield edits, "the two values of the conditional expression are the wrong way round"


def swapped_arguments(scope: Scope) -> Found:
    """Two neighbouring positional arguments of one kind the wrong way round."""
    for call in scope.of(ast.Call):
        if _SYMMETRIC.match(called_name(call)):
            continue
        for left, right in itertools.pairwise(call.args):
            one, two = scope.text(left), scope.text(right)
            if one != two and _kind(left) and _kind(left) == _kind(right) and "\n" not in one + two:
                edits = (scope.replaced(left, two), scope.replaced(right, one))
                yield edits, f"the arguments {one} and {two} are the wrong way round"


def _kind(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return "" if node.value is None else type(node.value).__name__
    if isinstance(node, ast.Name) and node.id in ("self", "cls"):
        return ""
    return "variable" if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) else ""


def swapped_targets(scope: Scope) -> Found:
    """Two names that are unpacked into, the wrong way round."""
    pairs = [(loop.target, loop.iter) for loop in scope.of(ast.For)]
    pairs += [(loop.target, loop.iter) for loop in scope.of(ast.comprehension)]
    pairs += [(node.targets[0], node.value) for node in scope.of(ast.Assign) if len(node.targets) == 1]
    for target, value in pairs:
        names = target.elts if isinstance(target, ast.Tuple) else []
        if len(names) != 2 or not all(isinstance(name, ast.Name) for name in names):
            continue
        if isinstance(value, ast.Tuple) and len({ast.unparse(element) for element in value.elts}) == 1:
            continue
        one, two = (scope.text(name) for name in names)
        if one.strip("_") and two.strip("_"):
            edits = (scope.replaced(names[0], two), scope.replaced(names[1], one))
            yield edits, f"unpacks into {two}, {one} where {one}, {two} is meant"


def missing_guard_operand(scope: Scope) -> Found:
    """`x is not None and x.y` without its first half."""
    for node in scope.of(ast.BoolOp):
        if not isinstance(node.op, ast.And):
            continue
        for guard, used in itertools.pairwise(node.values):
            name = guard.left if isinstance(guard, ast.Compare) and isinstance(guard.ops[0], ast.IsNot) else guard
            if not isinstance(name, ast.Name | ast.Attribute):
                continue
            text = ast.unparse(name)
            reads = any(isinstance(part, type(name)) and ast.unparse(part) == text for part in ast.walk(used))
            gap = scope.between(guard, used, r"\band\s+")
            start, end = scope.span(guard)
            if reads and gap and not scope.source.slice(end, gap[0]).strip():
                yield (Edit(start, gap[1], ""),), f"{text} is not checked before it is used"


def wrong_constant(scope: Scope) -> Found:
    """A flag or a number with another value."""
    for node in scope.of(ast.Constant):
        parent = scope.parents.get(node)
        if isinstance(parent, ast.keyword) and parent.arg in ("stacklevel", "indent", "maxsize", "file"):
            continue
        if isinstance(parent, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Subscript | ast.Slice | ast.UnaryOp):
            continue
        if isinstance(parent, ast.Call) and called_name(parent) in ("range", "enumerate"):
            continue
        if isinstance(parent, ast.While) or _plus_or_minus_one(parent or node):
            continue
        if isinstance(parent, ast.Compare) and node.value in (0, 1) and isinstance(parent.ops[0], _ORDERINGS):
            # `x < 1` for `x < 0` is off by one, and means the same for many numbers.
            continue
        if isinstance(node.value, bool):
            yield (scope.replaced(node, str(not node.value)),), f"{not node.value} where {node.value} is meant"
        elif type(node.value) is int and re.fullmatch(r"\d+", scope.text(node)):
            new = _other_number(node.value)
            yield (scope.replaced(node, str(new)),), f"{new} where {node.value} is meant"


def _other_number(value: int) -> int:
    if value < 2:
        return 1 - value
    if value < 10:
        return value + 1
    return value // 10 if value % 10 == 0 else value + 10


def missing_await(scope: Scope) -> Found:
    """A coroutine that is never awaited."""
    for node in scope.of(ast.Await):
        start, end = scope.span(node)[0], scope.span(node.value)[0]
        if scope.source.slice(start, end).strip() == "await":
            yield (Edit(start, end, ""),), "the coroutine is not awaited"


def wrong_key(scope: Scope) -> Found:
    """Another key of the same mapping."""
    keys: dict[str, dict[str, None]] = {}
    uses: list[tuple[str, ast.Constant]] = []
    for node in scope.of(ast.Subscript):
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            uses.append((ast.unparse(node.value), node.slice))
    for call in scope.of(ast.Call):
        first = call.args[0] if call.args else None
        reads = called_name(call) in ("get", "pop", "setdefault") and isinstance(call.func, ast.Attribute)
        if reads and isinstance(first, ast.Constant) and isinstance(first.value, str):
            uses.append((ast.unparse(call.func.value), first))  # type: ignore[attr-defined]
    for owner, key in uses:
        keys.setdefault(owner, {})[scope.text(key)] = None
    for owner, key in uses:
        for other in keys[owner]:
            if other != scope.text(key):
                yield (scope.replaced(key, other),), f"uses the key {other} where {scope.text(key)} is meant"
