"""What becomes of suggestions that are shown: taken, turned down or passed by; and how much of what was taken stays."""

import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from assistant.errors import HoneError
from assistant.feedback import Feedback
from assistant.feedback_events import Kind

READ_SECONDS = 0.5
"""What was visible for less was not read, and counts as never shown (as in Continue)."""
SURVIVAL_SECONDS = 30.0
_REMEMBERED = 256
_WINDOW = 2_000
"""Characters around an accepted text in which it is looked for again."""
_ANCHOR = 80
"""Characters on both sides by which the place of an accepted text is found again."""
_RUN = 3
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass
class Given:
    """A completion that was made, and what became of it."""

    id: str
    text: str
    path: str
    offset: int
    """Of its first character, in the file."""
    before: str
    """What stands before it."""
    after: str
    """What stands behind it."""
    prompt: str
    held_back: str
    """What the model wrote between the prompt and `text`."""
    facts: dict[str, Any]
    """Model, adapter, language and prompt digest."""
    taken: int = 0
    """Characters of it that are in the file: typed or accepted."""
    accepted: bool = False
    """Some of it was."""
    seconds: float = 0.0
    """It was visible before `since`."""
    since: float | None = None
    """Visible since then."""
    told: set[Kind] = field(default_factory=set)

    @property
    def rest(self) -> str:
        return self.text[self.taken :]

    def answer(self, text: str) -> str:
        """What the model wrote for `text`, a beginning of `self.text`: what follows the prompt, as in training."""
        return self.held_back + text.replace("\r\n", "\n")


@dataclass
class _Watched:
    """An accepted text that is looked at again."""

    given: Given
    text: str
    at: float
    now: str | None = None
    """The file as it was seen last; None while it was not seen again."""


class Outcomes:
    """Not thread-safe; events are written by a thread of its own.

    Args:
        feedback: None keeps no events.
    """

    def __init__(self, feedback: Feedback | None, clock: Callable[[], float]) -> None:
        self._feedback = feedback
        self._clock = clock
        self._given: OrderedDict[str, Given] = OrderedDict()
        self._visible: Given | None = None
        self._watched: list[_Watched] = []
        # One thread: events stay in order, and the process waits for them at its end.
        self._writer = ThreadPoolExecutor(1, "feedback") if feedback is not None else None
        self.problem: HoneError | None = None
        """Why events could not be written."""

    def add(self, given: Given) -> None:
        self._given[given.id] = given
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)

    def find(self, identity: str) -> Given | None:
        return self._given.get(identity)

    def show(self, given: Given) -> None:
        """It is on the screen now."""
        if self._visible is not given:
            self._settle()
            self._visible = given
        if given.since is None:
            given.since = self._clock()

    def typed(self, identity: str | None, text: str) -> None:
        """The user typed `text` while `identity` was shown."""
        given = self._visible
        if given is None or given.id != identity:
            return
        if given.rest.startswith(text):
            given.taken += len(text)
        else:
            self._settle("rejected")

    def accept(self, identity: str, text: str) -> None:
        given = self._given.get(identity)
        if given is None:
            return
        given.taken = min(given.taken + len(text), len(given.text))
        given.accepted = True
        self._hide(given)
        if not given.rest:
            self._settle_one(given, "accepted")
            if self._visible is given:
                self._visible = None

    def reject(self, identity: str) -> Given | None:
        """The user turned it down; counts however short it was visible."""
        given = self._given.pop(identity, None)
        if given is not None:
            given.seconds = max(given.seconds, READ_SECONDS)
            self._settle_one(given, "rejected")
            if self._visible is given:
                self._visible = None
        return given

    def seen(self, path: str, text: str, offset: int) -> None:
        """The file as it is now; the cursor is at `offset`."""
        given = self._visible
        if given is not None:
            typed = offset - given.offset
            here = given.path == path and 0 <= typed <= len(given.text)
            if not here or text[given.offset : offset] != given.text[:typed]:
                self._settle()
        for watched in self._watched:
            if watched.given.path == path:
                watched.now = text
        self._look_again()

    def close(self) -> None:
        """Writes what is not written yet; what was accepted lately is looked at now."""
        self._settle()
        for watched in self._watched:
            self._tell_survival(watched)
        self._watched.clear()
        if self._writer is not None:
            self._writer.shutdown(wait=True)
            self._writer = None

    def _hide(self, given: Given) -> None:
        if given.since is not None:
            given.seconds += self._clock() - given.since
            given.since = None

    def _settle(self, how: Kind | None = None) -> None:
        """What is visible goes away."""
        given, self._visible = self._visible, None
        if given is not None:
            self._settle_one(given, how)

    def _settle_one(self, given: Given, how: Kind | None) -> None:
        self._hide(given)
        if given.accepted:
            how = "partly" if given.rest else "accepted"
        elif given.seconds < READ_SECONDS:
            return
        if not given.told:
            self._tell(given, "shown", prompt=given.prompt, completion=given.answer(given.text), before=given.before)
        if how is None or how in given.told or "accepted" in given.told:
            return
        if given.accepted:
            text = given.text[: given.taken]
            self._tell(given, how, completion=given.answer(text), before=given.before)
            self._watched = [watched for watched in self._watched if watched.given is not given]
            self._watched.append(_Watched(given, text, self._clock()))
        else:
            self._tell(given, how)

    def _look_again(self) -> None:
        due = [watched for watched in self._watched if self._clock() - watched.at >= SURVIVAL_SECONDS]
        for watched in due:
            self._tell_survival(watched)
            self._watched.remove(watched)

    def _tell_survival(self, watched: _Watched) -> None:
        # A file that was not seen since then was not edited since then.
        if watched.now is not None:
            given = watched.given
            share = survival(watched.text, watched.now, given.offset)
            made = rewritten(watched.text, given.before, given.after, watched.now, given.offset)
            self._tell(
                given,
                "edited",
                survival=share,
                seconds=self._clock() - watched.at,
                completion=given.answer(made) if made is not None else None,
                before=given.before,
            )

    def _tell(self, given: Given, kind: Kind, **details: Any) -> None:
        given.told.add(kind)
        if self._writer is not None:
            self._writer.submit(self._write, kind, {"id": given.id, "path": given.path, **given.facts, **details})

    def _write(self, kind: Kind, details: dict[str, Any]) -> None:
        assert self._feedback is not None
        try:
            self._feedback.record(kind, **details)
        except HoneError as error:
            self.problem = error


def survival(accepted: str, text: str, offset: int) -> float:
    """The share of the words and signs of an accepted text that a file still has around where it was put: in order, and
    `_RUN` of them next to each other at least, since single ones are everywhere."""
    words = _TOKEN.findall(accepted)
    if not words:
        return 1.0
    around = _TOKEN.findall(text[max(0, offset - _WINDOW) : offset + len(accepted) + _WINDOW])
    blocks = SequenceMatcher(None, words, around, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= min(_RUN, len(words))) / len(words)


def rewritten(accepted: str, before: str, after: str, text: str, offset: int) -> str | None:
    """What a file has now where an accepted text was put; None when the place is not found, or nothing is left there.

    What was written behind the accepted text is no edit of it: lines after the last one that is still there are left
    out, and so is what is behind a blank line where nothing of its end is there. One line is taken for one line, unless
    it opens a block.

    Args:
        before, after: what stood on both sides of it.
        text: the file now.
        offset: where the accepted text began.
    """
    head = before[-_ANCHOR:]
    starts = [match.start() + len(head) for match in re.finditer(f"(?={re.escape(head)})", text)] if head else [0]
    if not starts:
        return None
    start = min(starts, key=lambda at: abs(at - offset))
    tail = after[:_ANCHOR]
    end = text.find(tail, start) if tail.strip() else len(text)
    if end < 0:
        return None
    found = _edited_lines(accepted.split("\n"), text[start:end].split("\n"))
    return found if found.strip() else None


def _edited_lines(accepted: list[str], now: list[str]) -> str:
    tag, first, last, now_first, now_last = SequenceMatcher(None, accepted, now, autojunk=False).get_opcodes()[-1]
    if tag == "insert":
        now_last = now_first
    elif tag == "replace":
        replaced = last - first
        opens = now[now_first].rstrip().endswith((":", "{", "(", "["))
        most = replaced if len(accepted) == 1 and not opens else 2 * replaced + 2
        blank = next((at for at in range(now_first + 1, now_last) if not now[at].strip()), now_last)
        now_last = min(blank, now_first + most)
    return "\n".join(now[:now_last])
