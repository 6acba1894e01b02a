"""Documented functions of a source file: name, signature, documentation and code."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assistant.syntax import Syntax, parse


@dataclass(frozen=True)
class Function:
    name: str
    """With its class where the language writes methods inside one: `Box.area`."""
    signature: str
    documentation: str
    """Without comment marks."""
    code: str
    """Without the indentation that the whole of it shares, ends with a newline. Python's holds its docstring."""
    bare: str
    """The code without its documentation."""


def find(text: str, language: str) -> list[Function]:
    """The functions of a file with documentation, in order; none of those inside other functions.

    Python's by `ast` (none when the file does not parse); other languages' by tree-sitter, from the comment directly
    above a function; no grammar, none.
    """
    if language == "python":
        return list(_python(text))
    syntax = parse(text, language)
    return list(_commented(syntax)) if syntax is not None else []


def _python(text: str) -> Iterator[Function]:
    if "\r" in text:
        # A line end for Python, but not here: the lines would be others.
        return
    try:
        with warnings.catch_warnings():
            # Of an invalid escape in the file, which is none of ours.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = text.split("\n")
    pending: list[tuple[str, ast.stmt]] = [("", node) for node in reversed(tree.body)]
    while pending:
        scope, node = pending.pop()
        if isinstance(node, ast.ClassDef):
            pending += [(f"{scope}{node.name}.", inner) for inner in reversed(node.body)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = _python_function(scope, node, lines)
            if found is not None:
                yield found


def _python_function(scope: str, node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> Function | None:
    documentation = ast.get_docstring(node)
    body = node.body[1:]
    if not documentation or not any(_does_something(statement) for statement in body):
        return None
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    assert node.end_lineno is not None
    docstring = node.body[0]
    assert docstring.end_lineno is not None
    alone = not lines[docstring.lineno - 1][: docstring.col_offset].strip() and body[0].lineno > docstring.end_lineno
    if not alone:
        return None
    whole = _unindented(lines[first - 1 : node.end_lineno])
    bare = _unindented(lines[first - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno])
    if whole is None or bare is None:
        return None
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = f"{word} {node.name}({ast.unparse(node.args)}){returns}"
    return Function(f"{scope}{node.name}", signature, documentation, whole, bare)


def _does_something(statement: ast.stmt) -> bool:
    """Not a stub's only line: `pass`, `...`, or the raising of NotImplementedError."""
    if isinstance(statement, ast.Pass):
        return False
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return False
    return not (isinstance(statement, ast.Raise) and "NotImplemented" in ast.unparse(statement))


_FUNCTIONS = {
    "function_declaration",
    "generator_function_declaration",
    "method_definition",
    "method_declaration",
    "constructor_declaration",
    "function_item",
    "function_definition",
}
_WRAPPERS = {"export_statement", "template_declaration"}
_COMMENTS = {"comment", "line_comment", "block_comment"}
_BETWEEN = {"attribute_item"}
"""What may stand between a comment and its function (Rust's attributes)."""
_SCOPES = {
    "class_declaration",
    "class_specifier",
    "struct_specifier",
    "interface_declaration",
    "impl_item",
    "enum_declaration",
}


def _commented(syntax: Syntax) -> Iterator[Function]:
    pending: list[tuple[str, Any]] = [("", syntax.root)]
    while pending:
        scope, parent = pending.pop()
        comments: list[Any] = []
        inside = []
        for node in parent.named_children:
            if node.type in _COMMENTS:
                if comments and node.start_point.row > _end_row(comments[-1]) + 1:
                    comments = []
                comments.append(node)
                continue
            if node.type in _BETWEEN and comments:
                comments.append(node)
                continue
            function = node
            while function.type in _WRAPPERS:
                function = next(
                    (child for child in function.named_children if child.type in _FUNCTIONS | _WRAPPERS | _SCOPES), None
                )
                if function is None:
                    break
            if function is not None and function.type in _FUNCTIONS:
                if comments and not node.has_error and node.start_point.row <= _end_row(comments[-1]) + 1:
                    found = _commented_function(syntax, scope, comments, node, function)
                    if found is not None:
                        yield found
            elif function is not None and function.named_child_count:
                name = _name(function) if function.type in _SCOPES else None
                inside.append((f"{scope}{name}." if name else scope, function))
            comments = []
        pending += reversed(inside)


def _commented_function(syntax: Syntax, scope: str, comments: list[Any], node: Any, function: Any) -> Function | None:
    body = function.child_by_field_name("body")
    name = _name(function)
    if body is None or name is None or not body.named_child_count:
        return None
    documentation = _uncommented("\n".join(_text(comment) for comment in comments if comment.type in _COMMENTS))
    signature = " ".join(syntax.data[node.start_byte : body.start_byte].decode().split()).removesuffix("{").rstrip()
    start = syntax.data.rfind(b"\n", 0, node.start_byte) + 1
    code = _unindented(syntax.data[start : node.end_byte].decode().split("\n"))
    if code is None:
        return None
    return Function(f"{scope}{name}", signature, documentation, code, code)


def _name(node: Any) -> str | None:
    """Of C and C++ functions, the innermost declarator's."""
    named = node.child_by_field_name("name") or node.child_by_field_name("type")
    declarator = node.child_by_field_name("declarator")
    while declarator is not None:
        named, declarator = declarator, declarator.child_by_field_name("declarator")
    return _text(named) if named is not None else None


def _text(node: Any) -> str:
    return str(node.text.decode())


def _end_row(node: Any) -> int:
    """Some grammars count the newline as part of a comment."""
    row: int = node.end_point.row
    return row - 1 if node.end_point.column == 0 else row


_MARKS = re.compile(r"^[ \t]*(?:/\*\*?!?|//[/!]*|\*(?!/))[ \t]?|[ \t]*\*/[ \t]*$", re.MULTILINE)


def _uncommented(comment: str) -> str:
    lines = [line.rstrip() for line in _MARKS.sub("", comment).split("\n")]
    return "\n".join(lines).strip()


def _unindented(lines: list[str]) -> str | None:
    """Lines without the first one's indentation; None when a later one (in a string) is indented less."""
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))]
    if any(line.strip() and not line.startswith(indent) for line in lines):
        return None
    return "".join(line[len(indent) :].rstrip() + "\n" if line.strip() else "\n" for line in lines)
