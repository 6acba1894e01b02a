"""Desktop notifications: for the terminals that have them, and never with what would end the sequence."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.notifications import send, sequence


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "\x1b]9;Hone: shop is done\x1b\\"),
        ({"TERM": "xterm-kitty"}, "\x1b]9;Hone: shop is done\x1b\\"),
        ({"TERM": "foot"}, "\x1b]777;notify;Hone;shop is done\x1b\\"),
        ({"TERM": "rxvt-unicode-256color"}, "\x1b]777;notify;Hone;shop is done\x1b\\"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230800"}, "\x1b]777;notify;Hone;shop is done\x1b\\"),
        ({"TERM": "xterm-256color"}, ""),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, ""),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, ""),
        ({}, ""),
    ],
)
def test_each_terminal_gets_what_it_understands(environment: dict[str, str], shown: str):
    assert sequence(environment, "Hone", "shop is done") == shown


@given(st.text(), st.text(), st.sampled_from(["xterm-kitty", "foot"]))
def test_no_text_ends_or_divides_the_sequence(title: str, body: str, term: str):
    written = sequence({"TERM": term}, title, body)
    inner = re.fullmatch(r"\x1b\](?:9;|777;notify;)(.*)\x1b\\", written, re.DOTALL)
    assert inner
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", inner[1])
    assert inner[1].count(";") == (1 if term == "foot" else 0)


@pytest.mark.parametrize(
    ("focused", "headless", "shown"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_the_bell_rings_and_the_desktop_is_told_only_who_looks_elsewhere(focused: bool, headless: bool, shown: bool):
    written: list[str] = []
    rung: list[bool] = []
    app: Any = SimpleNamespace(
        bell=lambda: rung.append(True),
        app_focus=focused,
        is_headless=headless,
        _driver=SimpleNamespace(write=written.append),
    )
    send(app, {"TERM": "xterm-kitty"}, "Hone", "shop is done")
    assert rung == [True]
    assert written == (["\x1b]9;Hone: shop is done\x1b\\"] if shown else [])
