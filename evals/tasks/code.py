"""The program in an answer: a prompt continued and cut where its function ends, or the code that a chat answer shows.

What is cut here does not depend on the stop strings that a server was given, nor on whether it obeyed them.
"""

import ast
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

END_TOKENS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|EOT|>",
    "<|file_sep|>",
    "<file_sep>",
    "<|fim_pad|>",
    "<fim_pad>",
    "<|cursor|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "<EOT>",
)
"""Control tokens that some servers send as text. No Python program of a benchmark spells one."""
FINAL_TOKENS = ("</s>", "<eos>")
"""Control tokens that code may spell: dropped at the very end only."""

_MARKERS = re.compile("|".join(map(re.escape, END_TOKENS)))
_CUT_MARKER = re.compile(r"<[|｜][\w▁|｜]*\Z")
"""An end token that the token limit cut in two."""
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)")
_CODE_LINE = re.compile(r"(?:async )?def \w+\(|class \w+[^\n]*:|@\w|import \w[\w., ]*(?:\n|\Z)|from \w[\w.]* import ")
"""Prose may begin with `from` or `import` too."""
_PYTHON = frozenset({"", "python", "python3", "py", "python2", "ipython", "code"})

# The warnings' filters belong to the whole process.
_parsing = threading.Lock()


@dataclass(frozen=True)
class Extracted:
    code: str
    """Ends where the function does, as far as that can be told."""
    ended: bool
    """Something followed the code, so that no token limit cut it."""


@dataclass(frozen=True)
class Block:
    """A fenced block of Markdown."""

    language: str
    """Lower case, empty when the fence names none."""
    text: str
    closed: bool


def clean(text: str) -> str:
    r"""Without end tokens, what follows the first of them, and `\r`."""
    text = text.replace("\r\n", "\n")
    found = _MARKERS.search(text)
    if found:
        return text[: found.start()]
    text = _CUT_MARKER.sub("", text)
    for token in FINAL_TOKENS:
        if text.rstrip().endswith(token):
            text = text.rstrip().removesuffix(token)
    return text


def continuation(prompt: str, text: str, entry_point: str, ends: Sequence[str] | None = None) -> Extracted:
    """The program that a prompt and its continuation make, cut by `cut`.

    Args:
        prompt: Python source that ends at a line start; may hold the function's head. Where nothing continues it
            there is no code.
        ends: see `cut`.
    """
    text = clean(text)
    if text.lstrip().startswith(("```", "~~~")):
        return conversation(prompt, text, entry_point)
    kept, ended = cut(prompt, text, entry_point, ends)
    return Extracted(prompt + kept if kept.strip() else "", ended)


def cut(prompt: str, text: str, entry_point: str, ends: Sequence[str] | None = None) -> tuple[str, bool]:
    """A continuation up to where the program ends, and whether something followed there.

    It is cut before the first line at the left margin with which the function under test is complete. So a bracket
    or a multi-line string that reaches the margin does not end it.

    Args:
        ends: beginnings of the lines to cut before; None: any code at the margin. Where none of them ends the program
            and the whole does not parse, it is cut at the last place where it does.
    """
    last = None
    for position in _margins(text):
        if not text[:position].strip() or not is_complete(prompt + text[:position], entry_point):
            continue
        if ends is None or text.startswith(tuple(ends), position):
            return text[:position], True
        last = position
    if last is not None and _tree(prompt + text) is None:
        return text[:last], True
    return text, False


def conversation(prompt: str, text: str, entry_point: str) -> Extracted:
    """The program that a chat answer shows.

    The first Python block that defines the function; else a block that is the body of the prompt's function; else,
    without any block, the first run of code lines. Top-level statements that try the function out (prints, asserts,
    calls, a main guard) are left out: they are no part of the solution, and reading input or a wrong assertion of the
    model's own would end the program. The code is empty when the answer shows none.

    Args:
        prompt: the source that the model was asked to complete; empty when there was none.
    """
    text = _THOUGHT.sub("", clean(text))
    text = text.rpartition("</think>")[2]
    found = blocks(text)
    if not found:
        return _unfenced(text, entry_point)
    usable = [block for block in found if block.language in _PYTHON] or found
    for block in usable:
        kept, ended = cut("", block.text, entry_point, ends=())
        if is_complete(kept, entry_point):
            return Extracted(without_trials(kept, entry_point), ended or block.closed)
    for block in usable:
        body = _as_body(prompt, block.text, entry_point)
        if body is not None:
            return Extracted(body, block.closed)
    shown = next((block for block in usable if _tree(block.text) is not None), usable[0])
    return Extracted(shown.text, shown.closed)


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text in order; one that is never closed reaches to the end."""
    found: list[Block] = []
    opened: tuple[str, str, str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence:
                words = fence[3].lower().split()
                opened, lines = (fence[1], fence[2], words[0].strip("{}.") if words else ""), []
            continue
        indent, mark, language = opened
        if fence and not fence[3].strip() and fence[2].startswith(mark):
            found.append(Block(language, "".join(lines), True))
            opened = None
        elif line.rstrip().endswith(mark) and not fence:
            # Small models close a block on the last line of its code.
            lines.append(line.rstrip().removesuffix(mark).removeprefix(indent) + "\n")
            found.append(Block(language, "".join(lines), True))
            opened = None
        else:
            lines.append(line.removeprefix(indent) + "\n")
    if opened is not None:
        found.append(Block(opened[2], "".join(lines), False))
    return found


def without_trials(code: str, entry_point: str) -> str:
    """The program without the top-level statements that try the function out."""
    tree = _tree(code)
    if tree is None:
        return code
    lines = code.split("\n")
    used = [number for node in tree.body for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)]
    for node in reversed(tree.body):
        own = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        if _is_trial(node, entry_point) and all(used.count(number) == 1 for number in own):
            del lines[own.start - 1 : own.stop - 1]
    return "\n".join(lines)


def is_complete(source: str, entry_point: str) -> bool:
    """It parses and defines the function, with more in its body than a docstring."""
    tree = _tree(source)
    definition = next((node for node in reversed(tree.body) if entry_point in _bound(node)), None) if tree else None
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        first = definition.body[0]
        is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        return len(definition.body) > 1 or not is_docstring
    return definition is not None


def surroundings(source: str, entry_point: str) -> str:
    """The top-level statements of a source without the function under test: imports and helpers, for the tests to use.

    Raises:
        ValueError: the source does not parse.
    """
    tree = _tree(source)
    if tree is None:
        raise ValueError("the source of a task does not parse")
    kept: list[ast.stmt] = [node for node in tree.body if entry_point not in _bound(node)]
    return "".join(ast.unparse(node) + "\n" for node in kept)


def _unfenced(text: str, entry_point: str) -> Extracted:
    starts = [position for position in _margins(text) if _CODE_LINE.match(text, position)]
    for start in starts:
        kept, ended = cut("", text[start:], entry_point)
        if is_complete(kept, entry_point):
            return Extracted(kept, ended)
    return Extracted(text[starts[0] :] if starts else "", False)


def _as_body(prompt: str, block: str, entry_point: str) -> str | None:
    if not prompt or not re.search(r"\b(?:return|yield)\b", block) or re.search(r"^(?:def|class|async) ", block, re.M):
        return None
    tries = (textwrap.indent(textwrap.dedent(block), "    "), "    " + block.lstrip())
    return next((prompt + body for body in tries if is_complete(prompt + body, entry_point)), None)


def _margins(text: str) -> Iterator[int]:
    """Where the lines begin that have code at the left margin, and the comments right above such lines."""
    position, comment = 0, None
    for line in text.split("\n"):
        if line.startswith("#"):
            comment = position if comment is None else comment
        elif line.strip():
            if not line[0].isspace():
                yield position if comment is None else comment
            comment = None
        position += len(line) + 1
    if comment is not None:
        yield comment


def _tree(source: str) -> ast.Module | None:
    try:
        with _parsing, warnings.catch_warnings():
            # Of an invalid escape in the answer, which is none of ours.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def _is_trial(node: ast.stmt, entry_point: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return False
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return isinstance(called, ast.Name) or ast.unparse(called) in ("unittest.main", "doctest.testmod")
    if entry_point in _bound(node):
        return False
    calls = [n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return any(name in (entry_point, "print", "input") for name in calls)
