"""What a reviewer is shown around a change: the lines above and below, the heads of what encloses it, the imports it
uses. Told from indentation and line beginnings alone, so that it works for code that does not parse yet."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from assistant.languages import language_of
from assistant.review_prompt import Hunk, HunkLine

ABOVE, BELOW = 12, 6
"""Lines of context: what a change uses is mostly written above it."""
MAX_LINES = 60
"""Of a hunk: with its lines written again about a thousand tokens."""
GAP = 10
"""Changes further apart are asked about one by one."""
MAX_IMPORTS = 8
_MAX_HEAD = 160
_MOST_HEADS = 4

_DEFINES = re.compile(
    r"\s*(@|#\[|(export |default |async |pub(\([^)]*\))? |public |private |protected |static |final |abstract |"
    r"virtual |inline |unsafe |const |extern )*"
    r"(def|class|func|fn|function|impl|interface|struct|enum|trait|namespace|module)\b)"
)
_IMPORTS = {
    "python": re.compile(r"^(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+(?:\([^)]*\)|(?:\\\n|[^\n])*)", re.M),
    "javascript": re.compile(
        r"^(?:import\b[^;\n]*(?:\{[^}]*\}[^;\n]*)?;?|(?:const|let|var)\b[^;\n]*\brequire\([^\n]*)", re.M
    ),
    "go": re.compile(r'^(?:import[ \t]+[^(\n]*"[^"\n]+"|\t(?:[\w.]+ )?"[\w./-]+"$)', re.MULTILINE),
    "rust": re.compile(r"^[ \t]*(?:pub )?use [^;]+;", re.MULTILINE),
    "java": re.compile(r"^import [^;\n]+;", re.MULTILINE),
    "c": re.compile(r"^#[ \t]*include[ \t]+\S+", re.MULTILINE),
}
_IMPORTS["typescript"] = _IMPORTS["javascript"]
_IMPORTS["cpp"] = _IMPORTS["c"]
_IMPORT_WORDS = frozenset({"import", "from", "as", "use", "pub", "crate", "self", "const", "let", "var", "require"})


def groups(
    added: Collection[int], removed: Mapping[int, Sequence[str]], most_lines: int | None = None
) -> Iterator[tuple[set[int], dict[int, Sequence[str]]]]:
    """The change of one file in parts, each for one hunk, in the order of the lines.

    Args:
        added, removed: as for `build`.
        most_lines: a part that would span more (removed lines counted) is divided; None divides at gaps only.
    """
    group: list[int] = []
    size = 0
    for number in sorted({*added, *removed}):
        step = number - group[-1] if group else 1
        grown = size + step + len(removed.get(number, ()))
        if group and (step > GAP or (most_lines is not None and grown > most_lines)):
            yield _part(group, added, removed)
            group, grown = [], 1 + len(removed.get(number, ()))
        group.append(number)
        size = grown
    if group:
        yield _part(group, added, removed)


def _part(
    group: Sequence[int], added: Collection[int], removed: Mapping[int, Sequence[str]]
) -> tuple[set[int], dict[int, Sequence[str]]]:
    return set(group).intersection(added), {number: removed[number] for number in group if number in removed}


def build(
    path: str,
    new_lines: Sequence[str],
    added: Collection[int],
    removed: Mapping[int, Sequence[str]],
    most_lines: int = MAX_LINES,
) -> Hunk:
    """The hunk of one change.

    Args:
        new_lines: the whole new file, without line ends.
        added: numbers of new lines, from 1.
        removed: old lines, by the number of the new line that follows them (one more than the file has, at its end).
        most_lines: context is given up to keep to it, then the last lines of the change, which is noted.

    Raises:
        ValueError: nothing is changed.
    """
    if not added and not removed:
        raise ValueError("a hunk needs a changed line")
    places = [*added, *removed]
    first, last = min(places), min(max(places), len(new_lines))
    top = _top(new_lines, first, last)
    bottom = _bottom(new_lines, first, last)
    lines = []
    for number in range(top, bottom + 2):
        lines += [HunkLine("-", number, text) for text in removed.get(number, ())]
        if number <= bottom:
            lines.append(HunkLine("+" if number in added else " ", number, new_lines[number - 1]))
    shown = "\n".join(line.text for line in lines)
    language = language_of(path)
    hunk = Hunk(
        path,
        imports_used("\n".join(new_lines), language.name if language else "", shown),
        enclosing(new_lines, top),
        tuple(lines),
    )
    return shortened(hunk, most_lines, new_lines)


def shortened(hunk: Hunk, most_lines: int, new_lines: Sequence[str] = ()) -> Hunk:
    """The hunk with at most `most_lines` lines: outer context goes first, then the end of the change, which is noted.

    With `new_lines` (the whole new file) the enclosing heads follow when lines above go.
    """
    lines = list(hunk.lines)
    cut = hunk.cut
    while len(lines) > max(most_lines, 1):
        changed = [index for index, line in enumerate(lines) if line.marker != " "]
        above, below = changed[0], len(lines) - 1 - changed[-1]
        if below and below * 2 >= above:
            lines.pop()
        elif above:
            lines.pop(0)
        else:
            lines.pop()
            cut += 1
    heads = hunk.enclosing
    if new_lines and lines and lines[0] != hunk.lines[0]:
        heads = enclosing(new_lines, lines[0].number)
    return replace(hunk, lines=tuple(lines), enclosing=heads, cut=cut)


def enclosing(lines: Sequence[str], first: int) -> tuple[str, ...]:
    """The heads of the blocks that line `first` (from 1) stands in, outermost first: the nearest lines above that are
    indented less and less. Of many only the outermost ones are kept, of a long one its beginning."""
    following = next((line for line in lines[first - 1 :] if line.strip()), "")
    depth = _indent(following)
    heads: list[str] = []
    number = first - 1
    while number >= 1 and depth:
        line = lines[number - 1]
        if line.strip() and _indent(line) < depth and not _is_comment(line):
            depth = _indent(line)
            opener = number
            while line.lstrip()[:1] in (")", "]") and opener > 1:
                # The end of a head that is written on several lines: its first line is indented the same.
                opener -= 1
                if lines[opener - 1].strip() and _indent(lines[opener - 1]) <= depth:
                    break
            head = " ".join(part.strip() for part in lines[opener - 1 : number])
            heads.append(" " * depth + head[:_MAX_HEAD])
            number = opener
        number -= 1
    return tuple(reversed(heads))[:_MOST_HEADS]


def imports_used(text: str, language: str, shown: str) -> tuple[str, ...]:
    """The import lines of a file that name something the shown lines use, each on one line, in order.

    C's includes name nothing that is used by name: the first ones are taken.
    """
    pattern = _IMPORTS.get(language)
    if pattern is None:
        return ()
    words = set(re.findall(r"\w+", shown))
    found = []
    for match in pattern.finditer(text):
        line = " ".join(match[0].replace("\\\n", " ").split())
        if match[0] in shown:
            continue
        named = set(re.findall(r"\w+", line)) - _IMPORT_WORDS
        if language in ("c", "cpp") or named & words:
            found.append(_only_used(line, words) if language == "python" else line)
    return tuple(dict.fromkeys(line[:_MAX_HEAD] for line in found))[:MAX_IMPORTS]


def _only_used(line: str, words: set[str]) -> str:
    """A `from` import with the names that are used."""
    head, found, names = line.partition(" import ")
    if not found or not head.startswith("from") or "#" in names:
        return line
    listed = [name.strip() for name in names.strip("() ").rstrip(",").split(",")]
    used = [name for name in listed if name.split()[-1:] and name.split()[-1] in words]
    return f"{head} import {', '.join(used)}" if used else line


def _top(lines: Sequence[str], first: int, last: int) -> int:
    """The first line shown: not above the definition that the change stands in."""
    depth = _least_indent(lines, first, last)
    top = max(min(first, len(lines)), 1)
    while top > 1 and first - top < ABOVE:
        starts = _DEFINES.match(lines[top - 1]) and _indent(lines[top - 1]) <= depth
        if starts and not _DEFINES.match(lines[top - 2]):
            break
        top -= 1
    while top < min(first, len(lines)) and not lines[top - 1].strip():
        top += 1
    return top


def _bottom(lines: Sequence[str], first: int, last: int) -> int:
    """The last line shown: not below the block that the change stands in."""
    depth = _least_indent(lines, first, last)
    bottom = last
    while bottom < len(lines) and bottom - last < BELOW:
        line = lines[bottom]
        closes = line.strip()[:1] in ("}", ")", "]")
        if line.strip() and _indent(line) < depth and not closes:
            break
        if _DEFINES.match(line) and _indent(line) <= depth:
            break
        bottom += 1
    while bottom > last and not lines[bottom - 1].strip():
        bottom -= 1
    return bottom


def _least_indent(lines: Sequence[str], first: int, last: int) -> int:
    return min((_indent(line) for line in lines[first - 1 : last] if line.strip()), default=0)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(("#", "//", "/*", "*"))
