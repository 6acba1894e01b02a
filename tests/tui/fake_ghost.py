"""A `Ghost` whose suggestions are written in the test."""

import threading
from dataclasses import dataclass, field

from assistant.errors import HoneError
from assistant.skills.ghost import How, Shown


@dataclass
class FakeGhost:
    """`texts` are given one after another; a text that is an Event is waited for and gives nothing."""

    texts: list[str | threading.Event | HoneError] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    """What is written when `texts` has no more, by the text before the cursor on its line."""
    known: dict[str, str] = field(default_factory=dict)
    """What is shown at once, by the text before the cursor on its line."""
    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    """Path, text before the cursor, by hand or not."""
    events: list[tuple[str, ...]] = field(default_factory=list)

    def suggest(self, path: str, text: str, offset: int, *, manual: bool = False) -> Shown | None:
        self.asked.append((path, text[:offset], manual))
        found = self.texts.pop(0) if self.texts else self.written.get(text[:offset].rpartition("\n")[2], "")
        if isinstance(found, threading.Event):
            found.wait(20)
            return None
        if isinstance(found, HoneError):
            raise found
        return self._shown(found, 0.123) if found else None

    def ready(self, path: str, text: str, offset: int) -> Shown | None:
        found = self.known.get(text[:offset].rpartition("\n")[2])
        return self._shown(found, 0.0) if found else None

    def cancel(self) -> None:
        self.events.append(("cancel",))

    def debounce_seconds(self) -> float:
        return 0.01

    def accepted(self, shown_id: str, how: How, text: str) -> None:
        self.events.append(("accepted", how, text))

    def rejected(self, shown_id: str) -> None:
        self.events.append(("rejected",))

    def typed_on(self, shown_id: str | None, text: str) -> None:
        self.events.append(("typed", str(shown_id), text))

    def close(self) -> None:
        self.events.append(("close",))

    @staticmethod
    def _shown(text: str, seconds: float) -> Shown:
        return Shown("s", text, "smollm2-135m", None, "", seconds, from_cache=not seconds, language="python")
