"""`hone chat`: one answer on standard output, for a person, a pipe or a script."""

import sys
from typing import TYPE_CHECKING, Any

import typer

from assistant.errors import HoneError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.client import Delta
    from assistant.sessions import Session
    from assistant.skills.chat import Options

_STDIN_BYTES = 4 * 1024 * 1024
_INTERRUPTED = 130


def chat(
    prompt: str | None = typer.Argument(None, help="The question. Standard input, if any, is added as context."),
    model: str | None = typer.Option(None, "--model", help="Base name, path, adapter NAME[@DIGEST] or alias."),
    session: str | None = typer.Option(
        None, "--session", help="Go on with this conversation: an id, `last`, or `new` to start one that is kept."
    ),
    max_tokens: int = typer.Option(1024, "--max-tokens", help="Longest answer, in tokens."),
    temperature: float = typer.Option(0.2, "--temperature", help="0 always takes the likeliest token; up to 2."),
    seed: int | None = typer.Option(None, "--seed", help="The same seed gives the same answer."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output when the answer is whole."),
    list_sessions: bool = typer.Option(False, "--sessions", help="List the conversations on disk and exit."),
) -> None:
    """Ask once; the answer streams to standard output. Ctrl-C stops it and keeps what came."""
    if list_sessions:
        _print_sessions(as_json)
        return
    from assistant.skills.chat import Options, with_context

    options = Options(model, max_tokens, temperature, seed).checked()
    question = with_context(prompt or "", _standard_input())
    if not question.strip():
        raise UsageError(
            'nothing to answer: give a prompt (hone chat "...") or pipe text in; `hone` opens the assistant'
        )
    sys.exit(_ask(question, options, session, as_json))


def _ask(question: str, options: "Options", session_spec: str | None, as_json: bool) -> int:
    from dataclasses import replace

    from assistant import client as clients
    from assistant import sessions
    from assistant.config import load_settings
    from assistant.models.resolve import resolve
    from assistant.skills import chat as skill

    settings = load_settings(model=options.model)
    options = replace(options, model=settings.model)
    session = None
    if session_spec:
        session = sessions.new() if session_spec == "new" else sessions.open_session(session_spec)
    try:
        _progress(f"loading {settings.model} …")
        resolve(settings.model, progress=_fetch_progress)
        with clients.connect(settings, model=settings.model) as client:
            length = int(client.health().get("context_length") or settings.context_length)
            history = (*(session.conversation.messages if session else ()), sessions.Message("user", question))
            prompt = skill.prepare(client, history, options, length)
            _progress("")
            if prompt.dropped_turns:
                _note(f"the {prompt.dropped_turns} oldest turns do not fit into the context and were not sent")
            if session:
                session.user(question)
            status = _show(skill.stream(client, prompt, options), session, options, as_json)
            if session_spec == "new" and session and not as_json:
                _note(f"go on with --session {session.id}")
            return status
    except KeyboardInterrupt:
        _progress("")
        return _INTERRUPTED
    finally:
        _progress("")
        if session:
            session.close()


def _show(deltas: "Iterator[Delta]", session: "Session | None", options: "Options", as_json: bool) -> int:
    """Prints and keeps the answer; returns the exit status."""
    parts: list[str] = []
    details: dict[str, Any] = {}
    finish = "error"
    try:
        for delta in deltas:
            _piece(delta.text, parts, session, as_json)
            finish, details = delta.finish_reason or finish, delta.details or details
    except KeyboardInterrupt:
        finish = "cancelled"
    finally:
        if session:
            session.answer("".join(parts), finish, details.get("model") or options.model, details)
        if parts and not as_json and not parts[-1].endswith("\n"):
            _write("\n")
    if as_json:
        _print_json(_report("".join(parts), finish, details, session))
    elif finish == "length":
        _note(f"the answer was cut at its limit ({details.get('completion_tokens', options.max_tokens)} tokens)")
    return _INTERRUPTED if finish == "cancelled" else 0


def _piece(text: str, parts: list[str], session: "Session | None", as_json: bool) -> None:
    if not text:
        return
    parts.append(text)
    if session:
        session.partial(text)
    if not as_json:
        _write(text)


def _report(text: str, finish: str, details: dict[str, Any], session: "Session | None") -> dict[str, Any]:
    keys = ("prompt_tokens", "completion_tokens", "tokens_per_second", "model", "adapter")
    report = {"schema_version": 1, "text": text, "finish_reason": finish, **{key: details.get(key) for key in keys}}
    return {**report, "session": session.id} if session else report


def _standard_input() -> str:
    """What is piped in; empty when a person sits there.

    Raises:
        HoneError: too long, or not text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(_STDIN_BYTES + 1)
    if len(data) > _STDIN_BYTES:
        raise HoneError("standard input is over 4 MiB, far more than the model can read; pipe in the part that matters")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HoneError(f"standard input is not UTF-8 text (byte {error.start}); pipe in text only") from error


def _write(text: str) -> None:
    """To standard output at once. A person's terminal gets the text made harmless, a pipe gets it as it is."""
    from tui.inert import inert

    shown = inert(text) if sys.stdout.isatty() else text
    sys.stdout.buffer.write(shown.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _print_json(value: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(value))


def _print_sessions(as_json: bool) -> None:
    from assistant import sessions
    from tui.inert import inert

    found = sessions.listing()
    if as_json:
        rows = [{"id": one.id, "created": one.created, "folder": one.folder, "title": one.title} for one in found]
        _print_json({"schema_version": 1, "sessions": rows})
        return
    for one in found:
        typer.echo(f"{one.id}  {one.created[:16].replace('T', ' ')}  {inert(one.title)[:60]}")
    if not found:
        typer.echo("no conversations yet", err=True)


def _note(line: str) -> None:
    typer.echo(f"hone: {line}", err=True)


def _progress(line: str) -> None:
    """One line on a person's terminal that the next one replaces; nothing in a log."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def _fetch_progress(what: str, done: int, total: int | None) -> None:
    share = f" {100 * done // total} %" if total else ""
    _progress(f"{what}{share}")
