"""The user's own keys: the table [keys] of the user's configuration file, checked strictly.

[keys]
"go.code" = "f7"
"code.save" = "ctrl+s,f12"
"""

import difflib
import re
import unicodedata
from collections.abc import Iterator
from pkgutil import resolve_name

from textual.binding import Binding
from textual.keys import Keys
from textual.widget import Widget

from assistant.errors import HoneError
from tui.places import PLACES
from tui.places import bindings as place_bindings

_MODIFIERS = frozenset({"ctrl", "alt", "shift", "super", "hyper", "meta"})
_NAMES = frozenset(key.value.rsplit("+", 1)[-1] for key in Keys) | {f"f{number}" for number in range(1, 25)}


def read_keymap() -> dict[str, str]:
    """Keys by the id of what they do, as Textual's `set_keymap` takes them.

    Raises:
        HoneError: an id that nothing has, or a key that no terminal sends; the nearest id is named.
    """
    from assistant import config

    keymap: dict[str, str] = {}
    for file, table in config.tables("keys"):
        if file != config.user_file():
            raise HoneError(f"{file}: keys are the user's; set them in {config.user_file()}")
        known = sorted(ids())
        for name, keys in table.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0)
                raise HoneError(f"{file}: [keys] knows no {name!r}; the nearest is {near[0]!r}")
            if not isinstance(keys, str) or not all(_is_key(key.strip()) for key in keys.split(",")):
                raise HoneError(f"{file}: [keys] {name} = {keys!r} is no key; write it like 'f7' or 'ctrl+s,f12'")
            keymap[name] = keys
    return keymap


def bound(widget: Widget, key: str) -> Binding | None:
    """What a key does in a widget, with the user's own keys.

    For widgets that run bindings themselves, in the order in which the keys came; Textual runs them after the letters
    that were typed behind them.
    """
    bindings = widget._bindings
    if keymap := widget.app._keymap:
        bindings = bindings.copy()
        bindings.apply_keymap(keymap)
    return next(iter(bindings.key_to_bindings.get(key, ())), None)


def ids() -> dict[str, Binding]:
    """Every binding that can be given other keys, by its id; imports all screens."""
    found = {binding.id: binding for binding in place_bindings() if binding.id}
    for place in PLACES:
        resolve_name(place.screen)
    for kind in _kinds(Widget):
        for binding in kind.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.id:
                found[binding.id] = binding
    return found


def _kinds(kind: type[Widget]) -> Iterator[type[Widget]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _is_key(text: str) -> bool:
    *modifiers, key = re.split(r"\+(?=.)", text)
    return set(modifiers) <= _MODIFIERS and (len(key) == 1 or key in _NAMES or _names_character(key))


def _names_character(name: str) -> bool:
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True
