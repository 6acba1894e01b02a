"""What tells a user who looks elsewhere: the bell, and a desktop notification where the terminal can show one."""

from collections.abc import Mapping
from typing import Any

from textual.app import App

from tui.inert import inert

_OSC_9 = frozenset({"iTerm.app", "WezTerm", "ghostty", "WarpTerminal"})
"""Values of TERM_PROGRAM. OSC 9 is iTerm2's; ConEmu took `9;4;` for progress, and no text here begins so."""
_OSC_777_TERMS = ("foot", "rxvt-unicode")
_LONGEST = 200


def sequence(environment: Mapping[str, str], title: str, body: str) -> str:
    """What shows a desktop notification in this terminal; empty where none is known to.

    Inside tmux and screen it is empty: they pass such sequences on only where the user has allowed it.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return ""
    title, body = (_plain(text) for text in (title, body))
    if program in _OSC_9 or term == "xterm-kitty" or term.startswith(("wezterm", "xterm-ghostty")):
        return f"\x1b]9;{title}: {body}\x1b\\"
    if term.startswith(_OSC_777_TERMS) or environment.get("KONSOLE_VERSION"):
        return f"\x1b]777;notify;{title};{body}\x1b\\"
    return ""


def send(app: App[Any], environment: Mapping[str, str], title: str, body: str) -> None:
    """Rings, and where the terminal does not have the focus shows a desktop notification."""
    app.bell()
    shown = sequence(environment, title, body)
    # Textual has no other way to write what is for the terminal itself.
    driver = app._driver
    if shown and not app.app_focus and driver is not None and not app.is_headless:
        driver.write(shown)


def _plain(text: str) -> str:
    """One line without what ends or divides a sequence."""
    return " ".join(inert(text).replace(";", ",").split())[:_LONGEST]
