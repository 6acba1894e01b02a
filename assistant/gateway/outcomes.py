"""`/v1/feedback` and Tabby's events: what became of the answers that were given, kept by `assistant.feedback`."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assistant.feedback import Feedback
from assistant.feedback_events import KINDS, Kind, Source
from assistant.gateway.fields import BadFieldError, integer, number, string
from assistant.gateway.tabby import Event

_WITH_TEXT = frozenset({"shown", "accepted", "partly", "edited", "up", "down"})


@dataclass(frozen=True)
class Given:
    """An answer that was given."""

    model: str
    adapter: str | None
    source: Source
    language: str | None
    prompt: str | None
    """None when it was asked as token ids."""
    texts: tuple[str, ...]
    """One for each choice."""

    @property
    def characters(self) -> int:
        return len(self.prompt or "") + sum(map(len, self.texts))


class Journal:
    """The latest answers by id, in memory only: feedback comes within minutes."""

    def __init__(self, entries: int = 512, characters: int = 8_000_000) -> None:
        self._most_entries = entries
        self._most_characters = characters
        self._characters = 0
        self._given: OrderedDict[str, Given] = OrderedDict()

    def add(self, identifier: str, given: Given) -> None:
        self._given[identifier] = given
        self._characters += given.characters
        while len(self._given) > self._most_entries or self._characters > self._most_characters:
            _, oldest = self._given.popitem(last=False)
            self._characters -= oldest.characters

    def find(self, identifier: str, field: str) -> Given:
        """
        Raises:
            BadFieldError: it was not given by this gateway, or too long ago.
        """
        given = self._given.get(identifier)
        if given is None:
            raise BadFieldError(field, "this gateway gave no answer of that id, or it was too many answers ago")
        return given


@dataclass(frozen=True)
class Outcome:
    kind: Kind
    identifier: str
    choice: int
    text: str | None
    """What was accepted, when that is not all of it; of `edited`, what the user made of it."""
    language: str | None
    survival: float | None
    seconds: float | None


def parse_feedback(body: Mapping[str, Any]) -> Outcome:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    kind = next((known for known in KINDS if known == body.get("kind")), None)
    if kind is None:
        raise BadFieldError("kind", f"kind must be one of {', '.join(KINDS)}")
    return Outcome(
        kind,
        string(body, "id") or "",
        integer(body, "choice", 0, 1000) or 0,
        string(body, "text"),
        string(body, "language"),
        None if body.get("survival") is None else number(body, "survival", 0.0, 0.0, 1.0),
        None if body.get("seconds") is None else number(body, "seconds", 0.0, 0.0, 1e9),
    )


def from_tabby(event: Event) -> Outcome:
    kinds: dict[str, Kind] = {
        "view": "shown",
        "select": "partly" if event.line_only else "accepted",
        "dismiss": "rejected",
    }
    return Outcome(kinds[event.kind], event.completion_id, event.choice_index, None, None, None, event.elapsed_seconds)


def record(outcome: Outcome, given: Given) -> None:
    """Takes milliseconds: not for the event loop.

    Raises:
        BadFieldError: there is no such choice.
        HoneError: the feedback cannot be kept.
    """
    if outcome.choice >= len(given.texts):
        raise BadFieldError("choice", f"the answer has {len(given.texts)} choices, counted from 0")
    shown = given.texts[outcome.choice]
    if outcome.kind == "partly" and outcome.text is None:
        shown = shown.partition("\n")[0]
    with_text = outcome.kind in _WITH_TEXT
    text = outcome.text if outcome.text is not None or outcome.kind == "edited" else shown
    Feedback().record(
        outcome.kind,
        id=outcome.identifier,
        model=given.model,
        adapter=given.adapter,
        language=outcome.language or given.language,
        source=given.source,
        prompt=given.prompt if with_text else None,
        completion=text if with_text else None,
        survival=outcome.survival,
        seconds=outcome.seconds,
        rendered=True,
    )
