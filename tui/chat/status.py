"""The status line: state, model and adapter, speed, and how full the context is."""

from dataclasses import dataclass
from typing import Literal

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.fields import Field, fitted

State = Literal["loading", "ready", "answering", "stopping", "down"]
_SIGNS: dict[State, tuple[str, str]] = {
    "loading": ("◌", "$text-warning"),
    "ready": ("●", "$text-success"),
    "answering": ("▶", "$text-primary"),
    "stopping": ("■", "$text-warning"),
    "down": ("✕", "$text-error"),
}


@dataclass(frozen=True)
class Status:
    state: State = "loading"
    detail: str = ""
    model: str = ""
    adapter: str = ""
    tokens_per_second: float | None = None
    used: int | None = None
    """Tokens of the context in use after the last answer."""
    context_length: int = 0
    queued: int = 0


class StatusLine(Widget):
    """Leaves out the least important fields where the terminal is narrow."""

    status: reactive[Status] = reactive(Status())

    def __init__(self) -> None:
        super().__init__(id="status")

    def render(self) -> Content:
        return fitted(_fields(self.status), self.size.width)


def _fields(status: Status) -> list[Field]:
    sign, style = _SIGNS[status.state]
    words = status.state if not status.detail else f"{status.state} {status.detail}"
    fields = [(0, Content.assemble((sign, style), " ", (words, style)))]
    if status.model:
        fields.append((1, Content.assemble((status.model, "bold"))))
        fields.append((2 if status.adapter else 5, Content(status.adapter or "no adapter").stylize("$text-muted")))
    if status.tokens_per_second:
        fields.append((4, Content(f"{status.tokens_per_second:.0f} tok/s")))
    if status.context_length:
        used = status.used or 0
        share = 100 * used // status.context_length
        text = f"context {used}/{status.context_length} ({share}%)"
        fields.append((3, Content(text).stylize("$text-warning" if share >= 80 else "$text-muted")))
    if status.queued:
        fields.append((1, Content(f"{status.queued} queued").stylize("$text-warning")))
    return fields
