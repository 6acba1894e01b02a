"""Where a completion must end. Pure functions over the text generated so far; each cuts, none rewrites.

A completion has one of three shapes. `line`: one logical line, that is up to the newline, or further while brackets
opened in it are unclosed (in a comment: up to the newline). `block`: the lines of one block, up to a blank line or a
dedent. `body`: the same without the blank line, for a whole function. `shape_at` chooses between the first two: a block
where one begins (after an opening bracket, a colon or an arrow at the end of the line, or on a blank line that is
indented deeper than the code above), else a line.

Whatever the shape, a completion ends before a bracket that closes nothing, before what already follows the cursor, and
before it repeats itself or the line above, and before the line that would name another file.
"""

import re
from dataclasses import dataclass
from typing import Literal

from assistant import prompts
from assistant.languages import Language
from assistant.skills import brackets

Shape = Literal["line", "block", "body"]
StopReason = Literal["line", "dedent", "blank_line", "suffix", "repetition", "bracket", "next_file"]

MAX_CONTINUATION_LINES = 12
MAX_PERIOD = 4
"""Lines of a piece that is found when it is repeated."""
MIN_REPEATED_LINE = 12
"""Characters of a line that is not written twice in a row."""
MIN_REPEATED_REST = 4
"""Characters of what follows the cursor, from a word's beginning on, that no completion ends with by chance."""
_READ_BEFORE, _READ_AFTER = 8_000, 40_000
"""Characters around the cursor: more than all that is looked at, but for lines of that length."""
_OPENING, _CLOSING = "([{", ")]}"
_BLOCK_START = re.compile(r"(?:[:{(\[]|=>|->|\b(?:do|then|else|begin))\s*$")
_REPEATED_PIECE = re.compile(r"(.{10,}?)\1{3,}$|(.{3,9}?)\2{7,}$")
_CLOSES = re.compile(r"\s*(?:[)\]}]|end\b)")
_SIGNS = re.compile(r"[^\w\s]+")
_BRACKETS = re.compile(r"[()\[\]{}]")
_NAMED = re.compile(r"\S+ ([^\s/]\S*/\S+\.\w+)(?: \S+)?")
_CLOSERS_ONLY = re.compile(r"\s*(?:[)\]};,]+|end\b.*)\s*")


@dataclass(frozen=True)
class Surroundings:
    """What the filters know of the file: built once per completion by `surroundings`."""

    shape: Shape
    rest: str
    """The cursor line after the cursor, without its line end."""
    next_line: str
    """The first non-blank line after the cursor line, stripped; empty at the end of the file."""
    indent: int
    """Columns a block's lines must keep: fewer is a dedent."""
    opened: int
    """Brackets that the cursor line leaves open before the cursor."""
    started: bool
    """The cursor line has code before the cursor, so the completion's first line continues it."""
    comment: bool
    """The cursor stands in a comment."""
    line_above: str
    """The last non-blank line above the cursor line, stripped; empty at the beginning of the file."""
    open: brackets.Open
    """What the completion may close."""
    language: Language | None


@dataclass(frozen=True)
class Cut:
    text: str
    reason: StopReason


def surroundings(
    prefix: str, suffix: str, shape: Shape | None = None, language: Language | None = None
) -> Surroundings:
    """Reads off the file what `stop` needs. `shape` None chooses by `shape_at`."""
    prefix, suffix = prefix[-_READ_BEFORE:], suffix[:_READ_AFTER]
    line = prefix[prefix.rfind("\n") + 1 :]
    rest, _, below = suffix.partition("\n")
    following = next((text.strip() for text in _first_lines(below, 50) if text.strip()), "")
    started = bool(line.strip())
    comment = in_comment(prefix, language)
    above = (text.strip() for text in reversed(prefix[-4000:].split("\n")[:-1]) if text.strip())
    return Surroundings(
        shape=shape or ("line" if comment else shape_at(prefix, suffix)),
        rest=rest.rstrip("\r"),
        next_line=following,
        indent=_columns(line) + 1 if started else _columns(line),
        opened=max(0, open_brackets(line)),
        started=started,
        comment=comment,
        line_above=next(above, ""),
        open=brackets.available(prefix, suffix, language),
        language=language,
    )


def in_comment(prefix: str, language: Language | None) -> bool:
    """Whether the cursor at the end of `prefix` stands in a comment, as far as its line tells; the lines of a block
    comment are known by the star at their beginning."""
    if language is None:
        return False
    line = prefix[prefix.rfind("\n") + 1 :]
    if language.comment in ("//", "/*") and re.match(r"\s*\*(?!/)", line):
        return True
    return brackets.ends_in_comment(line, language)


def shape_at(prefix: str, suffix: str) -> Shape:
    line = prefix[prefix.rfind("\n") + 1 :]
    if suffix.partition("\n")[0].strip():
        return "line"
    if line.strip():
        return "block" if _BLOCK_START.search(line) else "line"
    above = next((text for text in reversed(prefix[-4000:].split("\n")[:-1]) if text.strip()), "")
    return "block" if _columns(line) > _columns(above) or _BLOCK_START.search(above) else "line"


def stop(text: str, around: Surroundings, final: bool = False) -> Cut | None:
    """Where the completion ends, None when it may go on.

    Args:
        text: everything generated so far, `\\n` line ends.
        final: no more text will come, so that the last line is complete.
    """
    lines = text.split("\n")
    complete = len(lines) if final else len(lines) - 1
    cuts = [
        cut
        for cut in (
            _shape_end(lines, complete, around),
            _suffix_follows(lines, complete, around),
            _repetition(lines, complete),
            _line_above(lines, complete, around),
            _unmatched(text, around, final),
            _next_file(lines, complete),
        )
        if cut is not None
    ]
    return min(cuts, key=lambda cut: len(cut.text)) if cuts else None


def trim(text: str, around: Surroundings) -> str:
    """Cuts what no completion should end with: blanks, half a character, and the rest of the cursor line again, or the
    signs or words that it begins with."""
    text = text.rstrip("\ufffd")
    rest = around.rest.strip()
    if not rest:
        return text.rstrip() if text.strip() else ""
    if "\n" in text:
        return text
    ending = text.rstrip()
    for size in range(min(len(rest), len(ending)), 0, -1):
        piece = rest[:size]
        if not ending.endswith(piece) or (size < len(rest) and not _is_again(piece, ending)):
            continue
        # Brackets were judged by what they close. A quote that closes a string of the completion is its own.
        if _BRACKETS.search(piece) or brackets.quote_after(ending[:-size], around.language, around.open.quote) != (
            around.open.quote
        ):
            continue
        return ending[:-size].rstrip() if around.rest[0].isspace() else ending[:-size]
    return text


def _is_again(piece: str, ending: str) -> bool:
    """Whether a text that ends with `piece`, the beginning of what follows it, has begun to write that again."""
    if _SIGNS.fullmatch(piece):
        return True
    inside_word = re.search(r"\w\Z", ending[: -len(piece)]) and re.match(r"\w", piece)
    return len(piece) >= MIN_REPEATED_REST and not inside_word


def _shape_end(lines: list[str], complete: int, around: Surroundings) -> Cut | None:
    if around.shape == "line":
        for number in range(complete if complete < len(lines) else len(lines) - 1):
            done = "\n".join(lines[: number + 1])
            unclosed = not around.comment and open_brackets(done) > 0
            if not unclosed or around.rest.strip() or number + 1 >= MAX_CONTINUATION_LINES:
                return Cut(done, "line")
        return None
    seen = bool(lines[0].strip())
    for number in range(1, complete):
        line = lines[number]
        before = "\n".join(lines[:number])
        if not line.strip():
            if seen and around.shape == "block":
                return Cut(before, "blank_line")
            continue
        if _columns(line) < around.indent:
            if _CLOSES.match(line) and around.opened + open_brackets(before) > 0:
                return Cut(before + "\n" + line, "dedent")
            return Cut(before, "dedent")
        seen = True
    return None


def _suffix_follows(lines: list[str], complete: int, around: Surroundings) -> Cut | None:
    """The model writes again what already stands below the cursor."""
    if not around.next_line:
        return None
    for number in range(0 if not around.started else 1, complete):
        if lines[number].strip() == around.next_line:
            # A closing line that closes what is not closed below is the completion's own, not the file's.
            closes = _CLOSERS_ONLY.fullmatch(lines[number]) and _BRACKETS.search(lines[number])
            upto = "\n".join(lines[: number + 1])
            if closes and brackets.unmatched(upto, around.language, around.open, len(upto)) is None:
                continue
            return Cut("\n".join(lines[:number]), "suffix")
    return None


def _line_above(lines: list[str], complete: int, around: Surroundings) -> Cut | None:
    """The model writes the line above once more; short lines are often alike."""
    if around.started or not complete or len(around.line_above) < MIN_REPEATED_LINE:
        return None
    first = next((number for number in range(complete) if lines[number].strip()), None)
    if first is None or lines[first].strip() != around.line_above:
        return None
    return Cut("\n".join(lines[:first]), "repetition")


def _next_file(lines: list[str], complete: int) -> Cut | None:
    """The line that names a file in a prompt: for the model the file is over and another one begins."""
    for number, line in enumerate(lines[:complete]):
        named = _NAMED.fullmatch(line)
        if named and line + "\n" == prompts.header(named[1]):
            return Cut("\n".join(lines[:number]), "next_file")
    return None


def _unmatched(text: str, around: Surroundings, final: bool) -> Cut | None:
    """A bracket that closes nothing, or what is closed behind the cursor already."""
    if around.comment:
        return None
    # What follows two quotes, or one and a bracket, decides what they are; nothing goes on over a newline.
    settled = len(text) if final else max(len(text) - 2, text.rfind("\n"))
    at = brackets.unmatched(text, around.language, around.open, settled)
    return None if at is None else Cut(text[:at], "bracket")


def _repetition(lines: list[str], complete: int) -> Cut | None:
    """Lines three times in a row are kept once; so is a piece repeated inside a line."""
    for end in range(3, complete + 1):
        for period in range(1, min(MAX_PERIOD, end // 3) + 1):
            one, two, three = (lines[end - times * period :][:period] for times in (3, 2, 1))
            if one == two == three and any(line.strip() for line in one):
                return Cut("\n".join(lines[: end - 2 * period]), "repetition")
    match = _REPEATED_PIECE.search(lines[-1][-200:])
    # Rules such as `# ------` repeat one character and are meant.
    if match and len(set((match[1] or match[2]).strip())) > 1:
        kept = len(lines[-1]) - (match.end() - match.start()) + len(match[1] or match[2])
        return Cut("\n".join([*lines[:-1], lines[-1][:kept]]), "repetition")
    return None


def open_brackets(text: str) -> int:
    """Brackets opened minus closed, those inside quotes on one line left out; never below -1."""
    depth, quote, escaped = 0, "", False
    for character in text:
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\"
            if character in (quote, "\n"):
                quote = ""
        elif character in "\"'`":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            if depth < 0:
                return -1
    return depth


def _columns(line: str) -> int:
    """The width of the indentation; a tab reaches to the next multiple of 8."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _first_lines(text: str, count: int) -> list[str]:
    return text[: count * 400].split("\n")[:count]
