"""`hone chat`: one answer on standard output, for a person, a pipe or a script."""

import sys
from typing import TYPE_CHECKING

import typer

from assistant.errors import UsageError
from tui.commands import answering

if TYPE_CHECKING:
    from assistant.conversations import Message
    from assistant.sessions import Session
    from assistant.skills.chat import Options
    from assistant.skills.instructions import Instructions
    from assistant.skills.mentions import Place


def chat(
    prompt: str | None = typer.Argument(
        None,
        help="The question. @FILE, @FILE:10-40, @FOLDER/, @NAME (of a function or class), @diff and @diff:staged show "
        "what they name to the model. Standard input, if any, is shown too.",
    ),
    model: str | None = typer.Option(None, "--model", help="Base name, path, adapter NAME[@DIGEST] or alias."),
    compare: str | None = typer.Option(None, "--compare", metavar="MODEL", help="Ask this model the same, too."),
    session: str | None = typer.Option(
        None, "--session", help="Go on with this conversation: an id, `last`, or `new` to start one that is kept."
    ),
    max_tokens: int = typer.Option(1024, "--max-tokens", help="Longest answer, in tokens."),
    temperature: float = typer.Option(0.2, "--temperature", help="0 always takes the likeliest token; up to 2."),
    seed: int | None = typer.Option(None, "--seed", help="The same seed gives the same answer."),
    why: bool = typer.Option(False, "--why", help=answering.WHY_HELP),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output when the answer is whole."),
    list_sessions: bool = typer.Option(False, "--sessions", help="List the conversations on disk and exit."),
) -> None:
    """Ask once; the answer streams to standard output. Ctrl-C stops it and keeps what came."""
    if list_sessions:
        _print_sessions(as_json)
        return
    from assistant.skills import instructions, mentions
    from assistant.skills.chat import Options

    if compare and session:
        raise UsageError("--compare asks two models once and keeps nothing; leave --session out")
    if compare and why:
        raise UsageError("--why explains one answer; leave --compare out")
    options = Options(model, max_tokens, temperature, seed, answering.logprobs(why)).checked()
    place = mentions.Place.here()
    question = _question(prompt or "", answering.standard_input(), place)
    told = instructions.load(place)
    if compare:
        sys.exit(_compare(question, options, compare, told, as_json))
    sys.exit(_ask(question, options, session, told, as_json))


def _question(prompt: str, given: str, place: "Place") -> "Message":
    """What is asked; standard input is the question itself where there is no other."""
    from dataclasses import replace

    from assistant.conversations import Message
    from assistant.skills import questions
    from assistant.skills.material import Material

    if not prompt.strip() and not given.strip():
        raise UsageError(
            'nothing to answer: give a prompt (hone chat "...") or pipe text in; `hone` opens the assistant'
        )
    if not prompt.strip():
        return Message("user", given.strip("\n"))
    question = questions.of_text(prompt, place)
    piped = (Material("input", "Standard input", given),) if given.strip() else ()
    return replace(question, materials=(*question.materials, *piped))


def _ask(question: "Message", options: "Options", session_spec: str | None, told: "Instructions", as_json: bool) -> int:
    from dataclasses import replace

    from assistant import sessions
    from assistant.skills import chat as skill

    session: Session | None = None
    if session_spec:
        session = sessions.new() if session_spec == "new" else sessions.open_session(session_spec)
    try:
        with answering.connected(options.model) as to:
            options = replace(options, model=to.model)
            history = session.conversation.messages if session else ()
            question, prompt = answering.prepared(to, history, question, options, told)
            if session:
                session.user(question.text, question.asked, question.materials)
            done = answering.show(skill.stream(to.client, prompt, options), session, to.model, silent=as_json)
        reasons = answering.explained(done, question, prompt, told, as_json) if options.logprobs else {}
        if as_json:
            shown = {"materials": answering.materials_report(question.materials), "left_out": prompt.cuts, **reasons}
            answering.print_json({**done.report, **shown, **({"session": session.id} if session else {})})
        elif done.finish == "length":
            tokens = done.details.get("completion_tokens", options.max_tokens)
            answering.note(f"the answer was cut at its limit ({tokens} tokens)")
        elif done.finish == skill.REPETITION:
            answering.note(answering.LOOPED)
        if session_spec == "new" and session and not as_json:
            answering.note(f"go on with --session {session.id}")
        return answering.INTERRUPTED if done.finish == "cancelled" else 0
    except KeyboardInterrupt:
        return answering.INTERRUPTED
    finally:
        if session:
            session.close()


def _compare(question: "Message", options: "Options", other: str, told: "Instructions", as_json: bool) -> int:
    """One model after the other, so that neither slows the other down."""
    from dataclasses import replace

    from assistant.skills import chat as skill
    from tui.commands.columns import side_by_side

    answers: list[answering.Answered] = []
    names: list[str] = []
    try:
        for model in (options.model, other):
            with answering.connected(model) as to:
                asked = replace(options, model=to.model)
                _, prompt = answering.prepared(to, (), question, asked, told)
                answering.progress(f"{to.model} answers …")
                answers.append(answering.show(skill.stream(to.client, prompt, asked), None, to.model, silent=True))
                names.append(to.model)
            if answers[-1].finish == "cancelled":
                return answering.INTERRUPTED
    except KeyboardInterrupt:
        return answering.INTERRUPTED
    if as_json:
        answering.print_json({"schema_version": 1, "answers": [one.report for one in answers]})
    else:
        side_by_side(names, answers)
    return 0


def _print_sessions(as_json: bool) -> None:
    from assistant import sessions
    from tui.inert import inert

    found = sessions.listing()
    if as_json:
        rows = [{"id": one.id, "created": one.created, "folder": one.folder, "title": one.title} for one in found]
        answering.print_json({"schema_version": 1, "sessions": rows})
        return
    for one in found:
        typer.echo(f"{one.id}  {one.created[:16].replace('T', ' ')}  {inert(one.title)[:60]}")
    if not found:
        typer.echo("no conversations yet", err=True)
