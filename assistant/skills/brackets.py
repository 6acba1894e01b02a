"""Brackets of a text, those in strings and comments left out: read without a grammar, for code that is not finished."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from assistant.languages import Language

CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
_CHARACTER_LITERALS = frozenset(
    {"go", "rust", "java", "kotlin", "scala", "c", "cpp", "csharp", "haskell", "zig", "julia"}
)
"""Languages in which single quotes are around one character (in Rust also before a lifetime)."""
_PREFIX_CHARACTERS = 4_000
_SUFFIX_LINES = 60
_CODE_LINE = re.compile(
    r"^(?:@\w|(?:async |export |pub |public |static )*(?:def|class|func|fn|function|struct|import|from|use) )",
    re.M,
)


@dataclass(frozen=True)
class Bracket:
    at: int
    character: str


@dataclass(frozen=True)
class Open:
    """Brackets that a completion may close."""

    closers: tuple[str, ...]
    """What closes them, the innermost first."""
    quote: str
    """The string in which the cursor stands; empty when it stands in none."""
    whole: bool
    """False: the file begins farther up, and more may be open there."""


class Reader:
    """Reads a text from its beginning.

    Args:
        quote: of the string in which the text begins.
    """

    def __init__(self, text: str, language: Language | None, quote: str = "") -> None:
        self.quote = quote
        """After the last bracket was taken: the string in which the text ends."""
        self._text = text
        self._language = language

    def __iter__(self) -> Iterator[Bracket]:
        code = _code(self._language)
        text, at = self._text, 0
        while True:
            match = _string_end(self.quote).search(text, at) if self.quote else code.search(text, at)
            if match is None:
                return
            at = match.end()
            if self.quote:
                if not match[0].startswith("\\"):
                    self.quote = ""
            elif match["bracket"]:
                yield Bracket(match.start(), match["bracket"])
            elif match["comment"]:
                end = text.find("\n", at)
                at = len(text) if end < 0 else end
            elif match["quote"]:
                self.quote = match["quote"]


def available(prefix: str, suffix: str, language: Language | None) -> Open:
    """What is open at the cursor and not closed behind it.

    A bracket behind the cursor closes the innermost open one of its kind; one that stands first on its line closes, if
    there is one, that whose line is indented the same.
    """
    start = _beginning(prefix)
    before = Reader(prefix[start:], language)
    opened: list[Bracket] = []
    for bracket in before:
        if bracket.character in CLOSER_OF:
            opened.append(bracket)
        elif opened and CLOSER_OF[opened[-1].character] == bracket.character:
            opened.pop()
    kinds = {closer: [one for one in opened if CLOSER_OF[one.character] == closer] for closer in CLOSER_OF.values()}
    window = prefix[start:]
    after = "\n".join(suffix[: _SUFFIX_LINES * 200].split("\n")[:_SUFFIX_LINES])
    behind: list[Bracket] = []
    for bracket in Reader(after, language, before.quote):
        if bracket.character in CLOSER_OF:
            behind.append(bracket)
        elif behind and CLOSER_OF[behind[-1].character] == bracket.character:
            behind.pop()
        else:
            _take(kinds[bracket.character], bracket, window, after)
    left = sorted((one for kind in kinds.values() for one in kind), key=lambda one: one.at, reverse=True)
    return Open(tuple(CLOSER_OF[one.character] for one in left), before.quote, start == 0)


def quote_after(text: str, language: Language | None, quote: str) -> str:
    """The string in which a text ends that begins in the string `quote`; empty when it ends in none."""
    read = Reader(text, language, quote)
    for _ in read:
        pass
    return read.quote


def ends_in_comment(line: str, language: Language) -> bool:
    """Whether the line's end stands in a comment that begins in this line, outside of strings."""
    code, at, quote = _code(language), 0, ""
    while True:
        match = _string_end(quote).search(line, at) if quote else code.search(line, at)
        if match is None:
            return False
        at = match.end()
        if quote:
            quote = quote if match[0].startswith("\\") else ""
        elif match["comment"]:
            return True
        elif match["quote"]:
            quote = match["quote"]
        elif match[0].startswith(("/*", "<!--")) and not (len(match[0]) > 3 and match[0].endswith(("*/", "-->"))):
            return True


def unmatched(text: str, language: Language | None, around: Open, settled: int) -> int | None:
    """Where the first bracket stands that closes nothing, in the text or around it.

    Args:
        settled: characters of the text of which it is certain how they are read: what may still follow can make a quote
            three.
    """
    inside: list[str] = []
    outside = list(around.closers)
    for bracket in Reader(text, language, around.quote):
        if bracket.at >= settled:
            return None
        if bracket.character in CLOSER_OF:
            inside.append(CLOSER_OF[bracket.character])
        elif inside:
            if inside.pop() != bracket.character:
                return bracket.at
        elif outside and outside[0] == bracket.character:
            outside.pop(0)
        elif outside or around.whole:
            return bracket.at
    return None


def _beginning(prefix: str) -> int:
    """A place not too far up from which to read, outside of strings as far as can be told."""
    if len(prefix) <= _PREFIX_CHARACTERS:
        return 0
    near = len(prefix) - _PREFIX_CHARACTERS
    # Where no line begins so near, the cursor's own is not read whole.
    start = prefix.find("\n", near) + 1 or near
    found = _CODE_LINE.search(prefix, start, len(prefix) - _PREFIX_CHARACTERS // 2)
    return found.start() if found else start


def _take(kind: list[Bracket], closer: Bracket, window: str, after: str) -> None:
    """Removes what a bracket behind the cursor closes.

    Args:
        kind: what is open of its kind, the innermost last.
    """
    if not kind:
        return
    begins = after.rfind("\n", 0, closer.at) + 1
    line = after[begins : closer.at]
    number = len(kind) - 1
    if begins > 0 and not line.strip():
        level = (number for number in range(len(kind) - 1, -1, -1) if _indent(window, kind[number].at) == line)
        number = next(level, number)
    del kind[number]


def _indent(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at + 1]
    return line[: len(line) - len(line.lstrip())]


@cache
def _code(language: Language | None) -> re.Pattern[str]:
    """What matters outside of strings."""
    quotes = ['"""', "'''", '"', "`"]
    skipped = r"\\[^\n]"
    name = language.name if language else ""
    if name in _CHARACTER_LITERALS:
        skipped += r"|'(?:\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]+\}|[^\n])|[^'\\\n])'"
        quotes.remove("'''")
    else:
        quotes.append("'")
    comment = re.escape(language.comment) if language else "(?!)"
    if name == "shell":
        # A # in the middle of a word is no comment (`$#`, `${x#y}`).
        comment = r"(?<![^\s])#"
    if language and language.comment in ("//", "/*"):
        skipped += r"|/\*[\s\S]*?(?:\*/|\Z)"
    if language and language.comment == "<!--":
        skipped += r"|<!--[\s\S]*?(?:-->|\Z)"
    if language and language.comment_end:
        comment = "(?!)"
    return re.compile(rf"{skipped}|(?P<quote>{'|'.join(quotes)})|(?P<comment>{comment})|(?P<bracket>[()\[\]{{}}])")


@cache
def _string_end(quote: str) -> re.Pattern[str]:
    # A string of one line ends with it, closed or not.
    return re.compile(rf"\\[\s\S]|{quote}" + ("" if len(quote) == 3 or quote == "`" else r"|\n"))
