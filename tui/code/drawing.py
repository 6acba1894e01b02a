"""One row of the editor: characters and their styles to a strip as wide as the view."""

from collections.abc import Callable, Iterable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual._cells import cell_len
from textual.strip import Strip

from tui.inert import inert_in_place

Piece = tuple[str, Style]
Styled = tuple[int, int, Style]
"""First column, column after the last, style."""

_CLASSES = {
    "attribute": "property",
    "boolean": "constant",
    "charset": "keyword",
    "comment": "comment",
    "conditional": "keyword",
    "constant": "constant",
    "constructor": "type",
    "delimiter": "punctuation",
    "embedded": "plain",
    "error": "error",
    "escape": "constant",
    "field": "property",
    "float": "number",
    "function": "function",
    "import": "keyword",
    "keyframes": "keyword",
    "keyword": "keyword",
    "label": "property",
    "markup.heading": "heading",
    "markup.link": "link",
    "markup.raw": "string",
    "media": "keyword",
    "module": "type",
    "namespace": "type",
    "number": "number",
    "property": "property",
    "punctuation": "punctuation",
    "storageclass": "keyword",
    "string": "string",
    "string.escape": "constant",
    "string.special.key": "property",
    "supports": "keyword",
    "tag": "tag",
    "tag.error": "error",
    "text.literal": "string",
    "text.reference": "link",
    "text.title": "heading",
    "text.uri": "link",
    "type": "type",
    "variable.builtin": "constant",
}
CLASSES = tuple(sorted(set(_CLASSES.values())))


def palette(component: Callable[[str], Style]) -> dict[str, Style]:
    """The style of each class but the plain one, for a widget with the component classes `syntax--CLASS`."""
    found = {}
    for name in CLASSES:
        if name != "plain":
            full = component(f"syntax--{name}")
            found[name] = Style(color=full.color, bold=full.bold, italic=full.italic, underline=full.underline)
    return found


def class_of(capture: str) -> str | None:
    """The style class of a capture: the one of the longest known beginning of its dotted name."""
    while capture:
        if (found := _CLASSES.get(capture)) is not None:
            return found
        capture = capture.rpartition(".")[0]
    return None


def pieces(line: str, base: Style, under: Iterable[Styled], over: Iterable[Styled]) -> list[Piece]:
    """A line cut where its style changes, and one blank cell behind it for the cursor.

    Args:
        under: replace what is there, later ones the earlier.
        over: are laid over it.
    """
    text = inert_in_place(line) + " "
    length = len(text)
    styles: list[Style] = [base] * length
    for start, end, style in under:
        styles[start : min(end, length)] = [style] * (min(end, length) - start)
    for start, end, style in over:
        for index in range(start, min(end, length)):
            styles[index] += style
    found: list[Piece] = []
    begin = 0
    for index in range(1, length):
        if styles[index] is not styles[begin]:
            found.append((text[begin:index], styles[begin]))
            begin = index
    found.append((text[begin:], styles[begin]))
    return found


def strip(row: Sequence[Piece], left: int, width: int, tab_width: int, fill: Style) -> Strip:
    """The cells `left` to `left + width` of a row, filled up at the right."""
    segments: list[Segment] = []
    cells = 0
    for piece, style in row:
        text = _expanded(piece, cells, tab_width) if "\t" in piece else piece
        segments.append(Segment(text, style))
        cells += cell_len(text)
    return Strip(segments, cells).crop(left, left + width).extend_cell_length(width, fill)


def _expanded(text: str, cells: int, tab_width: int) -> str:
    parts = text.split("\t")
    done = parts[0]
    for part in parts[1:]:
        done += " " * (tab_width - (cells + cell_len(done)) % tab_width) + part
    return done
