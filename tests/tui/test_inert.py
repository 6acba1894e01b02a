"""Text made harmless for a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tui.inert import inert


def test_escape_sequences_are_shown_and_not_obeyed():
    assert inert("\x1b[31mred\x1b[0m \x07 \x9b2J") == "^[[31mred^[[0m ^G <U+009B>2J"


def test_bidi_and_invisible_characters_are_named():
    assert inert("a\u202eb\u2066c\u200bd\U000e0041") == "a<U+202E>b<U+2066>c<U+200B>d<U+E0041>"


def test_newlines_and_tabs_stay_and_carriage_returns_go():
    assert inert("a\r\n\tb\rc") == "a\n\tbc"


def test_ordinary_text_is_untouched():
    assert inert("Grüße, 世界 👩‍💻 [b]not markup[/b] é") == "Grüße, 世界 👩‍💻 [b]not markup[/b] é"


@given(st.text(st.characters()))
def test_nothing_a_terminal_would_obey_is_left(text: str):
    shown = inert(text)
    assert all(unicodedata.category(character) not in ("Cc", "Cs") or character in "\n\t" for character in shown)
    assert not any(character in shown for character in "\u202a\u202e\u2066\u2069\u200e\u061c")
    shown.encode("utf-8")
