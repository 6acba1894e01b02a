"""Where a bug can be seeded into a Python function: the scope that the operators look at, and the table of them."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tuning.examples.mutate_edit import Edit, Source

Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = TypeVar("Node", bound=ast.AST)

_TALK = re.compile(
    r"^(print|pprint|warn|warn_explicit|debug|info|warning|error|exception|critical|log|write_log|echo|secho|trace|"
    r"format|usage|fail|skip|getLogger|get_logger|gettext|ngettext|_|TypeVar|namedtuple|cast|add_argument|deprecated)$"
)
"""Calls whose arguments are words for people or for a type checker: a bug in them is none."""


@dataclass
class Scope:
    """One outermost function, its nodes by type, and what the operators ask about it.

    Left out of the nodes: annotations, decorators, docstrings, `raise` and `assert` statements, f-strings, calls that
    print or log, and statements that cannot be reached.
    """

    source: Source
    function: Function
    nodes: dict[type[ast.AST], list[ast.AST]] = field(default_factory=lambda: defaultdict(list))
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def of(self, kind: type[Node]) -> list[Node]:
        return self.nodes[kind]  # type: ignore[return-value]

    def span(self, node: ast.AST) -> tuple[int, int]:
        start = self.source.offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        return start, self.source.offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def text(self, node: ast.AST) -> str:
        return self.source.slice(*self.span(node))

    def replaced(self, node: ast.AST, text: str) -> Edit:
        return Edit(*self.span(node), text)

    def between(self, left: ast.AST, right: ast.AST, pattern: str) -> tuple[int, int] | None:
        """The only match of a pattern between two nodes, comments and strings never searched."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = self.source.slice(start, end)
        if "#" in gap:
            return None
        found = list(re.finditer(pattern, gap))
        if len(found) != 1:
            return None
        # What stands between two nodes is ASCII: operators, brackets, commas and blanks.
        return start + found[0].start(), start + found[0].end()

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parents:
            node = self.parents[node]
            yield node

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """The list of statements that a statement stands in."""
        parent = self.parents[statement]
        for name in ("body", "orelse", "finalbody"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and statement in block:
                return block
        return [statement]

    def statement_lines(self, first: ast.stmt, last: ast.stmt | None = None) -> tuple[int, int] | None:
        """The lines of statements that share them with nothing else, the comments right above included."""
        last = last or first
        start, end = self.span(first)[0], self.span(last)[1]
        if not self.source.alone(start, end):
            return None
        top = self.source.line_at(start)
        indent = self.source.indent(top)
        while top > 1 and self.source.line(top - 1).startswith(indent + "#"):
            top -= 1
        return top, self.source.line_at(end - 1)


def scopes(source: Source, tree: ast.Module) -> Iterator[Scope]:
    """The functions of a module that stand in no other function, with their nodes."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop(0)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                if not _is_stub(child):
                    yield scope_of(source, child)
            elif isinstance(child, ast.ClassDef | ast.If | ast.Try | ast.With):
                stack.append(child)


def scope_of(source: Source, function: Function) -> Scope:
    scope = Scope(source, function)
    _collect(scope)
    return scope


def _is_stub(function: Function) -> bool:
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(name.split(".")[-1] in ("overload", "abstractmethod") for name in decorators)


def body_start(function: Function) -> int:
    """The line of the first statement after the docstring."""
    body = function.body
    first = body[1] if len(body) > 1 and _is_docstring(body[0]) else body[0]
    return min([first.lineno, *(decorator.lineno for decorator in getattr(first, "decorator_list", []))])


def called_name(node: ast.AST) -> str:
    """The last name of what is called: `c` for `a.b.c(...)`, empty where it has none."""
    target = node.func if isinstance(node, ast.Call) else node
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def is_talk(call: ast.Call) -> bool:
    """What it is given is words for people or for a type checker."""
    return bool(_TALK.match(called_name(call)))


def leaves(statement: ast.stmt) -> bool:
    """Control never goes on to the next statement."""
    return isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break)


def _collect(scope: Scope) -> None:
    # A stack, since a long chain of `elif` or `+` nests deeper than Python's own stack allows.
    stack: list[ast.AST] = [scope.function]
    while stack:
        node = stack.pop()
        scope.nodes[type(node)].append(node)
        children = list(_children(node))
        for child in children:
            scope.parents[child] = node
        stack += reversed(children)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
        return
    if isinstance(node, ast.Call) and is_talk(node):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "type_comment"):
            continue
        if isinstance(value, ast.expr_context | ast.operator | ast.cmpop | ast.boolop | ast.unaryop):
            continue
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST) and not _is_docstring(item):
                    yield item
                if isinstance(item, ast.stmt) and leaves(item):
                    break


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
