"""The ready-made skills: explain, write tests, write docstrings, refactor, fix. Each is a request about some code."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from assistant.errors import UsageError
from assistant.languages import language_of
from assistant.skills.material import Material

Gives = Literal["words", "replacement", "tests"]


@dataclass(frozen=True)
class Skill:
    name: str
    help: str
    request: str
    """What the model is told; `{document}` is what the language calls its documentation."""
    gives: Gives
    """What a patch is made from: nothing, new code in place of the code shown, or a file of tests."""


_WHOLE = "in one fenced code block that holds all of the code shown, changed, with nothing left out"
SKILLS = (
    Skill(
        "explain",
        "say what code does",
        "Explain what this code does: its purpose, what goes in, what comes out, and anything that may surprise a "
        "reader. Be brief and concrete.",
        "words",
    ),
    Skill(
        "test",
        "write tests for code",
        "Write tests for this code: the usual case, the edge cases and the errors. Answer with one fenced code block "
        "that holds the whole test file, imports included.",
        "tests",
    ),
    Skill(
        "docstring",
        "write the documentation of functions and classes",
        "Add {document} to every function and class in this code that has none: what it does, its arguments, its "
        f"result. Do not change the code itself. Answer {_WHOLE}.",
        "replacement",
    ),
    Skill(
        "refactor",
        "suggest code that does the same and reads better",
        "Rewrite this code so that it is easier to read and does exactly the same. Say in one sentence what you "
        f"changed and why. Then give the new code {_WHOLE}.",
        "replacement",
    ),
    Skill(
        "fix",
        "find the cause of an error and correct it",
        "The error below comes from this code. Say in one sentence what causes it. Then give the corrected code "
        f"{_WHOLE}.",
        "replacement",
    ),
)
NAMES = tuple(skill.name for skill in SKILLS)
_DOCUMENT = {
    "python": "a docstring",
    "javascript": "a JSDoc comment",
    "typescript": "a TSDoc comment",
    "go": "a doc comment",
    "rust": "a doc comment",
    "java": "a Javadoc comment",
}


def named(name: str) -> Skill:
    """
    Raises:
        UsageError: no skill has that name; the nearest one is told.
    """
    found = next((skill for skill in SKILLS if skill.name == name), None)
    if found is None:
        near = get_close_matches(name, NAMES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}; `hone chat` asks anything else"
        raise UsageError(f"there is no skill {name!r}; {hint}")
    return found


def request(skill: Skill, materials: Sequence[Material], words: str = "") -> str:
    """What the model is told in front of the materials; `words` are the user's own, added at the end."""
    language = next((found.name for one in materials if (found := language_of(one.path))), "")
    told = skill.request.replace("{document}", _DOCUMENT.get(language, "a documentation comment"))
    return f"{told} {words.strip()}" if words.strip() else told
