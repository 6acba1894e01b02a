"""The footer: the screens first, then what the keys do here. What does not fit at the right is in the palette."""

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.screen import ActiveBinding
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from tui.places import PLACES


class KeyBar(Footer):
    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)

    def compose(self) -> ComposeResult:
        if not self._bindings_ready:
            return
        here = f"go('{self.app.current_mode}')"
        for _, binding, enabled, tooltip in _in_order(self.screen.active_bindings.values()):
            key = FooterKey(
                binding.key,
                self.app.get_key_display(binding),
                binding.description,
                binding.action,
                disabled=not enabled,
                tooltip=tooltip or binding.description,
                classes="-here" if binding.action == here else "",
            )
            yield key.data_bind(compact=Footer.compact)


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
