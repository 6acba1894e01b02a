"""Python functions of held-out files whose body a model can be asked for, and what of an answer is the body."""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from evals.tasks import levels
from evals.tasks.heldout import HeldOutFile

EMPTY = "pass"


@dataclass(frozen=True)
class Function:
    path: str
    name: str
    """With its class: `Box.area`."""
    line: int
    """From 1: where the body begins, after the docstring."""
    last_line: int
    prefix: str
    """The file up to the body, the indentation of its first line included."""
    body: str
    suffix: str

    @property
    def id(self) -> str:
        return f"{self.path}:{self.line} {self.name}"

    def file_with(self, body: str) -> str:
        return self.prefix + body + self.suffix


@dataclass(frozen=True)
class Body:
    text: str
    parses: bool
    """The file with this body is valid Python."""


def functions_of(file: HeldOutFile) -> list[Function]:
    """The functions with a body that `levels` would ask for; none when the file does not parse."""
    tree = _parsed(file.text)
    if tree is None or not file.path.endswith(".py"):
        return []
    names = dict(_names(tree, ""))
    found = []
    for span in levels.eligible_spans(file.path, file.text, "body"):
        at = levels.place(file.path, file.text, span, "body")
        name = names.get(at.line)
        if name is not None:
            last = at.line + at.expected.count("\n")
            found.append(Function(file.path, name, at.line, last, at.prefix, at.expected, at.suffix))
    return found


def cut_body(function: Function, answer: str) -> Body | None:
    """The function's body at the beginning of an answer; None when there is no code in it.

    The body ends before a line that is indented less, the first such one at which the file is valid Python (so text in
    a string and an open bracket do not end it), else the first one.
    """
    text = answer.replace("\r\n", "\n").lstrip()
    indent = function.prefix[function.prefix.rfind("\n") + 1 :]
    lines = text.split("\n")
    ends = [number for number, line in enumerate(lines) if number and line.strip() and not line.startswith(indent)]
    tries = ["\n".join(lines[:end]).rstrip() for end in [*ends, len(lines)]]
    if not tries[0]:
        return None
    for body in tries:
        if _parsed(function.file_with(body)) is not None:
            return Body(body, True)
    return Body(tries[0], False)


def _names(node: ast.AST, scope: str) -> Iterator[tuple[int, str]]:
    """(first line of the body after the docstring, qualified name) of functions and methods."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _names(child, f"{scope}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            body = child.body[1:] if ast.get_docstring(child, clean=False) is not None else child.body
            if body:
                first = body[0]
                decorators = getattr(first, "decorator_list", [])
                yield min([first.lineno, *(decorator.lineno for decorator in decorators)]), f"{scope}{child.name}"
        else:
            yield from _names(child, scope)


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            # Of an invalid escape in the code, which is none of ours.
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
