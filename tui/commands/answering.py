"""What the commands that ask a model share: the connection, standard input, and an answer as it is printed and kept."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from assistant.errors import HoneError

if TYPE_CHECKING:
    from assistant.client import Client, Delta
    from assistant.conversations import Message
    from assistant.engines.base import TokenLogprob
    from assistant.sessions import Session
    from assistant.skills.chat import Options, Prompt
    from assistant.skills.instructions import Instructions
    from assistant.skills.material import Material

WHY_HELP = "Say afterwards what the model was shown, and which words it was unsure of."
LOOPED = "the model began to repeat itself, so it was stopped"
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
    tokens: "list[TokenLogprob]" = field(default_factory=list)
    """With their probabilities, where those were asked for."""

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
    """Prints (unless `silent`) and keeps the answer. Ctrl-C ends it; what came is kept. Where probabilities came along,
    a person's terminal shows the tokens that the model was unsure of underlined."""
    parts: list[str] = []
    tokens: list[TokenLogprob] = []
    details: dict[str, Any] = {}
    finish = "error"
    try:
        for delta in deltas:
            tokens += delta.logprobs
            _piece(delta, parts, session, silent)
            finish, details = delta.finish_reason or finish, delta.details or details
    except KeyboardInterrupt:
        finish = "cancelled"
    finally:
        if session:
            session.answer("".join(parts), finish, details.get("model") or model, details)
        if parts and not silent and not parts[-1].endswith("\n"):
            write("\n")
    return Answered("".join(parts), finish, details, tokens)


def _piece(delta: "Delta", parts: list[str], session: "Session | None", silent: bool) -> None:
    if not delta.text:
        return
    parts.append(delta.text)
    if session:
        session.partial(delta.text)
    if silent:
        return
    from assistant.skills import why

    # Tokens that are parts of characters, or were held back for a stop string, do not come with their text.
    if delta.logprobs and "".join(token.text for token in delta.logprobs) == delta.text and _can_underline():
        for token in delta.logprobs:
            write(token.text, underlined=why.unsure(token))
    else:
        write(delta.text)


def _can_underline() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def explained(
    done: Answered, question: "Message", prompt: "Prompt", told: "Instructions", as_json: bool
) -> dict[str, Any]:
    """Says on standard error why an answer reads as it does; for --json, the report's part about it."""
    from assistant.skills import why

    found = why.explain(done.tokens, prompt, question.materials, told)
    if not as_json:
        for line in why.lines(found):
            note(line)
    return {"why": found.as_json()}


def logprobs(wanted: bool) -> int | None:
    """What `Options` asks for so that an answer can be explained."""
    from assistant.skills.why import ALTERNATIVES

    return ALTERNATIVES if wanted else None


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


def write(text: str, underlined: bool = False) -> None:
    """To standard output at once. A person's terminal gets the text made harmless, a pipe gets it as it is."""
    from tui.inert import inert

    shown = inert(text) if sys.stdout.isatty() else text
    if underlined:
        # Blanks around the words are not underlined: a line of nothing but that would show as a rule.
        words = shown.strip()
        shown = shown.replace(words, f"\x1b[4m{words}\x1b[24m", 1) if words else shown
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
