"""Pieces of source files that other files' prompts may show: runs of lines, and top-level definitions."""

import re
from dataclasses import dataclass

CHUNK_LINES = 16
DEFINITION_LINES = 12
MAX_CHUNK_CHARACTERS = 2_000
"""Chunks above it hold minified code or data."""

_WORD = re.compile(r"[^\W\d]\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_DEFINES = re.compile(
    r"(?:(?:export|default|async|pub(?:\([^)]*\))?|public|private|protected|internal|static|final|abstract|virtual|inline|"
    r"unsafe|const|extern|sealed|partial|open|data)[ \t]+)*"
    r"(?:def|class|func|fn|function\*?|interface|struct|enum|trait|type|module|namespace|record|object|const|let|var|val)"
    # Of a Go method the receiver is skipped.
    r"[ \t]+(?:\([^)\n]*\)[ \t]*)?(?P<name>[^\W\d]\w*)"
)
_PYTHON_VALUE = re.compile(r"(?P<name>[^\W\d]\w*)(?:[ \t]*:[^=\n]{1,80})?[ \t]*=(?!=)")
_CLOSERS = (")", "]", "}", "end")


@dataclass(frozen=True)
class Chunk:
    path: str
    line: int
    """The first line of the chunk, from 1."""
    text: str


@dataclass(frozen=True)
class Definition:
    name: str
    line: int
    """From 1."""
    text: str
    """Its first lines."""


def chunks_of(path: str, text: str) -> list[Chunk]:
    """Runs of `CHUNK_LINES` lines that tile a file; blank ones and minified ones are dropped."""
    lines = text.replace("\r\n", "\n").split("\n")
    found = []
    for start in range(0, len(lines), CHUNK_LINES):
        body = "\n".join(lines[start : start + CHUNK_LINES]).strip("\n")
        if body.strip() and len(body) <= MAX_CHUNK_CHARACTERS:
            found.append(Chunk(path, start + 1, body + "\n"))
    return found


def definitions_of(path: str, text: str) -> list[Definition]:
    """Functions, types and values defined at the beginning of a line, which is where those stand that others import.

    Told from line beginnings alone, so that it works in every language that names them so and in code that does not
    parse.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    python = path.endswith((".py", ".pyi"))
    found = []
    for number, line in enumerate(lines):
        if not line or line[0] in " \t#/":
            continue
        match = _DEFINES.match(line) or (_PYTHON_VALUE.match(line) if python else None)
        if match:
            body = _body(lines, number)
            if len(body) <= MAX_CHUNK_CHARACTERS:
                found.append(Definition(match["name"], number + 1, body))
    return found


def words_of(text: str) -> list[str]:
    """Identifiers in lower case, and the parts of those written in snake_case or camelCase."""
    words = []
    for word in _WORD.findall(text):
        words.append(word.lower())
        parts = _PART.findall(word)
        if len(parts) > 1:
            words.extend(part.lower() for part in parts if len(part) > 1)
    return words


def _body(lines: list[str], first: int) -> str:
    """The lines of a definition, `DEFINITION_LINES` at most: those indented deeper, and the line that closes it."""
    end = first + 1
    while end < len(lines) and end - first < DEFINITION_LINES:
        line = lines[end]
        if line.strip() and line[0] not in " \t":
            end += line.startswith(_CLOSERS)
            break
        end += 1
    return "\n".join(lines[first:end]).rstrip() + "\n"
