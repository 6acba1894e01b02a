"""The footer: screens first, then what the keys do here; of what does not fit the palette tells, whose key ends it."""

from collections.abc import Iterable
from itertools import accumulate

from textual._cells import cell_len
from textual.app import ComposeResult
from textual.screen import ActiveBinding
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from tui.places import PLACES


class KeyBar(Footer):
    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)
        self._fitted_to = 0

    def compose(self) -> ComposeResult:
        if not self._bindings_ready:
            return
        self._fitted_to = self.size.width
        active = list(self.screen.active_bindings.values())
        palette = next((one for one in active if one.binding.action == "command_palette"), None)
        more = self._key(palette, "More") if palette is not None else None
        keys = [self._key(one, one.binding.description) for one in _in_order(active)]
        yield from _that_fit(keys, more, self._fitted_to)

    def on_resize(self) -> None:
        if self._bindings_ready and self.size.width != self._fitted_to:
            self.call_after_refresh(self.recompose)

    def _key(self, one: ActiveBinding, description: str) -> FooterKey:
        _, binding, enabled, tooltip = one
        key = FooterKey(
            binding.key,
            self.app.get_key_display(binding),
            description,
            binding.action,
            disabled=not enabled,
            tooltip=tooltip or binding.description,
            classes="-here" if binding.action == f"go('{self.app.current_mode}')" else "",
        )
        return key.data_bind(compact=Footer.compact)


def _that_fit(keys: list[FooterKey], more: FooterKey | None, width: int) -> list[FooterKey]:
    """The keys from the left, and `more` at the end where they are not all of them. A width of 0 is not known yet."""
    if width == 0 or more is None or _ends(keys)[-1:] <= [width]:
        return keys
    return [key for key, end in zip(keys, _ends(keys), strict=True) if end + 1 + _width(more) <= width] + [more]


def _ends(keys: list[FooterKey]) -> list[int]:
    """Where each ends, in cells, with one of space between them."""
    return list(accumulate(map(_width, keys), lambda end, width: end + 1 + width))


def _width(key: FooterKey) -> int:
    return cell_len(key.key_display) + 1 + cell_len(key.description)


def _in_order(active: Iterable[ActiveBinding]) -> list[ActiveBinding]:
    """One binding for each action, those that lead to a screen first, in their order."""
    # An input's own F6 would put that screen before the others.
    places = [f"go('{place.name}')" for place in PLACES]
    found: dict[str, ActiveBinding] = {}
    for one in active:
        if one.binding.show:
            found.setdefault(one.binding.action, one)
    rank = {action: place for place, action in enumerate(places)}
    return [found[action] for action in sorted(found, key=lambda action: rank.get(action, len(places)))]
