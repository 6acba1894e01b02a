"""What a file is called that code is sent to when none is open."""

from collections.abc import Callable

from assistant import languages

_STEM = "snippet"


def name_for(language: str, taken: Callable[[str], bool]) -> str:
    """A name that is free, with the ending of the language as a code block names it; `.txt` for one not known."""
    language = language.lower()
    ending = languages.ending(language) or (f".{language}" if languages.language_of(f"x.{language}") else ".txt")
    number = 1
    while taken(name := f"{_STEM}{ending}" if number == 1 else f"{_STEM}-{number}{ending}"):
        number += 1
    return name
