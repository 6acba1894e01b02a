"""Pictures in terminals: when they are drawn, what is sent, and the curves of the Jobs screen in a real terminal."""

import base64
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.color import Color

from assistant.errors import HoneError
from tests.tui import test_jobs_screen
from tui import images
from tui.jobs.painted import Line, painted

KITTY = {"TERM": "xterm-kitty"}
CELL = (10, 20)
COLUMNS, ROWS = 120, 40
_SECONDS = 60


@pytest.mark.parametrize(
    ("wanted", "environment", "cell", "colours", "drawn"),
    [
        (None, KITTY, CELL, "truecolor", True),
        (None, {"TERM": "xterm-ghostty"}, CELL, "truecolor", True),
        (None, {"TERM": "xterm-256color"}, CELL, "truecolor", False),
        (True, {"TERM": "xterm-256color"}, CELL, "truecolor", True),
        (False, KITTY, CELL, "truecolor", False),
        (None, KITTY | {"TMUX": "/tmp/tmux-0/default,1,0"}, CELL, "truecolor", False),
        (None, KITTY | {"NO_COLOR": "1"}, CELL, "truecolor", False),
        (None, KITTY, CELL, "256", False),
        (None, KITTY, None, "truecolor", False),
    ],
)
def test_when_pictures_are_drawn(
    wanted: bool | None, environment: dict[str, str], cell: tuple[int, int] | None, colours: str, drawn: bool
):
    decision = images.decide(wanted, environment, cell, colours)
    assert decision == images.Decision(CELL if drawn else None)


@pytest.mark.parametrize(
    ("environment", "cell", "colours", "why"),
    [
        ({"TMUX": "x"}, CELL, "truecolor", "inside tmux"),
        ({"NO_COLOR": "1"}, CELL, "truecolor", "NO_COLOR is set"),
        ({}, CELL, "256", "COLORTERM=truecolor"),
        ({}, None, "truecolor", "how many pixels"),
    ],
)
def test_who_wants_pictures_and_gets_none_is_told_why(
    environment: dict[str, str], cell: tuple[int, int] | None, colours: str, why: str
):
    decision = images.decide(True, environment, cell, colours)
    assert decision.cell is None
    assert why in decision.refused
    assert images.decide(None, KITTY | environment, cell, colours).refused == ""


def test_the_setting_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hone").mkdir()
    file = tmp_path / "hone" / "config.toml"
    assert images.load().images is None
    file.write_text("[app]\nimages = false\n")
    assert images.load().images is False
    file.write_text('[app]\nimages = "yes"\n')
    with pytest.raises(HoneError, match=r"app\.images = 'yes' must be true or false"):
        images.load()


@given(st.integers(1, 40), st.integers(1, 30), st.binary(min_size=4, max_size=4))
def test_what_is_sent_is_the_picture(width: int, height: int, pixel: bytes):
    number = images.new_number()
    pixels = os.urandom(4 * width * height - 4) + pixel
    keys, received = received_pictures(images.sent(number, pixels, width, height, 3, 2).encode())[0]
    assert received == pixels
    assert keys | {"m": ""} == {
        **dict(zip("atU", ("T", "d", "1"), strict=True)),
        **{"q": "2", "f": "32", "o": "z", "i": str(number), "s": str(width), "v": str(height), "c": "3", "r": "2"},
        "m": "",
    }


@given(st.integers(1, images.MOST_CELLS), st.integers(1, 60))
def test_each_placeholder_is_a_cell_that_says_where_it_is(columns: int, rows: int):
    shown = images.placeholders(columns, rows)
    assert [cell_len(row) for row in shown] == [columns] * rows
    cells = {row[start : start + 3] for row in shown for start in range(0, len(row), 3)}
    assert len(cells) == columns * rows


def test_numbers_are_pairs_of_colours():
    for _ in range(100):
        number = images.new_number()
        assert number % 2 == 0
        assert re.fullmatch("#[0-9a-f]{6}", images.colour(number | 1))
        assert number >= 1 << 16


POINTS = st.lists(st.tuples(st.floats(0, 9), st.floats(-3, 3)), min_size=1, max_size=30).map(sorted)


@given(POINTS, st.integers(1, 80), st.integers(1, 60))
def test_a_painted_line_is_in_its_room_and_in_its_colour(points: list[tuple[float, float]], width: int, height: int):
    drawn = painted([Line(tuple(points), (10, 20, 30), 1.0, 2.0)], width, height, (0, 9), (-3, 3))
    pixels = np.frombuffer(drawn, np.uint8).reshape(height, width, 4)
    seen = pixels[pixels[..., 3] > 0]
    assert len(seen)
    assert {tuple(pixel[:3]) for pixel in seen.tolist()} == {(10, 20, 30)}


def test_a_painted_line_goes_from_corner_to_corner_and_hides_what_is_behind():
    behind = Line(((0, 1), (9, 1)), (0, 0, 255), 0.5, 1.0)
    line = Line(((0, 0), (9, 1)), (255, 0, 0), 1.0, 2.0)
    drawn = painted([behind, line], 90, 40, (0, 9), (0, 1))
    pixels = np.frombuffer(drawn, np.uint8).reshape(40, 90, 4)
    assert tuple(pixels[39, 1][:3]) == (255, 0, 0)
    assert pixels[38, 1, 3] > 128
    red, _, blue, opacity = pixels[0, 88].tolist()
    assert red > 2 * blue
    assert opacity > 200
    assert tuple(pixels[0, 10][:3]) == (0, 0, 255)
    assert (pixels[..., 3].max(axis=0) > 0).all()
    assert pixels[20, 5, 3] == 0


@dataclass
class Terminal:
    """The other end of a terminal with the Jobs screen in it."""

    process: int
    descriptor: int
    read: bytes = b""
    ended: bool = field(default=False)

    def until(self, *wanted: bytes) -> bytes:
        """What has been written, up to now, once all of it has come."""
        end = time.monotonic() + _SECONDS
        while not all(one in self.read for one in wanted):
            assert time.monotonic() < end, self.read[-3000:]
            self._take()
        return self.read

    def leave(self) -> bytes:
        os.write(self.descriptor, b"\x11")
        end = time.monotonic() + _SECONDS
        while not self.ended:
            assert time.monotonic() < end, self.read[-3000:]
            self._take()
        return self.read

    def _take(self) -> None:
        if select.select([self.descriptor], [], [], 0.1)[0]:
            try:
                more = os.read(self.descriptor, 65536)
            except OSError:
                more = b""
            self.read += more
            self.ended = not more


@pytest.fixture
def jobs(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    test_jobs_screen.fill()


@pytest.fixture
def opened() -> Iterator[list[int]]:
    """Descriptors to close."""
    made: list[int] = []
    yield made
    for descriptor in made:
        os.close(descriptor)


def start(made: list[int], term: str, pixels: tuple[int, int], **more: str) -> Terminal:
    process, descriptor = pty.fork()
    if process == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, *pixels))
        environment = {key: value for key, value in os.environ.items() if key not in ("TMUX", "STY", "NO_COLOR")}
        environment |= {"TERM": term, "COLORTERM": "truecolor", "PYTHONPATH": os.pathsep.join(sys.path), **more}
        program = "from tests.tui.test_jobs_screen import Shown; Shown().run()"
        os.execve(sys.executable, [sys.executable, "-c", program], environment)
    made.append(descriptor)
    return Terminal(process, descriptor)


def received_pictures(read: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The keys and the pixels of each picture that was sent whole."""
    found, keys, data = [], {}, b""
    for control, payload in re.findall(rb"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", read):
        given = dict(pair.split("=") for pair in control.decode().split(","))
        if given.get("a") == "T":
            keys, data = given, b""
        data += payload
        if given["m"] == "0":
            found.append((keys, zlib.decompress(base64.b64decode(data))))
    return found


def test_a_terminal_that_draws_pictures_gets_the_curves_as_pictures(jobs: None, opened: list[int]):
    terminal = start(opened, "xterm-kitty", (COLUMNS * CELL[0], ROWS * CELL[1]))
    read = terminal.until(b"validation", "\U0010eeee".encode(), b"memory")
    pictures = received_pictures(read)
    assert len(pictures) >= 2
    for keys, pixels in pictures:
        columns, rows, number = int(keys["c"]), int(keys["r"]), int(keys["i"])
        assert (int(keys["s"]), int(keys["v"])) == (columns * CELL[0], rows * CELL[1])
        assert len(pixels) == 4 * int(keys["s"]) * int(keys["v"])
        shown = f"38;2;{number >> 16};{number >> 8 & 255};{number & 255}".encode()
        assert shown in read
    colours = {tuple(pixel[:3]) for _, pixels in pictures for pixel in solid(pixels)}
    theme = test_jobs_screen.Shown().get_css_variables()
    assert colours == {Color.parse(theme[name]).rgb for name in ("primary", "secondary")}
    assert "⣀".encode() not in read
    assert b"a=q" not in read
    # A dialog shades what is behind it, and there the curves are text.
    os.write(terminal.descriptor, b"n")
    braille = re.compile("[\u2801-\u28ff]{2}")
    end = time.monotonic() + _SECONDS
    while not braille.search(terminal.read.decode(errors="replace")):
        assert time.monotonic() < end
        terminal._take()
    os.write(terminal.descriptor, b"\x1b")
    left = terminal.leave()
    for keys, _ in received_pictures(left):
        assert f"a=d,d=I,q=2,i={keys['i']}".encode() in left


def solid(pixels: bytes) -> list[list[int]]:
    found = np.frombuffer(pixels, np.uint8).reshape(-1, 4)
    return found[found[:, 3] == 255].tolist()


@pytest.mark.parametrize(
    ("term", "pixels", "more"),
    [
        ("xterm-256color", (1200, 800), {}),
        ("xterm-kitty", (0, 0), {}),
        ("xterm-kitty", (1200, 800), {"TMUX": "/tmp/tmux-0/default,1,0"}),
    ],
)
def test_any_other_terminal_is_sent_none_and_asked_nothing(
    jobs: None, opened: list[int], term: str, pixels: tuple[int, int], more: dict[str, str]
):
    terminal = start(opened, term, pixels, **more)
    terminal.until(b"validation", b"memory", "⠤".encode())
    assert b"\x1b_G" not in terminal.leave()
    assert "\U0010eeee".encode() not in terminal.read


def test_who_forces_pictures_in_vain_reads_why(jobs: None, opened: list[int], tmp_path: Path):
    (tmp_path / "hone").mkdir()
    (tmp_path / "hone" / "config.toml").write_text("[app]\nimages = true\n")
    terminal = start(opened, "xterm-256color", (0, 0))
    terminal.until(b"images is true, but")
    assert b"\x1b_G" not in terminal.leave()
