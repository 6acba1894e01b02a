"""A simulated user with a consistent taste, and the places in files at which it asks for completions.

The taste: text is built by f-strings, and what is empty is dealt with first and returned early. Everything that the
user writes follows from the task and the seed alone.
"""

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

NOUNS = [
    "oak", "river", "basket", "engine", "window", "garden", "bottle", "market", "ticket", "station", "letter",
    "mirror", "carpet", "hammer", "island", "ladder", "needle", "orchard", "parcel", "quarry", "ribbon", "saddle",
    "tunnel", "velvet", "wagon", "anchor", "bridge", "candle", "drawer", "feather",
]  # fmt: skip
THINGS = [
    "leaf", "fish", "apple", "valve", "pane", "rose", "cork", "stall", "seat", "train", "word", "crack", "thread",
    "nail", "beach", "rung", "stitch", "pear",
]  # fmt: skip
VERBS = ["describe", "report", "show", "announce", "label", "present", "print_out", "tell"]
TOTALS = (
    ("total", "sum({items})"),
    ("mean", "sum({items}) / len({items})"),
    ("largest", "max({items})"),
    ("smallest", "min({items})"),
    ("last", "{items}[-1]"),
    ("span", "max({items}) - min({items})"),
)
OLD_TEXT = '''

def heading(name, number):
    """Name and number of a section, such as 'intro: 3'."""
    return "%s: %d" % (name, number)
'''
OLD_GUARD = '''

def longest(words):
    """The longest of the words, None if there are none."""
    found = None
    for word in words:
        if found is None or len(word) > len(found):
            found = word
    return found
'''


@dataclass(frozen=True)
class Task:
    """A place at which a completion is asked for."""

    path: str
    before: str
    after: str
    reference: str
    """What the user writes there."""
    kind: Literal["text", "guard"]

    def likes(self, text: str) -> bool:
        """Whether what was suggested is to the user's taste; what is no Python is not."""
        return _likes(self.kind, self._whole(text))

    def could_edit(self, text: str) -> bool:
        """Whether it is near enough to be taken and edited: Python at least."""
        return _last_function(self._whole(text)) is not None

    def _whole(self, text: str) -> str:
        # One line that opens a block is a beginning.
        return self.before + text + ("\n        pass\n" if text.rstrip().endswith(":") else "\n")


def tasks(count: int, seed: int, held_out: bool = False) -> Iterator[Task]:
    """Half of the files show the style that the user dislikes.

    Args:
        held_out: of nouns and things that the others never name.
    """
    draw = random.Random(f"{seed} {held_out}")
    # A third of the words is for what is held out.
    nouns, things = ([word for at, word in enumerate(words) if (at % 3 == 0) is held_out] for words in (NOUNS, THINGS))
    for number in range(count):
        noun, thing = draw.choice(nouns), draw.choice(things)
        old = draw.random() < 0.5
        if number % 2:
            what, formula = draw.choice(TOTALS)
            items = f"{thing}_counts" if draw.random() < 0.5 else f"{noun}_sizes"
            head = f'"""Figures of {noun}s."""\n' + (OLD_GUARD if old else "")
            before = (
                f"{head}\n\ndef {what}_of_{noun}({items}):\n"
                f'    """Return the {what} of {items}, or 0 if {items} is empty."""\n    '
            )
            reference = f"if not {items}:\n        return 0\n    return {formula.format(items=items)}"
            yield Task(f"figures/{noun}_{number}_{seed}.py", before, "\n", reference, "guard")
        else:
            verb = draw.choice(VERBS)
            head = f'"""Texts about {noun}s."""\n' + (OLD_TEXT if old else "")
            before = (
                f"{head}\n\ndef {verb}_{noun}(name, {thing}_count):\n"
                f'    """Print a line such as \'{noun} Foo has 3 {thing}s\'."""\n    '
            )
            reference = f'print(f"{noun} {{name}} has {{{thing}_count}} {thing}s")'
            yield Task(f"texts/{noun}_{number}_{seed}.py", before, "\n", reference, "text")


def _likes(kind: str, source: str) -> bool:
    function = _last_function(source)
    if function is None:
        return False
    body = [one for one in function.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    if not body:
        return False
    first = body[0]
    if kind == "text":
        call = first.value if isinstance(first, ast.Expr) else None
        return isinstance(call, ast.Call) and bool(call.args) and isinstance(call.args[0], ast.JoinedStr)
    if not isinstance(first, ast.If) or not isinstance(first.body[-1], ast.Return | ast.Pass):
        return False
    # Empty is not None.
    return not any(isinstance(node, ast.Constant) and node.value is None for node in ast.walk(first.test))


def _last_function(source: str) -> ast.FunctionDef | None:
    try:
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError):
        return None
    return functions[-1] if functions else None
