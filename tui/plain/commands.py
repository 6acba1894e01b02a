"""The slash commands of the chat by lines: those of the app that need no screen, and a few in place of its keys."""

from assistant.errors import UsageError
from tui.chat import commands
from tui.chat.commands import SlashCommand

_OWN = (
    SlashCommand("open", "ID", "go on with an earlier conversation"),
    SlashCommand("edit", "TEXT", "ask TEXT in place of the last question, in a copy of the conversation"),
    SlashCommand("good", "", "keep the last answer as a good one"),
    SlashCommand("bad", "", "keep the last answer as a bad one"),
)
_SCREENS = frozenset({"code"})
"""What is nothing without its screen."""
_HELP = {
    "help": "commands and keys",
    "compare": "ask two models the same; without PROMPT the last question",
    "sessions": "list the conversations that hold WORDS, to open one by its number",
    "apply": "put the last answer's code into a file, change by change",
    "review": "what is wrong with a change; without a word with what is not committed",
    "jobs": "training and evaluation that run, and how they went",
    "evals": "the last measurements and where their reports are",
}
_KEYS = (
    ("Ctrl+C", "stops the answer; what came is kept"),
    ("Ctrl+D", "leaves; jobs go on"),
    ("\\ at the end of a line", "goes on in the next line"),
    ("a pasted text", "is sent by an empty line"),
    ("@FILE, @FILE:10-40, @NAME, @diff", "show files, definitions and changes to the model"),
    ("a number", "chooses what was offered under it"),
)
LISTED = tuple(one for one in (*commands.ALL, *_OWN) if one.name not in _SCREENS)
NAMES = (*(one.name for one in commands.ALL), *(one.name for one in _OWN))


def help_text() -> str:
    rows = [(f"/{one.name} {one.argument}".rstrip(), _HELP.get(one.name, one.help)) for one in LISTED]
    return "\n".join(f"{name}: {what}" for name, what in (*rows, *_KEYS))


def elsewhere(name: str) -> str:
    """Where a command is that has no place here."""
    return f"/{name} is a screen of the app; run hone without --plain in a terminal that can show it"


def review_words(argument: str) -> tuple[str, ...]:
    """The command line of a review.

    Raises:
        UsageError: the word is not one of those that the command takes.
    """
    word, _, revision = argument.partition(" ")
    revision = revision.strip()
    match word:
        case "":
            return ("review",)
        case "staged" if not revision:
            return ("review", "--staged")
        case "since" if revision:
            return ("review", "--base", revision)
        case "commit" if revision:
            return ("review", "--commit", revision)
    raise UsageError("review takes staged, since REV or commit REV")
