"""Syntax trees of source texts, by tree-sitter's official grammars."""

import functools
from dataclasses import dataclass
from typing import Any

_C, _CPP = ("tree_sitter_c", "language"), ("tree_sitter_cpp", "language")
GRAMMARS = {
    "python": (("tree_sitter_python", "language"),),
    "javascript": (("tree_sitter_javascript", "language"),),
    "typescript": (
        ("tree_sitter_typescript", "language_typescript"),
        ("tree_sitter_typescript", "language_tsx"),
    ),
    "go": (("tree_sitter_go", "language"),),
    "rust": (("tree_sitter_rust", "language"),),
    "java": (("tree_sitter_java", "language"),),
    "c": (_C, _CPP),
    "cpp": (_CPP,),
}
"""The grammars to try (wheel and function), by the language's name in `assistant.languages`: a `.ts` file may hold JSX,
a `.h` file C++."""


@dataclass(frozen=True)
class Syntax:
    """A document's syntax tree. The parser counts UTF-8 bytes; everything here takes and gives characters."""

    text: str
    data: bytes
    root: Any
    grammar: tuple[str, str]
    """Of `GRAMMARS`: the one that read it."""

    def at(self, byte: int) -> int:
        """The character position of a byte position."""
        return byte if len(self.data) == len(self.text) else len(self.data[:byte].decode("utf-8", "ignore"))

    def byte(self, character: int) -> int:
        return character if len(self.data) == len(self.text) else len(self.text[:character].encode())


def parse(text: str, language: str) -> Syntax | None:
    """The syntax tree of a document, None where there is no grammar for its language.

    A document with syntax errors has a tree too; `root.has_error` tells.
    """
    data = text.encode()
    first = None
    for grammar in GRAMMARS.get(language, ()):
        root = _parser(*grammar).parse(data).root_node
        found = Syntax(text, data, root, grammar)
        if not root.has_error:
            return found
        first = first or found
    return first


@functools.cache
def grammar_of(module: str, function: str) -> Any:
    """A tree-sitter language, for queries."""
    import importlib

    import tree_sitter

    return tree_sitter.Language(getattr(importlib.import_module(module), function)())


@functools.cache
def _parser(module: str, function: str) -> Any:
    import tree_sitter

    return tree_sitter.Parser(grammar_of(module, function))
