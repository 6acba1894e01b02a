"""Suggestions while a person types: what `complete` does once, kept warm for one open repository.

A keystroke costs little because what is known stays: the snippets and the beginning of the prompt while the cursor
stays in its neighbourhood (so the engine computes only what was typed), token counts of lines, and the completions
themselves, whose rest is shown at once while the user types them.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.client import Cancellation
from assistant.errors import HoneError
from assistant.feedback import Feedback
from assistant.languages import language_of
from assistant.skills import complete as completion
from assistant.skills import filters, reuse
from assistant.skills.outcomes import Given, Outcomes
from assistant.skills.pace import Pace
from assistant.skills.planner import Planner

How = Literal["whole", "line", "word"]

MAX_TOKENS: dict[filters.Shape, int] = {"line": 48, "block": 160, "body": 256}
"""Of one suggestion."""
MAX_RIGHT_OF_CURSOR = 8
"""Nothing is suggested unasked in front of more characters than that (as llama.vim)."""
_FORM_SECONDS = 10.0
"""After that long the gateway is asked again what the model's name stands for: it may have been promoted."""


@dataclass(frozen=True)
class Shown:
    """A suggestion."""

    id: str
    """Of the completion; what is left of it after typing or accepting a part has the same one."""
    text: str
    """To insert at the cursor; its line ends are the file's. Never empty."""
    model: str
    adapter: str | None
    prompt_sha256: str
    latency_seconds: float
    """From the call of `suggest` to its return."""
    from_cache: bool
    language: str | None


class Ghost:
    """Suggestions for the files of one repository. Thread-safe; all methods but `suggest` return at once.

    Args:
        client: of the gateway (`assistant.client.Client`).
        model: what to complete with; None is the gateway's default.
        root: the repository; None completes each file from itself alone.
        feedback: where it is kept what became of suggestions, with their texts if `root` was opted in; None keeps
            nothing.
        clock: seconds, steady.
    """

    def __init__(
        self,
        client: completion.CompletionClient,
        model: str | None = None,
        root: Path | None = None,
        *,
        feedback: Feedback | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._model = model
        self._clock = clock
        self._lock = threading.Lock()
        # Plans one request after the other: they share the token counts and the last plan.
        self._planning = threading.Lock()
        self._planner = Planner(client, root, clock)
        self._running: Cancellation | None = None
        self._form: completion.ModelForm | None = None
        self._form_time = 0.0
        self._completions = reuse.Completions()
        self._outcomes = Outcomes(feedback.of(root) if feedback is not None else None, clock)
        self._pace = Pace()

    def suggest(self, path: str, text: str, offset: int, *, manual: bool = False) -> Shown | None:
        """What to insert at the cursor; None when there is nothing, or when a later call or `cancel` came meanwhile.

        Blocks while the model writes. Call it from a worker thread, `debounce_seconds` after the last key; a call ends
        the one before it within one token.

        Args:
            path: of the file below the repository's root, `/` separated; files of no known language get suggestions
                only when asked for.
            text: the whole file as it is in the editor.
            offset: of the cursor, in characters.
            manual: the user asked for it.

        Raises:
            UnknownModel: the gateway does not serve the model.
            HoneError: the gateway fails.
        """
        started = self._clock()
        mine = self._begin()
        try:
            found = self.ready(path, text, offset)
            if found is not None:
                return found
            if not manual and not _worth_asking(path, text, offset):
                return None
            form = self._model_form()
            where = reuse.place(path, form.name, text, offset)
            with self._lock:
                known = self._completions.find(where)
            if known is not None and not known.text and not manual:
                return None
            if mine.cancelled:
                return None
            with self._planning:
                made = self._planner.plan(form, path, text, offset, max(MAX_TOKENS.values()))
            if mine.cancelled:
                return None
            done = completion.generate(self._client, form, made, MAX_TOKENS[made.around.shape], cancel=mine)
            # What a cancel cut short is no completion.
            return None if mine.cancelled else self._give(mine, where, done, self._clock() - started)
        finally:
            self._end(mine)

    def ready(self, path: str, text: str, offset: int) -> Shown | None:
        """What can be shown without asking the model: the rest of a completion that was made before. Takes well under a
        millisecond, so an editor may call it at each key before it waits for `suggest`.
        """
        started = self._clock()
        with self._lock:
            form = self._form
            if form is None:
                return None
            self._outcomes.seen(path, text, offset)
            known = self._completions.find(reuse.place(path, form.name, text, offset))
            given = self._outcomes.find(known.id) if known is not None and known.text else None
            if known is None or given is None:
                return None
            given.taken = known.typed
            self._outcomes.show(given)
            return Shown(given.id, known.text, latency_seconds=self._clock() - started, from_cache=True, **given.facts)

    def cancel(self) -> None:
        """Ends the running `suggest`, which returns None."""
        with self._lock:
            if self._running is not None:
                self._running.cancel()

    def debounce_seconds(self) -> float:
        """How long to wait after a key before `suggest`; adapts to typing speed and to how long answers take."""
        with self._lock:
            return self._pace.debounce()

    def typed_on(self, shown_id: str | None, text: str) -> None:
        """The user typed `text` while `shown_id` was shown (None: nothing was). Call it at each key."""
        with self._lock:
            self._pace.key(self._clock())
            self._outcomes.typed(shown_id, text)

    def accepted(self, shown_id: str, how: How, text: str) -> None:
        """`text` was inserted: all that was shown, or its beginning up to the end of a line or word. The rest may stay
        on the screen under the same id. An unknown id is ignored."""
        with self._lock:
            self._outcomes.accept(shown_id, text)

    def rejected(self, shown_id: str) -> None:
        """The user dismissed it. It is not suggested at that place again unless asked for."""
        with self._lock:
            if self._outcomes.reject(shown_id) is not None:
                self._completions.forget(shown_id)

    @property
    def problem(self) -> HoneError | None:
        """Why suggestions know nothing of other files (the index cannot be used), or why feedback is not kept."""
        return self._planner.problem or self._outcomes.problem

    def wait(self, seconds: float) -> bool:
        """Until the repository's index is up to date; False when that takes longer. Suggestions do not wait for it."""
        return self._planner.wait(seconds)

    def close(self) -> None:
        """Ends what runs, closes the index and writes the rest of the feedback."""
        self.cancel()
        with self._planning:
            self._planner.close()
        with self._lock:
            self._outcomes.close()

    def _begin(self) -> Cancellation:
        mine = Cancellation()
        with self._lock:
            before, self._running = self._running, mine
        if before is not None:
            before.cancel()
        return mine

    def _end(self, mine: Cancellation) -> None:
        with self._lock:
            if self._running is mine:
                self._running = None

    def _model_form(self) -> completion.ModelForm:
        now = self._clock()
        with self._lock:
            if self._form is not None and now - self._form_time < _FORM_SECONDS:
                return self._form
        form = completion.model_form(self._client, self._model)
        with self._lock:
            self._form, self._form_time = form, now
        return form

    def _give(
        self, mine: Cancellation, where: reuse.Place, done: completion.Completion, seconds: float
    ) -> Shown | None:
        language = language_of(where.path)
        facts: dict[str, Any] = {
            "model": done.model,
            "adapter": done.adapter,
            "language": language.name if language else None,
            "prompt_sha256": hashlib.sha256(done.prompt.encode()).hexdigest(),
        }
        given = Given(
            id=secrets.token_hex(8),
            text=done.text,
            path=where.path,
            offset=where.offset,
            before=where.before,
            after=where.after,
            prompt=done.prompt,
            held_back=done.held_back,
            facts=facts,
        )
        with self._lock:
            self._pace.answered(seconds)
            self._completions.add(given.id, where, done.text)
            if not done.text:
                return None
            self._outcomes.add(given)
            # Both may have come since it was written; it is kept for whoever asks there again.
            if self._running is not mine or mine.cancelled:
                return None
            self._outcomes.show(given)
            return Shown(given.id, done.text, latency_seconds=seconds, from_cache=False, **facts)


def _worth_asking(path: str, text: str, offset: int) -> bool:
    """Whether to suggest something unasked."""
    if language_of(path) is None:
        return False
    end = text.find("\n", offset)
    return len(text[offset : len(text) if end < 0 else end].strip()) <= MAX_RIGHT_OF_CURSOR
