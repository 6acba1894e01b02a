"""Which files are source code, and what a line comment looks like in each language."""

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Language:
    name: str
    comment: str
    """Opens a line comment."""
    comment_end: str = ""
    """Closes it, for languages that have only block comments."""


_BY_SUFFIX: dict[str, Language] = {}


def _add(name: str, comment: str, suffixes: str, comment_end: str = "") -> None:
    for suffix in suffixes.split():
        _BY_SUFFIX[suffix] = Language(name, comment, comment_end)


_add("python", "#", ".py .pyi")
_add("javascript", "//", ".js .mjs .cjs .jsx")
_add("typescript", "//", ".ts .tsx .mts .cts")
_add("go", "//", ".go")
_add("rust", "//", ".rs")
_add("java", "//", ".java")
_add("kotlin", "//", ".kt .kts")
_add("scala", "//", ".scala")
_add("c", "//", ".c .h")
_add("cpp", "//", ".cc .cpp .cxx .hh .hpp .hxx")
_add("csharp", "//", ".cs")
_add("swift", "//", ".swift")
_add("php", "//", ".php")
_add("ruby", "#", ".rb")
_add("perl", "#", ".pl .pm")
_add("lua", "--", ".lua")
_add("elixir", "#", ".ex .exs")
_add("haskell", "--", ".hs")
_add("r", "#", ".r .R")
_add("julia", "#", ".jl")
_add("shell", "#", ".sh .bash .zsh")
_add("sql", "--", ".sql")
_add("css", "/*", ".css .scss", " */")
_add("html", "<!--", ".html", " -->")
_add("zig", "//", ".zig")
_add("dart", "//", ".dart")


def language_of(path: str) -> Language | None:
    """The language of a repository path by its ending, None when it is not source code."""
    return _BY_SUFFIX.get(PurePosixPath(path).suffix)


def named(name: str) -> Language | None:
    """The language of that name, as editors spell it; None when it is not known."""
    return next((language for language in _BY_SUFFIX.values() if language.name == name), None)


def names() -> frozenset[str]:
    """The names of all known languages."""
    return frozenset(language.name for language in _BY_SUFFIX.values())


def ending(name: str) -> str | None:
    """The usual ending of a language's files; None for a language that is not known."""
    return next((suffix for suffix, language in _BY_SUFFIX.items() if language.name == name), None)
