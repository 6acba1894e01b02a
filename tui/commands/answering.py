"""What the commands that ask a model share: the connection, standard input, and an answer as it is printed and kept."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from assistant.errors import HoneError

if TYPE_CHECKING:
    from assistant.client import Client, Delta
    from assistant.sessions import Message, Session
    from assistant.skills.chat import Options, Prompt
    from assistant.skills.instructions import Instructions
    from assistant.skills.material import Material

STDIN_BYTES = 4 * 1024 * 1024
INTERRUPTED = 130


@dataclass(frozen=True)
class Connected:
    client: "Client"
    context_length: int
    model: str


@dataclass
class Answered:
    """An answer, however it ended."""

    text: str = ""
    finish: str = "error"
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def report(self) -> dict[str, Any]:
        keys = ("prompt_tokens", "completion_tokens", "tokens_per_second", "model", "adapter")
        return {
            "schema_version": 1,
            "text": self.text,
            "finish_reason": self.finish,
            **{key: self.details.get(key) for key in keys},
        }


@contextmanager
def connected(model: str | None) -> Iterator[Connected]:
    """A client for a model (None: the settings' own) that can chat; the model is loaded when the block begins.

    Raises:
        HoneError: no such model, it does not load, or it has no chat template.
    """
    from assistant import client as clients
    from assistant.config import load_settings
    from assistant.models.resolve import resolve
    from assistant.skills.chat import check_template

    settings = load_settings(model=model)
    try:
        progress(f"loading {settings.model} …")
        resolve(settings.model, progress=_fetch_progress)
        with clients.connect(settings, model=settings.model) as client:
            length = int(client.health().get("context_length") or settings.context_length)
            check_template(client, settings.model)
            progress("")
            yield Connected(client, length, settings.model)
    finally:
        progress("")


def prepared(
    to: Connected,
    history: "Sequence[Message]",
    question: "Message",
    options: "Options",
    instructions: "Instructions",
) -> "tuple[Message, Prompt]":
    """The question with its materials cut to what fits, and the prompt; what was cut is said on standard error."""
    from dataclasses import replace

    from assistant.skills import chat

    words = question.asked or question.text
    fitted = chat.fit_materials(to.client, words, question.materials, options, to.context_length, instructions)
    question = replace(question, materials=tuple(fitted))
    prompt = chat.prepare(to.client, (*history, question), options, to.context_length, instructions)
    for cut in prompt.cuts:
        note(cut)
    return question, prompt


def show(deltas: "Iterator[Delta]", session: "Session | None", model: str, silent: bool) -> Answered:
    """Prints (unless `silent`) and keeps the answer. Ctrl-C ends it; what came is kept."""
    parts: list[str] = []
    details: dict[str, Any] = {}
    finish = "error"
    try:
        for delta in deltas:
            _piece(delta.text, parts, session, silent)
            finish, details = delta.finish_reason or finish, delta.details or details
    except KeyboardInterrupt:
        finish = "cancelled"
    finally:
        if session:
            session.answer("".join(parts), finish, details.get("model") or model, details)
        if parts and not silent and not parts[-1].endswith("\n"):
            write("\n")
    return Answered("".join(parts), finish, details)


def _piece(text: str, parts: list[str], session: "Session | None", silent: bool) -> None:
    if not text:
        return
    parts.append(text)
    if session:
        session.partial(text)
    if not silent:
        write(text)


def materials_report(materials: "Sequence[Material]") -> list[dict[str, Any]]:
    """What a prompt showed, without the texts."""
    return [
        {"kind": one.kind, "title": one.title, "path": one.path or None, "note": one.note or None} for one in materials
    ]


def standard_input() -> str:
    """What is piped in; empty when a person sits there.

    Raises:
        HoneError: too long, or not text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(STDIN_BYTES + 1)
    if len(data) > STDIN_BYTES:
        raise HoneError("standard input is over 4 MiB, far more than the model can read; pipe in the part that matters")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HoneError(f"standard input is not UTF-8 text (byte {error.start}); pipe in text only") from error


def write(text: str) -> None:
    """To standard output at once. A person's terminal gets the text made harmless, a pipe gets it as it is."""
    from tui.inert import inert

    shown = inert(text) if sys.stdout.isatty() else text
    sys.stdout.buffer.write(shown.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def print_json(value: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(value))


def note(line: str) -> None:
    from tui.inert import inert

    typer.echo(f"hone: {inert(line)}", err=True)


def progress(line: str) -> None:
    """One line on a person's terminal that the next one replaces; nothing in a log."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def _fetch_progress(what: str, done: int, total: int | None) -> None:
    share = f" {100 * done // total} %" if total else ""
    progress(f"{what}{share}")
