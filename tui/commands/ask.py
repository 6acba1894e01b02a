"""`hone ask`: the ready-made skills, on a file, some of its lines, or a definition."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.errors import UsageError
from tui.commands import answering

if TYPE_CHECKING:
    from assistant.conversations import Message
    from assistant.skills.chat import Options
    from assistant.skills.instructions import Instructions
    from assistant.skills.material import Material
    from assistant.skills.mentions import Place
    from assistant.skills.tasks import Skill


def ask(
    skill: Annotated[str, typer.Argument(help="explain, test, docstring, refactor or fix.")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]",
            help="FILE, FILE:10-40, or the NAME of a function or class. For fix it may be left out: the error on "
            "standard input names the places.",
        ),
    ] = None,
    words: Annotated[str, typer.Argument(help="Anything else the model should know or do.")] = "",
    model: Annotated[str | None, typer.Option(help="Base name, path, adapter NAME[@DIGEST] or alias.")] = None,
    *,
    patch: Annotated[
        bool, typer.Option("--patch", help="Print a patch that `git apply` takes, or one line on why there is none.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 1024,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token; up to 2.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    why: Annotated[bool, typer.Option("--why", help=answering.WHY_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain code, write its tests or documentation, refactor it, or fix an error in it."""
    from assistant.skills import instructions, tasks
    from assistant.skills.chat import Options
    from assistant.skills.mentions import Place

    chosen = tasks.named(skill)
    if patch and chosen.gives == "words":
        raise UsageError(f"{skill} answers in words; --patch is for {_patching()}")
    options = Options(model, max_tokens, temperature, seed, answering.logprobs(why)).checked()
    place = Place.here()
    materials = _materials(chosen, target, answering.standard_input() if chosen.name == "fix" else "", place)
    sys.exit(_run(chosen, materials, words, options, instructions.load(place), place, patch, as_json))


def _patching() -> str:
    from assistant.skills.tasks import SKILLS

    *first, last = [one.name for one in SKILLS if one.gives != "words"]
    return f"{', '.join(first)} and {last}"


def _materials(skill: "Skill", target: str | None, error: str, place: "Place") -> "list[Material]":
    from assistant.skills import mentions, traces
    from assistant.skills.material import Material

    if skill.name == "fix" and not error.strip():
        raise UsageError("fix needs the error: run it as `python app.py 2>&1 | hone ask fix [FILE]`")
    if target is None and skill.name != "fix":
        raise UsageError(f"{skill.name} needs a target: hone ask {skill.name} FILE, FILE:10-40 or NAME")
    shown = mentions.read(target.removeprefix("@"), place) if target else traces.places(error, place)
    return [*shown, Material("input", "The error", error)] if skill.name == "fix" else shown


def _run(
    skill: "Skill",
    materials: "list[Material]",
    words: str,
    options: "Options",
    told: "Instructions",
    place: "Place",
    as_patch: bool,
    as_json: bool,
) -> int:
    from dataclasses import replace

    from assistant.conversations import Message
    from assistant.skills import chat, tasks
    from assistant.skills import patch as patches

    text = tasks.request(skill, materials, words)
    question = Message("user", text, materials=tuple(materials))
    try:
        with answering.connected(options.model) as to:
            options = replace(options, model=to.model)
            question, prompt = answering.prepared(to, (), question, options, told)
            if as_patch:
                answering.progress("the model writes …")
            deltas = chat.stream(to.client, prompt, options)
            done = answering.show(deltas, None, to.model, silent=as_json or as_patch)
    except KeyboardInterrupt:
        return answering.INTERRUPTED
    if done.finish == "cancelled":
        return answering.INTERRUPTED
    if done.finish == chat.REPETITION and not as_json and not as_patch:
        answering.note(answering.LOOPED)
    diff = None
    if as_patch:
        if done.finish == "length":
            raise patches.NoPatchError(f"the answer was cut at {options.max_tokens} tokens, so there is no patch")
        if done.finish == chat.REPETITION:
            raise patches.NoPatchError(f"{answering.LOOPED}; there is no patch")
        diff = patches.from_answer(skill, done.text, _target(question), place.root).diff
    reasons = answering.explained(done, question, prompt, told, as_json) if options.logprobs else {}
    if as_json:
        shown = answering.materials_report(question.materials)
        answering.print_json({**done.report, "skill": skill.name, "materials": shown, "patch": diff, **reasons})
    elif diff is not None:
        answering.write(diff)
    return 0


def _target(question: "Message") -> "Material":
    """What a patch changes: the first piece of code shown, which for an error is where it happened."""
    return question.materials[0]
