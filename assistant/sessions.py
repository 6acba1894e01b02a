"""Conversations on disk: one append-only JSONL file per session, synced as it grows.

`assistant.conversations` says what the lines are.
"""

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from assistant import conversations, paths
from assistant.conversations import SCHEMA_VERSION, Conversation, Message, event_of
from assistant.errors import HoneError
from assistant.skills.material import Material

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH_MILLISECONDS = 1_735_689_600_000  # 2025-01-01: eight base-32 digits of milliseconds last until 2059
_ID_LENGTH = 8
_LONGEST_NAME = 200
_LOOKED_AT = 8
"""Files that were written last, among which a conversation is sought that broke off."""


@dataclass
class Session:
    """One open conversation. The file appears with the first event and is locked against a second writer.

    Every method that writes raises HoneError when the disk refuses; what was written before stays. One thread may
    write what is typed while another writes what is answered.
    """

    conversation: Conversation
    path: Path
    _file: IO[bytes] | None = field(default=None, repr=False)
    _queue: list[str] = field(default_factory=list, repr=False)
    """Prompts that wait for their turn."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def id(self) -> str:
        return self.conversation.id

    def draft(self, text: str) -> None:
        """Keeps what stands in the input box; an empty text clears it."""
        with self._lock:
            if text != self.conversation.draft:
                self._keep({"type": "draft", "text": text}, draft=text)

    def queued(self, text: str) -> None:
        """Keeps a prompt that waits for its turn; `user` with the same text takes it out of the queue."""
        with self._lock:
            self._keep({"type": "queued", "text": text, "at": _now()}, draft="")
            self._queue.append(text)

    def taken_back(self, text: str) -> None:
        """Takes a prompt out of the queue unasked."""
        with self._lock:
            self._keep({"type": "taken_back", "text": text})
            if text in self._queue:
                self._queue.remove(text)

    def user(self, text: str, asked: str = "", materials: Sequence[Material] = ()) -> Message:
        """Keeps a question that is asked now, and what the model gets of it where that is more than its text.

        What was typed while it waited stays the draft; a question that did not wait was the draft itself.
        """
        message = Message("user", text, at=_now(), asked=asked if asked != text else "", materials=tuple(materials))
        with self._lock:
            waited = text in self._queue
            changes = {} if waited else {"draft": ""}
            self._keep(event_of(message), messages=(*self.conversation.messages, message), **changes)
            if waited:
                self._queue.remove(text)
        return message

    def partial(self, text: str) -> None:
        """Keeps the next piece of the answer under way."""
        self._keep({"type": "partial", "text": text})

    def answer(
        self, text: str, finish: str, model: str | None = None, details: Mapping[str, Any] | None = None
    ) -> Message:
        """Closes the answer under way: `text` is the whole of it, however it ended."""
        message = Message("assistant", text, finish, model, _now())
        event: dict[str, Any] = {"type": "answer", "text": text, "finish": finish, "model": model, "at": message.at}
        event |= {"details": dict(details)} if details else {}
        with self._lock:
            self._keep(event, messages=(*self.conversation.messages, message))
        return message

    def rename(self, name: str) -> None:
        """Gives it a name of one line; an empty one takes the name away."""
        name = " ".join(name.split())[:_LONGEST_NAME]
        self._keep({"type": "name", "text": name}, name=name)

    def follows(self, job: str) -> None:
        """Keeps that a job was started from here."""
        with self._lock:
            self._keep({"type": "job", "text": job}, jobs=(*self.conversation.jobs, job))

    def followed(self, job: str) -> None:
        """Keeps that the end of a job was shown."""
        with self._lock:
            left = tuple(one for one in self.conversation.jobs if one != job)
            self._keep({"type": "job_ended", "text": job}, jobs=left)

    def leave(self) -> None:
        """Keeps that the user goes away in order: what is unfinished here is no news at the next start."""
        if self._file is not None:
            self._keep({"type": "left"}, left=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, event: Mapping[str, Any], **changes: Any) -> None:
        with self._lock:
            self._append(event)
            self.conversation = replace(self.conversation, **changes)

    def _append(self, *events: Mapping[str, Any]) -> None:
        line = "".join(json.dumps(event, ensure_ascii=True) + "\n" for event in events)
        try:
            if self._file is None:
                self._file = _open_new(self.path)
                header = {"type": "session", "schema_version": SCHEMA_VERSION, "id": self.id}
                head = {**header, "created": self.conversation.created, "folder": self.conversation.folder}
                line = json.dumps(head, ensure_ascii=True) + "\n" + line
            self._file.write(line.encode("ascii"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise HoneError(f"cannot save the conversation to {self.path}: {error.strerror}") from error


def new(folder: Path | None = None) -> Session:
    """A conversation that is not on disk until something is said in it."""
    taken = paths.sessions_dir()
    number = time.time_ns() // 1_000_000 - _EPOCH_MILLISECONDS
    while (taken / f"{_encode(number)}.jsonl").exists():
        number += 1 + secrets.randbelow(8)
    identifier = _encode(number)
    conversation = Conversation(identifier, folder=str(folder or Path.cwd()), created=_now())
    return Session(conversation, taken / f"{identifier}.jsonl")


def fork(conversation: Conversation, count: int) -> Session:
    """A new conversation, on disk at once, that begins with the first `count` messages of another one.

    Raises:
        HoneError: the disk refuses.
    """
    forked = new(Path(conversation.folder) if conversation.folder else None)
    kept = conversation.messages[:count]
    forked._append({"type": "forked", "text": conversation.id}, *(event_of(message) for message in kept))
    forked.conversation = replace(forked.conversation, messages=kept)
    return forked


def open_session(spec: str) -> Session:
    """Opens a session to go on with it: its id, a unique beginning of it, or `last`.

    Raises:
        HoneError: there is none, the beginning is ambiguous, another process has it open, or the file is newer.
    """
    path = _find(spec)
    try:
        file = path.open("r+b")
    except OSError as error:
        raise HoneError(f"cannot open the session {path}: {error.strerror}") from error
    try:
        _lock(file, path.stem)
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.write(b"\n")
        conversation, queue = conversations.read(path.stem, content)
        session = Session(conversation, path, file)
        if queue:
            # From here on they are the draft alone: else they would be there twice when this is read again. The draft
            # is written first, so that a crash in between loses nothing.
            back = [{"type": "taken_back", "text": text} for text in queue]
            left = [{"type": "left"}] if conversation.left else []
            with suppress(HoneError):
                session._append({"type": "draft", "text": conversation.draft}, *back, *left)
        return session
    except BaseException:
        file.close()
        raise


def left_behind(folder: Path) -> Session | None:
    """The newest conversation of a folder that broke off, opened; None when there is none.

    One that another process has open has not broken off.
    """
    found = sorted(((path.stat().st_mtime, path.stem) for path in paths.sessions_dir().glob("*.jsonl")), reverse=True)
    for _, identifier in found[:_LOOKED_AT]:
        try:
            kept = load(identifier)
            if kept.folder == str(folder) and kept.broke_off:
                return open_session(identifier)
        except HoneError:
            continue
    return None


def load(spec: str) -> Conversation:
    """Reads a session without opening it for writing."""
    path = _find(spec)
    try:
        return conversations.read(path.stem, path.read_bytes())[0]
    except OSError as error:
        raise HoneError(f"cannot read the session {path}: {error.strerror}") from error


def listing(limit: int | None = None) -> list[Conversation]:
    """Sessions with something in them, newest first; files that cannot be read are left out."""
    found: list[Conversation] = []
    for identifier in sorted(_identifiers(), reverse=True):
        if limit is not None and len(found) == limit:
            break
        try:
            conversation = load(identifier)
        except HoneError:
            continue
        if conversation.messages or conversation.draft or conversation.jobs:
            found.append(conversation)
    return found


def _identifiers() -> list[str]:
    return [path.stem for path in paths.sessions_dir().glob("*.jsonl")]


def _find(spec: str) -> Path:
    identifiers = sorted(_identifiers())
    if spec == "last":
        newest = listing(limit=1)
        if not newest:
            raise HoneError("there is no session yet; start one with `hone`")
        return paths.sessions_dir() / f"{newest[0].id}.jsonl"
    matches = [spec] if spec in identifiers else [one for one in identifiers if spec and one.startswith(spec)]
    if len(matches) == 1:
        return paths.sessions_dir() / f"{matches[0]}.jsonl"
    if matches:
        raise HoneError(f"{spec!r} fits {len(matches)} sessions ({', '.join(matches[:4])}); give more of the id")
    near = get_close_matches(spec, identifiers, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`hone chat --sessions` lists them"
    raise HoneError(f"no session {spec!r}; {hint}")


def _open_new(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    file = os.fdopen(descriptor, "r+b")
    try:
        _lock(file, path.stem)
    except BaseException:
        file.close()
        raise
    return file


def _lock(file: IO[bytes], identifier: str) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise HoneError(f"session {identifier} is open in another window; close it there first") from error


def _encode(number: int) -> str:
    digits = []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
