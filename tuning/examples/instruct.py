"""Instruction pairs made from documented functions: write this function, and explain this function."""

import hashlib
import re
from random import Random

from tuning.corpus.document import Turn
from tuning.examples import functions
from tuning.examples.functions import Function

NAMES = {
    "python": "Python",
    "javascript": "JavaScript",
    "typescript": "TypeScript",
    "go": "Go",
    "rust": "Rust",
    "java": "Java",
    "c": "C",
    "cpp": "C++",
}
"""The languages that pairs are made of, as people write them."""

MIN_WORDS = 5
"""Of a documentation; fewer say no more than the name."""
MIN_LINES, MAX_LINES = 3, 60
EXPLAIN_RATE = 0.25
"""Share of the functions that are also explained."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|__tests__|testing|testdata|spec)/|(?:^|/)(?:test_|conftest)|[._]test\.|\.spec\.|Tests?\.java$"
)
_TEST_NAME = re.compile(r"(?:.*\.)?[tT]ests?(?:_|[A-Z0-9]|$)")
_TODO = re.compile(r"\W*(?:todo|fixme|xxx|hack)\b", re.IGNORECASE)


def pairs(
    path: str, text: str, language: str, seed: int, explain_rate: float = EXPLAIN_RATE
) -> list[tuple[Turn, Turn]]:
    """A user's and an assistant's turn for each well documented function of a file, test files and tests left out.

    Which functions are also explained is a function of the text and the seed alone.
    """
    if language not in NAMES or _TEST_PATH.search(path):
        return []
    random = Random(hashlib.sha256(f"{seed}\0instruct\0{text}".encode()).digest())
    found = []
    for function in functions.find(text, language):
        explained = random.random() < explain_rate
        if not good(function):
            continue
        found.append(write(function, language))
        if explained:
            found.append(explain(function, language))
    return found


def good(function: Function) -> bool:
    """Worth learning from: documented in words, of a size that an answer has, no test, more than a note to do it."""
    lines = function.code.count("\n")
    return (
        MIN_LINES <= lines <= MAX_LINES
        and len(_WORD.findall(function.documentation)) >= MIN_WORDS
        and not _TEST_NAME.match(function.name)
        and not _TODO.match(function.documentation)
    )


def write(function: Function, language: str) -> tuple[Turn, Turn]:
    kind = "method" if "." in function.name else "function"
    asked = (
        f"Write the {NAMES[language]} {kind} `{function.name}`.\n\n"
        f"Signature: `{function.signature}`\n\n{function.documentation}"
    )
    return Turn("user", asked), Turn("assistant", fenced(function.code, language))


def explain(function: Function, language: str) -> tuple[Turn, Turn]:
    kind = "method" if "." in function.name else "function"
    asked = f"Explain what this {NAMES[language]} {kind} does.\n\n{fenced(function.bare, language)}"
    return Turn("user", asked), Turn("assistant", function.documentation)


def fenced(code: str, language: str) -> str:
    """A Markdown block of code, fenced by more backquotes than the code has in a row."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"
