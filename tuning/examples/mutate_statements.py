"""Bugs in the statements of a Python function: guards, returns, loops, resources and exceptions.

Each function takes a scope and gives (edits, what is then wrong) for every place where its bug can be seeded.
"""

import ast
import re

from tuning.examples.mutate_edit import Edit
from tuning.examples.mutate_expressions import Found
from tuning.examples.mutate_python import Scope, called_name, leaves

_RESOURCE = re.compile(
    r"open|socket|file$|connect|popen|session|client|scandir|pool|executor|mmap|cursor|urlopen", re.IGNORECASE
)
_LOCK = re.compile(r"lock$|mutex|semaphore|_cond$|condition$", re.IGNORECASE)
_RELEASE = frozenset({"close", "shutdown", "disconnect", "server_close", "terminate", "aclose"})
_UNCHANGED_SELF = frozenset(
    [
        "strip",
        "lstrip",
        "rstrip",
        "lower",
        "upper",
        "title",
        "replace",
        "encode",
        "decode",
        "expanduser",
        "resolve",
        "absolute",
        "with_suffix",
        "format",
        "join",
        "casefold",
        "removeprefix",
        "removesuffix",
        "copy",
        "astimezone",
        "normalize",
    ]
)
"""Methods that give a new value and leave their object as it was: a call whose result is dropped does nothing."""
_MOST_LINES = 8
"""A longer block is not taken out of its `with`: the change would no longer be one small bug."""


def missing_none_check(scope: Scope) -> Found:
    """A guard against None removed."""
    for node in scope.of(ast.If):
        checked = _none_checked(node.test)
        if checked and _is_guard(node) and _used_after(scope, node, checked):
            yield from _removed(scope, node, f"{checked} may be None here and is not checked")


def missing_guard(scope: Scope) -> Found:
    """A guard (one `if` that leaves the function or the loop step) removed."""
    for node in scope.of(ast.If):
        leaving = leaves(node.body[0]) and not _none_checked(node.test)
        if leaving and _is_guard(node) and "TYPE_CHECKING" not in scope.text(node.test):
            test = " ".join(scope.text(node.test).replace("\\\n", " ").split())
            yield from _removed(scope, node, f"the case `{test}` is not handled")


def _none_checked(test: ast.expr) -> str:
    """What a test finds to be None, empty where it is no such test."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is) and len(test.ops) == 1:
        is_none = isinstance(test.comparators[0], ast.Constant) and test.comparators[0].value is None
        return ast.unparse(test.left) if is_none else ""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return ast.unparse(test.operand) if isinstance(test.operand, ast.Name | ast.Attribute) else ""
    return ""


def _is_guard(node: ast.If) -> bool:
    return len(node.body) == 1 and not node.orelse and isinstance(node.body[0], ast.stmt)


def _used_after(scope: Scope, node: ast.If, text: str) -> bool:
    block = scope.block(node)
    later = block[block.index(node) + 1 :]
    return any(
        isinstance(part, ast.Name | ast.Attribute) and ast.unparse(part) == text
        for statement in later
        for part in ast.walk(statement)
    )


def _removed(scope: Scope, statement: ast.stmt, description: str) -> Found:
    """Deletes a whole statement, unless its block would be left empty or it is an `elif`."""
    block = scope.block(statement)
    lines = scope.statement_lines(statement)
    others = [other for other in block if other is not statement]
    if lines and others and not all(isinstance(other, ast.Expr | ast.Pass) for other in others):
        start = scope.span(statement)[0]
        if scope.source.data[start : start + 4] != b"elif":
            yield (scope.source.without_lines(*lines),), description


def missing_return(scope: Scope) -> Found:
    """The result is computed and not returned."""
    steps = [step for step in scope.function.body if not isinstance(step, ast.Expr | ast.Import | ast.ImportFrom)]
    if scope.nodes[ast.Yield] or scope.nodes[ast.YieldFrom] or len(steps) < 2:
        return
    for node in scope.of(ast.Return):
        if node.value is None or isinstance(node.value, ast.Constant) or _owner(scope, node) is not scope.function:
            continue
        if isinstance(node.value, ast.Call | ast.Await):
            if "join" in called_name(node.value):
                # A text that is made and dropped would read absurd.
                continue
            start, value = scope.span(node)[0], scope.span(node.value)[0]
            if scope.source.slice(start, value).strip() == "return":
                yield (Edit(start, value, ""),), "the result is not returned: `return` is missing"
        elif node is scope.function.body[-1]:
            yield from _removed(scope, node, f"the function ends without returning {_short(scope, node.value)}")


def _short(scope: Scope, node: ast.AST) -> str:
    text = scope.text(node)
    return text if len(text) < 40 and "\n" not in text else "its result"


def _owner(scope: Scope, node: ast.AST) -> ast.AST:
    return next(a for a in scope.ancestors(node) if isinstance(a, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def early_return(scope: Scope) -> Found:
    """The return after a loop moved into it, so that only the first step is taken."""
    loops: list[ast.For | ast.While] = [*scope.of(ast.For), *scope.of(ast.While)]
    for loop in loops:
        block = scope.block(loop)
        at = block.index(loop)
        following = block[at + 1] if at + 1 < len(block) else None
        last = loop.body[-1]
        if not isinstance(following, ast.Return) or loop.orelse or leaves(last):
            continue
        lines = scope.statement_lines(following)
        if lines and lines[0] == lines[1] and scope.source.alone(*scope.span(last)):
            start = scope.span(following)[0]
            old, new = scope.source.indent(lines[0]), scope.source.indent(loop.body[0].lineno)
            if new.startswith(old) and scope.source.alone(*scope.span(loop.body[0])):
                yield (Edit(start, start, new[len(old) :]),), "returns inside the loop, after its first step"


def mutable_default(scope: Scope) -> Found:
    """`None` as a default and the guard that makes a fresh container, both replaced by one shared container."""
    arguments = scope.function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = list(
        zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True)
    )
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, default in pairs:
        if not isinstance(default, ast.Constant) or default.value is not None:
            continue
        for node in scope.function.body:
            fresh = _fresh_container(node, argument.arg)
            lines = scope.statement_lines(node)
            if fresh and lines and len(scope.function.body) > 1:
                edits = (scope.replaced(default, fresh), scope.source.without_lines(*lines))
                yield edits, f"{argument.arg} has a mutable default, shared by all calls"


def _fresh_container(node: ast.stmt, name: str) -> str:
    """The empty container that `if name is None: name = []` or `name = name or []` makes, empty for anything else."""
    if isinstance(node, ast.If) and _none_checked(node.test) == name and _is_guard(node):
        node = node.body[0]
        value = node.value if isinstance(node, ast.Assign) else None
    else:
        value = node.value if isinstance(node, ast.Assign) else None
        if not (isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or) and len(value.values) == 2):
            return ""
        value = value.values[1] if ast.unparse(value.values[0]) == name else None
    if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != name or value is None:
        return ""
    text = ast.unparse(value)
    return text if text in ("[]", "{}", "set()", "dict()", "list()") else ""


def hoisted_container(scope: Scope) -> Found:
    """A local container that is filled, made a default argument and so shared by all calls."""
    arguments = scope.function.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or not arguments.args:
        return
    for node in scope.function.body[:3]:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
            continue
        text, lines = scope.text(node.value), scope.statement_lines(node)
        filled = any(
            isinstance(call.func, ast.Attribute)
            and call.func.attr in ("append", "add", "extend", "update", "setdefault")
            and ast.unparse(call.func.value) == target.id
            for call in scope.of(ast.Call)
        )
        if text in ("[]", "{}", "set()") and filled and lines and len(scope.function.body) > 1:
            last = arguments.defaults[-1] if len(arguments.defaults) else arguments.args[-1]
            end = scope.span(last)[1]
            if scope.source.slice(end, end + 1) in (")", ","):
                edits = (Edit(end, end, f", {target.id}={text}"), scope.source.without_lines(*lines))
                yield edits, f"{target.id} is a mutable default, shared by all calls"


def unclosed_resource(scope: Scope) -> Found:
    """`with open(...) as f` made an assignment that nothing closes; or a `close()` left out."""
    for node in scope.of(ast.With):
        item = node.items[0]
        call, name = item.context_expr, item.optional_vars
        opens = isinstance(call, ast.Call) and _RESOURCE.search(called_name(call))
        if opens and len(node.items) == 1 and isinstance(name, ast.Name):
            opening = f"{name.id} = {scope.text(call)}"
            yield from _unwrapped(scope, node, opening, f"{name.id} is not closed when an exception is raised")
    for statement in scope.of(ast.Expr):
        call = statement.value
        if not isinstance(call, ast.Call) or call.args or called_name(call) not in _RELEASE:
            continue
        if isinstance(call.func, ast.Attribute) and "super()" not in scope.text(call):
            yield from _removed(scope, statement, f"{scope.text(call.func.value)} is never closed")


def missing_lock(scope: Scope) -> Found:
    """A lock that is no longer taken."""
    for node in scope.of(ast.With):
        item = node.items[0]
        if len(node.items) == 1 and item.optional_vars is None and _LOCK.search(called_name(item.context_expr)):
            lock = scope.text(item.context_expr)
            yield from _unwrapped(scope, node, "", f"shared state is touched without holding {lock}")


def _unwrapped(scope: Scope, node: ast.With, opening: str, description: str) -> Found:
    """The body of a `with` in its place, one level out, after the line `opening` (none if empty)."""
    source = scope.source
    start, end = scope.span(node)
    first, last = source.line_at(start), source.line_at(end - 1)
    inside = source.line_at(scope.span(node.body[0])[0])
    if not source.alone(start, end) or inside == node.items[0].context_expr.end_lineno or last - inside >= _MOST_LINES:
        return
    if any(
        part.lineno != part.end_lineno
        for statement in node.body
        for part in ast.walk(statement)
        if isinstance(part, ast.Constant | ast.JoinedStr)
    ):
        return
    outer, inner = source.indent(first), source.indent(inside)
    lines = [source.line(number) for number in range(inside, last + 1)]
    # Comment lines between the `with` and its first statement go with the header.
    if not inner.startswith(outer) or not all(line.startswith(inner) or not line.strip() for line in lines):
        return
    moved = [outer + line[len(inner) :] if line.strip() else line for line in lines]
    text = "\n".join([outer + opening, *moved] if opening else moved)
    yield (Edit(source.starts[first - 1], end, text),), description


def swallowed_exception(scope: Scope) -> Found:
    """An exception handler that no longer raises, returns or reports."""
    for handler in scope.of(ast.ExceptHandler):
        body = handler.body
        start, end = scope.span(body[0])[0], scope.span(body[-1])[1]
        lines = scope.source.line_at(end) - scope.source.line_at(start)
        speaks = any(
            isinstance(part, ast.Raise | ast.Call | ast.Return) for statement in body for part in ast.walk(statement)
        )
        kind = scope.text(handler.type) if handler.type else "every exception"
        quiet = re.search(r"StopIteration|ImportError|ModuleNotFound|KeyboardInterrupt|GeneratorExit", kind)
        if speaks and not quiet and lines <= 4 and scope.source.alone(start, end):
            yield (Edit(start, end, "pass"),), f"{' '.join(kind.split())} is swallowed: nobody learns of the failure"


def wrong_jump(scope: Scope) -> Found:
    """`continue` for `break`, and back."""
    for node in scope.of(ast.Break):
        yield (scope.replaced(node, "continue"),), "goes on with the loop where it must end"
    for other in scope.of(ast.Continue):
        yield (scope.replaced(other, "break"),), "ends the loop where only this step must be skipped"


def separate_if(scope: Scope) -> Found:
    """`if` for `elif`: the `else` branch runs as well."""
    for node in scope.of(ast.If):
        start = scope.span(node)[0]
        parent = scope.parents.get(node)
        if scope.source.data[start : start + 4] == b"elif" and isinstance(parent, ast.If):
            falls_to_else = bool(node.orelse) and not leaves(parent.body[-1])
            if falls_to_else:
                yield (Edit(start, start + 4, "if"),), "`elif` is meant: after the branch above, this `else` runs too"


def lost_update(scope: Scope) -> Found:
    """`x = y` for `x += y`, and a result that is computed and dropped."""
    for node in scope.of(ast.AugAssign):
        place = scope.between(node.target, node.value, r"[-+*/|&^]=")
        if place:
            operator = scope.source.slice(*place)
            yield (Edit(*place, "="),), f"overwrites the value: `{operator}` is meant"
    for assign in scope.of(ast.Assign):
        call = assign.value
        if len(assign.targets) != 1 or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr in _UNCHANGED_SELF and ast.unparse(call.func.value) == ast.unparse(assign.targets[0]):
            yield (Edit(scope.span(assign)[0], scope.span(call)[0], ""),), "the result of the call is dropped"


def missing_self(scope: Scope) -> Found:
    """A local name set where the object's attribute is meant."""
    locals_ = {name.id for name in scope.of(ast.Name)} | {argument.arg for argument in scope.of(ast.arg)}
    for node in scope.of(ast.Assign):
        target = node.targets[0]
        if len(node.targets) != 1 or not isinstance(target, ast.Attribute) or target.attr in locals_:
            continue
        if ast.unparse(target.value) == "self":
            yield (scope.replaced(target, target.attr),), f"sets a local name: self.{target.attr} is meant"


def missing_super(scope: Scope) -> Found:
    """The initialiser of the base class is not called."""
    for statement in scope.of(ast.Expr):
        text = scope.text(statement)
        if text.startswith("super().__") or re.match(r"super\(\)\.(setUp|tearDown|save|close|reset)\(", text):
            yield from _removed(scope, statement, "the method of the base class is not called")
