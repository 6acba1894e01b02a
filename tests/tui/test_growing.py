"""Text that grows looks like one widget of all of it, at any width, in any theme, and is drawn once."""

import pytest
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Offset, Region
from textual.selection import Selection
from textual.widgets import Static

from tui.chat import growing
from tui.chat.ground import Ground
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
    strips = widget.render_lines(widget.outer_size.region)
    strips += widget.render_lines(Region(3, 1, widget.size.width - 5, max(widget.size.height - 2, 0)))
    return [[(character, segment.style) for segment in strip for character in segment.text] for strip in strips]


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


async def test_what_the_mouse_points_at_is_told_as_in_one_widget():
    app = Both()
    async with app.run_test(size=(44, 60)) as pilot:
        parts = [highlighted(piece, "python") for piece in PIECES]
        app.grown.grow(parts[:2], parts[2])
        app.plain.update(Content("\n").join(parts))
        await pilot.pause()
        at = [
            [app.screen.get_widget_and_offset_at(x, widget.region.y + y)[1] for x in (0, 7, 40)]
            for widget in (app.grown, app.plain)
            for y in range(widget.size.height)
        ]
        assert at[: len(at) // 2] == at[len(at) // 2 :]


async def test_what_is_still_written_is_drawn_from_the_first_line_that_changes(monkeypatch: pytest.MonkeyPatch):
    drawn = drawings(monkeypatch)
    app = Both()
    async with app.run_test(size=(60, 60)) as pilot:
        app.grown.grow([], Content("one\ntwo\nthr"))
        await pilot.pause()
        drawn.clear()
        app.grown.grow([], Content("one\ntwo\nthree\nfour"))
        await pilot.pause()
        assert drawn == ["three", "four"]
        # The same words in other colours: a string has begun before them.
        app.grown.grow([], Content("one\n").append(Content.styled("two\nthree\nfour", "bold")))
        await pilot.pause()
        assert drawn == ["three", "four", "two", "three", "four"]
        app.grown.grow([Content("one\ntwo")], Content("four"))
        await pilot.pause()
        assert lines(app.grown) == ["one", "two", "four"]
        assert app.grown.finished == 2


async def test_an_empty_one_takes_as_much_room_as_an_empty_widget():
    app = Both()
    async with app.run_test():
        assert app.grown.size == app.plain.size


def drawings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is drawn from now on, a line of the text each."""
    drawn: list[str] = []
    usual = growing.Visual.to_strips

    def to_strips(widget, visual, *rest, **options):
        if isinstance(widget, Growing):
            drawn.append(str(visual))
        return usual(widget, visual, *rest, **options)

    monkeypatch.setattr(growing.Visual, "to_strips", to_strips)
    return drawn


async def test_finished_parts_are_drawn_once(monkeypatch: pytest.MonkeyPatch):
    drawn = drawings(monkeypatch)
    app = Both()
    async with app.run_test(size=(60, 200)) as pilot:
        for number in range(20):
            app.grown.grow([Content(f"finished {number}")], Content(f"last {number}"))
            await pilot.pause()
        assert lines(app.grown)[-1] == "last 19"
    for number in range(20):
        assert drawn.count(f"finished {number}") == 1


class Framed(App[None]):
    CSS = """
    .frame { height: auto; width: 40; margin: 1; padding: 1 2; border: round red; background: blue 30%; }
    Growing { height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts = [Growing(), Growing()]
        self.frames = [Grounded(self.texts[0], classes="frame"), Vertical(self.texts[1], classes="frame")]

    def compose(self) -> ComposeResult:
        for frame in self.frames:
            frame.border_title = "python"
            yield frame


class Grounded(Vertical, Ground):
    pass


async def test_a_ground_looks_like_any_container():
    app = Framed()
    async with app.run_test(size=(60, 60)) as pilot:
        for count in (0, 1, 2, 9):
            for text in app.texts:
                text.grow([Content("x\n" * count)], Content("y"))
            await pilot.pause()
            whole = app.frames[0].outer_size.region
            assert whole.height > count
            for crop in (whole, whole.shrink((1, 0, 0, 0)), whole.shrink((2, 3, 2, 1)), Region(0, 1, 40, 1)):
                ours, stock = (frame.render_lines(crop) for frame in app.frames)
                assert ours == stock


async def test_growth_is_laid_out_once():
    app = Framed()
    async with app.run_test(size=(60, 60)) as pilot:
        app.frames[1].display = False
        await pilot.pause()
        layouts = []
        app.screen.screen_layout_refresh_signal.subscribe(app, layouts.append)
        for number in range(5):
            app.texts[0].grow([Content(f"line {number}")], Content(""))
            await pilot.pause()
        assert len(layouts) == 5
        assert app.texts[0].size.height == 5
