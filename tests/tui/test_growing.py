"""Text that grows looks like one widget of all of it, at any width, in any theme, and is drawn once."""

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Static

from tui.chat import growing
from tui.chat.growing import Growing
from tui.chat.highlighting import highlighted

PIECES = [
    "def area(width, height):\n    return width * height\n",
    "\n\nclass Box:\n    label = 'a line that is far too long for a narrow window, and so goes on in the next one'\n",
    "    漢字 = 1  # wide\n",
]


class Both(App[None]):
    CSS = "Static, Growing { width: 1fr; height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self.grown, self.plain = Growing(), Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self.grown
        yield self.plain


def lines(widget: Growing | Static) -> list[str]:
    height = widget.size.height
    return [widget.render_line(y).text.rstrip() for y in range(height)]


def looks(widget: Growing | Static) -> list[list[tuple[str, object]]]:
    # Where a run of one style is cut does not show.
    return [
        [(character, segment.style) for segment in widget.render_line(y) for character in segment.text]
        for y in range(widget.size.height)
    ]


@pytest.mark.parametrize("width", [20, 44, 100])
async def test_it_looks_like_one_widget_of_the_whole_text(width: int):
    app = Both()
    async with app.run_test(size=(width, 60)) as pilot:
        whole: list[Content] = []
        for number, piece in enumerate(PIECES):
            whole.append(highlighted(piece, "python"))
            app.grown.grow([whole[-1]], Content("") if number % 2 else Content("half a li"))
            app.plain.update(Content("\n").join(whole if number % 2 else [*whole, Content("half a li")]))
            await pilot.pause()
            assert app.grown.size == app.plain.size
            assert looks(app.grown) == looks(app.plain)
        await pilot.resize_terminal(30, 60)
        assert app.grown.size == app.plain.size
        assert looks(app.grown) == looks(app.plain)
        app.theme = "textual-light"
        await pilot.pause()
        assert looks(app.grown) == looks(app.plain)


async def test_what_is_selected_is_shown_and_copied_as_in_one_widget():
    app = Both()
    async with app.run_test(size=(60, 60)) as pilot:
        parts = [highlighted(piece, "python") for piece in PIECES]
        app.grown.grow(parts[:2], parts[2])
        app.plain.update(Content("\n").join(parts))
        selection = Selection.from_offsets(Offset(4, 0), Offset(9, 3))
        app.screen.selections = {app.grown: selection, app.plain: selection}
        await pilot.pause()
        assert app.grown.get_selection(selection) == app.plain.get_selection(selection)
        assert looks(app.grown) == looks(app.plain)
        app.screen.selections = {}
        await pilot.pause()
        assert looks(app.grown) == looks(app.plain)


async def test_an_empty_one_takes_as_much_room_as_an_empty_widget():
    app = Both()
    async with app.run_test():
        assert app.grown.size == app.plain.size


async def test_finished_parts_are_drawn_once(monkeypatch: pytest.MonkeyPatch):
    drawn: list[str] = []
    usual = growing.Visual.to_strips

    def to_strips(widget, visual, *rest, **options):
        if isinstance(widget, Growing):
            drawn.append(str(visual))
        return usual(widget, visual, *rest, **options)

    monkeypatch.setattr(growing.Visual, "to_strips", to_strips)
    app = Both()
    async with app.run_test(size=(60, 200)) as pilot:
        for number in range(20):
            app.grown.grow([Content(f"finished {number}")], Content(f"last {number}"))
            await pilot.pause()
        assert lines(app.grown)[-1] == "last 19"
    for number in range(20):
        assert drawn.count(f"finished {number}") == 1
