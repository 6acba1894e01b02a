"""What became of suggestions and answers: one JSON line for each event, in a file that only grows.

Texts are kept only of repositories that their user opted in (`feedback_consent`), and redacted before they are written;
where that is not possible they are left out. Several processes may write at once.
"""

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from assistant import atomic, feedback_consent, feedback_expiry, paths
from assistant.errors import HoneError
from assistant.feedback_events import SCHEMA_VERSION, Event, Kind, Source, check, older_than, parsed, time_of

COPIES = "feedback"
"""Folder of the cache with what tuning runs wrote down of the texts, a folder for each; forgetting removes those that
have what is forgotten."""
ROWS = "rows.json"
"""In each of them; `ids` are those of its events."""
MAX_TEXT = 200_000
"""Characters of a text; longer ones are left out."""
MAX_BYTES = 256 * 2**20
"""A larger file takes no more texts, only what happened."""


@dataclass(frozen=True)
class Log:
    events: tuple[Event, ...]
    damaged: int
    """Lines that could not be read."""


@dataclass(frozen=True)
class Imported:
    """Where an event of another program comes from."""

    time: datetime
    """With its time zone."""
    user: str | None
    """As that program names its users."""


class Feedback:
    """The events of one file.

    Args:
        file: None is the one of the state folder; what was opted in to lies beside it.
        repository: the root of the one that events happen in; None where that is not known.
    """

    def __init__(self, file: Path | None = None, repository: Path | None = None) -> None:
        self.file = file or paths.home() / "feedback.jsonl"
        self._repository = repository
        self._repository_key = feedback_consent.key_of(repository) if repository is not None else None

    def of(self, repository: Path | None) -> "Feedback":
        """The same file, for events in another repository."""
        return Feedback(self.file, repository)

    @property
    def repository(self) -> Path | None:
        return self._repository

    def keeps_texts(self) -> bool:
        """Whether the user opted in to keeping the texts of what happens here.

        Raises:
            HoneError: what was opted in to cannot be read.
        """
        return feedback_consent.read(self.file.parent).allows(self._repository)

    def record(
        self,
        kind: Kind,
        *,
        id: str,
        model: str,
        adapter: str | None = None,
        language: str | None = None,
        source: Source = "complete",
        prompt: str | None = None,
        completion: str | None = None,
        before: str | None = None,
        prompt_sha256: str | None = None,
        survival: float | None = None,
        seconds: float | None = None,
        path: str | None = None,
        rendered: bool | None = None,
        imported: Imported | None = None,
    ) -> Event:
        """Appends one event and returns it as written.

        Redaction takes milliseconds (the first one more): not for a thread that draws or serves.

        Args:
            prompt, completion: as they were; they are redacted here.
            before: what stands right before the completion in the file, when that is not the end of the prompt; looked
                at and not kept, since a secret may begin in it.
            prompt_sha256: None is computed from the prompt.
            path: of the file, from the repository's root.
            rendered: see `Event`; None: completions are, chats are not.
            imported: where another program's event comes from; its texts are kept, since the user brought them.

        Raises:
            UsageError: a field is not what it must be.
            HoneError: the file, or what was opted in to, cannot be read or written.
        """
        check(kind, id, model, adapter, language, source, prompt_sha256, survival, seconds)
        if prompt is not None and prompt_sha256 is None:
            import hashlib

            prompt_sha256 = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
        consent = feedback_consent.read(self.file.parent)
        allowed = imported is not None or consent.allows(self._repository)
        there_are = prompt is not None or completion is not None
        texts = self._redacted(prompt, completion, before) if allowed or not there_are else None
        kept_prompt, kept_completion = texts or (None, None)
        event = Event(
            id=id,
            time=(imported.time if imported else datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds"),
            kind=kind,
            source=source,
            model=model,
            adapter=adapter,
            language=language,
            prompt_sha256=prompt_sha256,
            prompt=kept_prompt,
            completion=kept_completion,
            survival=None if survival is None else round(survival, 4),
            seconds=None if seconds is None else round(seconds, 3),
            withheld=texts is None,
            repository=self._repository_key,
            path=path if allowed and texts is not None else None,
            user=imported.user if imported else None,
            rendered=source == "complete" if rendered is None else rendered,
            model_sha256=_base_digest(model) if adapter is None and imported is None else None,
        )
        self._expire(consent.retention_days)
        self._append(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(event)}, ensure_ascii=False) + "\n")
        return event

    def read(self) -> Log:
        """All events, oldest first.

        Raises:
            HoneError: the file cannot be read, or a newer Hone wrote into it.
        """
        events: list[Event] = []
        damaged = 0
        for line in self._lines():
            event = parsed(line)
            if event is None:
                damaged += 1
            else:
                events.append(event)
        return Log(tuple(events), damaged)

    def _expire(self, days: int) -> None:
        """Removes what is older than that, once a day, unless the clock is in doubt; adapters that learnt from it are
        marked."""
        now = datetime.now(UTC)
        with _told(self.file):
            if not feedback_expiry.is_due(self.file, now):
                return
            if feedback_expiry.is_doubtful(self.file, days, now, self._newest):
                return
        self.forget(older_than(days, now), self._mark_expired)
        self.note_removal(now)

    def note_removal(self, now: datetime | None = None) -> None:
        """Notes that what is past its time is removed, by a clock that is right.

        Raises:
            HoneError: the folder cannot be written.
        """
        with _told(self.file):
            feedback_expiry.done(self.file, now or datetime.now(UTC))

    def _newest(self) -> datetime | None:
        return max((time for event in self.read().events if (time := time_of(event))), default=None)

    def _mark_expired(self, ids: Collection[str]) -> None:
        from assistant import feedback_trained
        from assistant.models.registry import Registry

        registry = Registry(self.file.with_name(paths.registry_file().name))
        if not registry.file.exists():
            return
        # What cannot be traced is removed all the same: that its time is over was promised.
        with suppress(HoneError):
            digests = [feedback_trained.digest_of(one) for one in ids]
            feedback_trained.mark(feedback_trained.touched(digests, registry), registry, feedback_trained.EXPIRED)

    def forget(
        self, wanted: Callable[[Event], bool], before: Callable[[Collection[str]], None] = lambda ids: None
    ) -> int:
        """Removes the events that `wanted` tells, and all lines that cannot be read; how many events.

        Args:
            before: is told the ids of what goes, if anything does, before it goes; nobody else writes meanwhile, and
                when it raises nothing goes.

        Raises:
            HoneError: the file cannot be read or written, or a newer Hone wrote into it.
        """
        forgotten = 0
        going: set[str] = set()
        kept: list[bytes] = []
        with self._locked():
            for line in self._lines():
                event = parsed(line)
                if event is None:
                    continue
                if wanted(event):
                    forgotten += 1
                    going.add(event.id)
                else:
                    kept.append(line)
            if going:
                before(going)
            if self.file.exists():
                with _told(self.file):
                    atomic.write_bytes(self.file, b"".join(kept), mode=0o600)
        return forgotten

    def size(self) -> int:
        """Bytes of the file."""
        try:
            return self.file.stat().st_size
        except FileNotFoundError:
            return 0

    def _redacted(
        self, prompt: str | None, completion: str | None, before: str | None
    ) -> tuple[str | None, str | None] | None:
        """None when the texts must be left out."""
        if prompt is None and completion is None:
            return None, None
        if max(len(prompt or ""), len(completion or "")) > MAX_TEXT or self.size() > MAX_BYTES:
            return None
        from assistant.redaction.redact import redact

        leading = before if before is not None else prompt or ""
        try:
            (clean_prompt, _), (clean_completion, inside) = redact(prompt or ""), redact(completion or "")
            # A secret that begins before the completion and ends in it is seen in neither text alone.
            if completion and len(redact(leading + completion)[1]) != len(redact(leading)[1]) + len(inside):
                return None
            (clean_prompt + clean_completion).encode("utf-8")
        except (HoneError, UnicodeEncodeError):
            return None
        return clean_prompt if prompt is not None else None, clean_completion if completion is not None else None

    def _append(self, line: str) -> None:
        data = line.encode("utf-8")
        with self._locked(), _told(self.file):
            descriptor = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                # A line that was cut off by a crash stays a line of its own.
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    data = b"\n" + data
                written = os.write(descriptor, data)
                if written != len(data):
                    os.ftruncate(descriptor, size)
                    raise OSError(28, "no space left on the device")
            finally:
                os.close(descriptor)

    def _lines(self) -> Iterator[bytes]:
        if not self.file.exists():
            return
        with _told(self.file), self.file.open("rb") as opened:
            yield from opened

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, over all processes."""
        with _told(self.file):
            descriptor = os.open(self.file.with_name(self.file.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _base_digest(model: str) -> str | None:
    """Of a large model it takes a second the first time; then it is known until the file changes."""
    from assistant.models import store
    from assistant.models.identity import base_identity

    try:
        base = store.find(model)
        return base_identity(base).digest if base is not None else None
    except HoneError:
        return None


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HoneError(f"cannot use {file}, where feedback is kept: {error.strerror}") from error
