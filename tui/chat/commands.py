"""The slash commands of the chat: their names, what they do, and what a mistyped one was meant to be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from assistant.conversations import Message
from assistant.errors import UsageError
from assistant.skills import tasks
from tui.places import CHAT, PLACES


@dataclass(frozen=True)
class SlashCommand:
    name: str
    argument: str
    help: str


COMMANDS = (
    SlashCommand("help", "", "keys and commands"),
    SlashCommand("model", "[NAME]", "list models, adapters and aliases; with NAME, switch to it"),
    SlashCommand("compare", "A B [PROMPT]", "ask two models the same, side by side; without PROMPT the last question"),
    SlashCommand(
        "sessions", "[WORDS]", "open, rename or export an earlier conversation; WORDS are searched for in all"
    ),
    SlashCommand("rename", "NAME", "give this conversation a name"),
    SlashCommand("export", "[md|json]", "write this conversation to a file in this folder"),
    SlashCommand("retry", "", "ask the last question again"),
    SlashCommand("copy", "", "copy the code of the last answer"),
    SlashCommand("apply", "[FILE]", "put the last answer's code into a file, hunk by hunk"),
    SlashCommand("undo", "", "take the last applied change back"),
    SlashCommand("context", "", "what of the context the last prompt took, and what was left out"),
    SlashCommand("why", "", "which words of the last answer the model was unsure of, and what it was shown"),
    SlashCommand("clear", "", "start a new conversation; this one stays on disk"),
    SlashCommand("code", "[FILE[:LINE]]", "the editor, with FILE open at LINE"),
    SlashCommand("review", "[staged|since REV|commit REV]", "the review of a change; without a word go there"),
    SlashCommand("train", "[PATH] [OPTIONS]", "tune the model on your code and measure it; options as `hone tune` has"),
    SlashCommand("eval", "[TASK] [OPTIONS]", "measure the newest adapter and what it would replace"),
    SlashCommand("gate", "[ADAPTER] [OPTIONS]", "decide whether an adapter may replace what is in use"),
    SlashCommand("promote", "[ADAPTER] [OPTIONS]", "put an adapter to use"),
    SlashCommand("rollback", "[ALIAS]", "take the last promotion back"),
    SlashCommand("models", "[show M|history|...]", "base models, adapters and what is live"),
    SlashCommand("jobs", "[stop ID|resume ID|...]", "training and evaluation that run, and how they went"),
    SlashCommand("feedback", "[export FILE|...]", "what became of suggestions"),
    SlashCommand("doctor", "", "what is installed, where things are, and what is wrong"),
    SlashCommand("quit", "", "leave"),
)
PLACE_NAMES = frozenset(place.name for place in PLACES)
_LISTED = frozenset(command.name for command in COMMANDS)
_OTHER_PLACES = tuple(
    SlashCommand(place.name, "", place.help[0].lower() + place.help[1:])
    for place in PLACES
    if place is not CHAT and place.name not in _LISTED
)
SKILLS = tuple(
    SlashCommand(skill.name, "ERROR" if skill.name == "fix" else "@TARGET", skill.help) for skill in tasks.SKILLS
)
SKILL_NAMES = frozenset(tasks.NAMES)
ALL = (*COMMANDS, *_OTHER_PLACES, *SKILLS)
NAMES = (*(command.name for command in ALL), CHAT.name)
"""Here one is in the chat already, so its own name is taken but not offered."""
_OF_SEVERAL_LINES = frozenset({"compare"})
"""Besides the skills: what ends with a prompt."""
_COMPARED = re.compile(r"(\S+)\s+(\S+)(?:[ \t]*\n|\s+|$)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Invocation:
    name: str
    argument: str


def parse(line: str, known: Sequence[str] = NAMES) -> Invocation | str | None:
    """A command with its argument, one line on what is wrong with it, or None when the line is no command.

    A line that begins with `/` and a word with another slash or a dot in it is a path, not a command.

    Args:
        known: the commands that there are, by name.
    """
    if not line.startswith("/"):
        return None
    if (skill := parse_skill(line)) is not None:
        return skill
    word, _, argument = line[1:].partition(" ")
    name = word.strip().lower()
    if "/" in word or "." in word or ("\n" in line.strip() and name not in _OF_SEVERAL_LINES):
        return None
    if name in known:
        return Invocation(name, argument.strip())
    starts = [one for one in known if name and one.startswith(name)]
    near = starts or get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean /{near[0]}?" if near else "/help lists the commands"
    return f"there is no command /{name}; {hint}"


def parse_skill(line: str) -> Invocation | None:
    """A ready-made skill with its argument, which may have several lines; None when the line asks for none."""
    line = line.lstrip()
    words = line[1:].split(maxsplit=1) if line.startswith("/") else []
    if not words or words[0].lower() not in tasks.NAMES:
        return None
    return Invocation(words[0].lower(), words[1] if len(words) > 1 else "")


def comparison(argument: str, messages: Sequence[Message]) -> tuple[tuple[str, str], str, tuple[Message, ...]]:
    """What `/compare` asks: two models, the question, and what stands before it. The last question is asked after what
    stood before it then.

    Raises:
        UsageError: fewer than two models, or no question.
    """
    match = _COMPARED.fullmatch(argument)
    if match is None:
        raise UsageError("compare needs two models: /compare A B, then a prompt or nothing for the last question")
    pair, text = (match[1], match[2]), match[3]
    if text.strip():
        return pair, text, tuple(messages)
    asked = [index for index, one in enumerate(messages) if one.role == "user"]
    if not asked:
        raise UsageError("there is no question yet; give one: /compare A B PROMPT")
    return pair, messages[asked[-1]].text, tuple(messages[: asked[-1]])


def matching(line: str) -> tuple[SlashCommand, ...]:
    """The commands that a half-typed line can become."""
    if not line.startswith("/") or any(character.isspace() for character in line):
        return ()
    return tuple(command for command in ALL if command.name.startswith(line[1:].lower()))
