"""Patterns of gitignore files, with git's meaning (`gitignore(5)`, wildmatch.c).

A pattern is matched against one path, and the caller goes down from the root: that is how git does it, and what makes
`build/` hold inside a folder that a later `!packages` takes back. The `pathspec` package matches a pattern against
everything below as well, and answers differently there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_FOLDERS_KEPT = 10_000
_CLASSES = {
    "alnum": "A-Za-z0-9",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-\\/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_BRACKET = re.compile(r"\[(?P<not>[!^]?)(?P<inside>\]?(?:\[:\w+:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_BRACKET_PART = re.compile(r"\[:(?P<name>\w+):\]|\\(?P<escaped>.)|(?P<plain>.)", re.DOTALL)


@dataclass(frozen=True)
class Pattern:
    regex: re.Pattern[str]
    negated: bool
    folders_only: bool
    anywhere: bool
    """It has no slash, so it is matched against the last part of a path."""

    def matches(self, path: str, is_folder: bool) -> bool:
        """Whether it matches this very path, from the pattern's folder; not whether it matches a folder above."""
        if self.folders_only and not is_folder:
            return False
        return self.regex.fullmatch(path.rpartition("/")[2] if self.anywhere else path) is not None

    def covers(self, path: str) -> bool:
        """Whether it matches a file or a folder above it."""
        parts = path.split("/")
        return self.matches(path, False) or any(
            self.matches("/".join(parts[:count]), True) for count in range(1, len(parts))
        )


def parse(line: str) -> Pattern | None:
    """One line of a gitignore file; None for an empty line, a comment and a pattern that can never match."""
    line = line.removesuffix("\r")
    stripped = line.rstrip(" ")
    # A blank after a backslash is part of the pattern.
    if (len(stripped) - len(stripped.rstrip("\\"))) % 2 and len(line) > len(stripped):
        stripped += " "
    if not stripped or stripped.startswith("#"):
        return None
    negated = stripped.startswith("!")
    text = stripped[1:] if negated else stripped
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    anywhere = "/" not in text
    source = _regex(text.removeprefix("/"), anywhere)
    if source is None or not text:
        return None
    return Pattern(re.compile(source, re.DOTALL), negated, folders_only, anywhere)


def parse_file(text: str) -> tuple[Pattern, ...]:
    patterns = map(parse, text.removeprefix("\ufeff").split("\n"))
    return tuple(pattern for pattern in patterns if pattern is not None)


class IgnoreRules:
    """The gitignore files of a tree: deeper ones and later lines win; nothing below an ignored folder is taken back."""

    def __init__(self, name: str, read: Callable[[str], str | None]) -> None:
        """`read` gives the text of a path, None where there is none."""
        self._name = name
        self._read = read
        self._rules = lru_cache(_FOLDERS_KEPT)(self._rules_in)
        self._folder = lru_cache(_FOLDERS_KEPT)(self._folder_ignored_by)

    def ignored_by(self, path: str, is_folder: bool = False) -> str | None:
        """The ignore file that leaves out `path` or a folder above it; None where none does."""
        parent = path.rpartition("/")[0]
        return (self._folder(parent) if parent else None) or self._decided(path, is_folder)

    def _folder_ignored_by(self, folder: str) -> str | None:
        return self.ignored_by(folder, is_folder=True)

    def _decided(self, path: str, is_folder: bool) -> str | None:
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            below = path[len(folder) + 1 :] if folder else path
            for pattern in reversed(self._rules(folder)):
                if pattern.matches(below, is_folder):
                    return None if pattern.negated else _join(folder, self._name)
        return None

    def _rules_in(self, folder: str) -> tuple[Pattern, ...]:
        return parse_file(self._read(_join(folder, self._name)) or "")


def _regex(text: str, anywhere: bool) -> str | None:
    """None where git's matcher gives up: an open bracket, a backslash at the end."""
    found = ""
    at = 0
    # Git compares the plain beginning on its own, so for its matcher the pattern begins after it: `a**/b` matches `ab`.
    begin = next((index for index, character in enumerate(text) if character in "*?[\\"), 0)
    while at < len(text):
        character = text[at]
        stars = len(text) - at - len(text[at:].lstrip("*"))
        if stars:
            after = text[at + stars : at + stars + 1]
            if stars > 1 and not anywhere and (at == begin or text[at - 1] == "/") and after in ("", "/"):
                found += "(?:.*/)?" if after else ".*"
                at += stars + len(after)
            else:
                found += "[^/]*"
                at += stars
        elif character == "?":
            found += "[^/]"
            at += 1
        elif character == "[":
            bracket = _BRACKET.match(text, at)
            if bracket is None:
                return None
            found += _bracket(bracket["not"], bracket["inside"])
            at = bracket.end()
        elif character == "\\":
            if at + 1 == len(text):
                return None
            found += re.escape(text[at + 1])
            at += 2
        else:
            found += re.escape(character)
            at += 1
    return found


def _bracket(negation: str, inside: str) -> str:
    parts = [
        _CLASSES.get(part["name"], "") if part["name"] else (part["escaped"] or part["plain"])
        for part in _BRACKET_PART.finditer(inside)
    ]
    members = []
    index = 0
    while index < len(parts):
        if len(parts[index]) > 1:
            members.append(parts[index])
            index += 1
        elif index + 2 < len(parts) and parts[index + 1] == "-" and len(parts[index + 2]) == 1:
            if parts[index] <= parts[index + 2]:
                members.append(f"{re.escape(parts[index])}-{re.escape(parts[index + 2])}")
            index += 3
        else:
            members.append(re.escape(parts[index]) if parts[index] else "")
            index += 1
    joined = "".join(members)
    if negation:
        return f"(?!/)[^{joined}]" if joined else "[^/]"
    return f"(?!/)[{joined}]" if joined else "(?!)"


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
