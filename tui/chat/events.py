"""What the backend tells the screen, and the jobs that the screen gives it."""

import threading
from dataclasses import dataclass, field
from typing import Any

from textual.message import Message as Posted

from assistant.conversations import Message
from assistant.sessions import Session
from assistant.skills.chat import Prompt
from tui.chat.models import ModelTarget


@dataclass(eq=False)
class Ask:
    """A prompt and the session it belongs to; `again` is a question that was asked before, as it was."""

    text: str
    session: Session
    again: Message | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _begun: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> bool:
        """Whether it is asked now, after which it can only be cut short; False when it was stopped before."""
        with self._lock:
            self._begun = not self.stop.is_set()
            return self._begun

    def take_back(self) -> bool:
        """Stops it; whether that was in time for it not to be asked at all."""
        with self._lock:
            self.stop.set()
            return not self._begun


@dataclass(eq=False)
class Compare:
    """One question for several models after the same history; the answers are no part of the conversation."""

    text: str
    history: tuple[Message, ...]
    models: tuple[str, ...]
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class Loading(Posted):
    """The model is being loaded (or fetched); `detail` says what is going on."""

    target: ModelTarget
    detail: str = ""


@dataclass
class Ready(Posted):
    target: ModelTarget
    context_length: int


@dataclass
class Restarting(Posted):
    """The gateway is gone and is started again."""


@dataclass
class Unavailable(Posted):
    """No model can answer; the line says why."""

    line: str


@dataclass
class Refused(Posted):
    """A switch that was not made: the model in use stays."""

    line: str


@dataclass
class Rejected(Posted):
    """A prompt that was not asked, since something in it cannot be read; the line says what."""

    job: Ask | Compare
    line: str


@dataclass
class Started(Posted):
    """The prompt's turn has come; `prompt` is what the model gets, `question` the last of it, as the session has it."""

    job: Ask
    prompt: Prompt
    question: Message


@dataclass
class Piece(Posted):
    job: Ask
    text: str


@dataclass
class Finished(Posted):
    """`line` is the error when `finish` is "error".

    `question` and `answer` are what the session has of them; `question` is None when it was taken back unasked.
    """

    job: Ask
    finish: str
    line: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    question: Message | None = None
    answer: Message | None = None


@dataclass
class CompareStarted(Posted):
    job: Compare


@dataclass
class ComparePiece(Posted):
    job: Compare
    side: int
    text: str


@dataclass
class CompareSide(Posted):
    """One model's answer has ended."""

    job: Compare
    side: int
    finish: str
    line: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class CompareFinished(Posted):
    job: Compare


def logged(event: Posted) -> str:
    """The event for a log: nothing of what was asked and answered. Empty for what is not worth a line."""
    match event:
        case Piece() | ComparePiece():
            return ""
        case Loading():
            return f"loading {event.target.label} {event.detail}".rstrip()
        case Ready():
            return f"ready: {event.target.label}, context {event.context_length}"
        case Unavailable() | Refused():
            return f"no model: {event.line}"
        case Started():
            return f"asked: {event.prompt.tokens} tokens"
        case Finished():
            return f"answered: {event.finish} after {event.seconds:.2f} s {event.line}".rstrip()
    return type(event).__name__
