"""Prompts for one cursor after the other: what does not change stays as it is, byte for byte, so that the engine's
prompt cache answers for it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import HoneError
from assistant.prompts import Snippet
from assistant.skills import index
from assistant.skills.chunks import CHUNK_LINES
from assistant.skills.complete import CompletionClient, ModelForm, Plan, plan
from assistant.skills.counts import LineCounts

NEIGHBOURHOOD_LINES = 32
"""The cursor may move so far before other files are searched again."""
UPDATE_SECONDS = 30.0
"""The index is brought up to date at most that often."""
RECENT_FILES = 8


@dataclass(frozen=True)
class _Last:
    """Where other files were searched last, and the last prompt since then."""

    path: str
    model: str
    line: int
    searches: int
    """Updates of the index by then."""
    made: Plan


class Planner:
    """Not thread-safe, but for the index, which is built and updated in a thread of its own.

    Args:
        root: the repository; None, or an index that is not built yet, shows no other files.
    """

    def __init__(
        self, client: CompletionClient, root: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._root = root
        self._clock = clock
        self._counts: LineCounts | None = None
        self._last: _Last | None = None
        self._recent: OrderedDict[str, Snippet] = OrderedDict()
        self._here: tuple[str, str, int] | None = None
        self._index: index.Index | None = None
        self._updating: threading.Thread | None = None
        self._updated = 0.0
        self._updates = 0
        self.problem: HoneError | None = None
        """Why other files cannot be shown."""
        self._update()

    def wait(self, seconds: float) -> bool:
        """Until the index is up to date; False when it takes longer."""
        if self._updating is not None:
            self._updating.join(seconds)
            return not self._updating.is_alive()
        return True

    def plan(self, form: ModelForm, path: str, text: str, offset: int, max_tokens: int) -> Plan:
        """
        Raises:
            HoneError: the gateway fails, or the index is damaged.
        """
        self._edited(path, text, offset)
        if self._counts is None or self._counts.model != form.name:
            self._counts = LineCounts(self._client, form.name)
        line = text.count("\n", 0, offset)
        last = self._last if self._last and (self._last.path, self._last.model) == (path, form.name) else None
        near = last is not None and abs(last.line - line) <= NEIGHBOURHOOD_LINES
        # The first answers do not wait for the index; once it is there they use it.
        search = not near or (last is not None and last.searches == 0 and self._updates > 0)
        if search:
            self._update()
        searches = self._updates
        made = plan(
            self._client,
            form,
            path,
            text[:offset],
            text[offset:],
            retriever=self._index if search and searches else None,
            max_tokens=max_tokens,
            near=last.made if last else None,
            recent=tuple(snippet for name, snippet in self._recent.items() if name != path),
            count=self._counts.bounded,
        )
        if search or last is None:
            self._last = _Last(path, form.name, line, searches, made)
        else:
            self._last = _Last(path, form.name, last.line, last.searches, made)
        return made

    def close(self) -> None:
        # An update that is still running ends with the process; what it wrote is whole or not there.
        if self.wait(0) and self._index is not None:
            self._index.close()

    def _edited(self, path: str, text: str, offset: int) -> None:
        """Remembers the place that was edited last in the file that was left."""
        if self._here is not None and self._here[0] != path:
            left, before, where = self._here
            self._recent[left] = Snippet(left, _around(before, where))
            self._recent.move_to_end(left)
            while len(self._recent) > RECENT_FILES:
                self._recent.popitem(last=False)
        self._here = (path, text, offset)

    def _update(self) -> None:
        now = self._clock()
        running = self._updating is not None and self._updating.is_alive()
        if self._root is None or running or (self._updates and now - self._updated < UPDATE_SECONDS):
            return
        self._updated = now
        self._updating = threading.Thread(target=self._run_update, args=(self._root,), daemon=True)
        self._updating.start()

    def _run_update(self, root: Path) -> None:
        try:
            if self._index is None:
                made = index.of_repository(root)
                made.update()
                self._index = made
            else:
                self._index.update()
            self.problem = None
            self._updates += 1
        except HoneError as error:
            self.problem = error


def _around(text: str, offset: int) -> str:
    """The lines around a place, `CHUNK_LINES` of them."""
    lines = text.replace("\r\n", "\n").split("\n")
    at = text.count("\n", 0, offset)
    first = max(0, min(at - CHUNK_LINES // 2, len(lines) - CHUNK_LINES))
    return "\n".join(lines[first : first + CHUNK_LINES]).strip("\n") + "\n"
