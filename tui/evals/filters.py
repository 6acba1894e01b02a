"""Which samples are shown: by what became of them, by their error class, and by words in them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from evals.report.skim import Answer, Place, ReportFile, prompt_of

Outcome = Literal["all", "wrong", "right", "better", "worse"]
OUTCOMES: tuple[Outcome, ...] = ("all", "wrong", "right", "better", "worse")
"""Wrong and right are of the second model where there are two; better and worse compare it with the first."""
_TELL_SECONDS = 0.3


@dataclass(frozen=True)
class Pair:
    """Numbers of the two models that are compared; the same twice where there is one alone."""

    before: int
    after: int

    @property
    def is_two(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class Filter:
    outcome: Outcome = "all"
    error: str | None = None
    """An error class of the second model; None: any."""


def of_outcome(place: Place, pair: Pair, outcome: Outcome) -> bool:
    before, after = place.answers[pair.before], place.answers[pair.after]
    match outcome:
        case "all":
            return True
        case "right":
            return after is not None and after.is_right
        case "wrong":
            return after is not None and not after.is_right
        case "better":
            return _grade(before) < _grade(after) and before is not None
        case "worse":
            return _grade(after) < _grade(before) and after is not None


def counts(places: Sequence[Place], pair: Pair) -> dict[Outcome, int]:
    """Better and worse are left out where one model stands alone."""
    outcomes = OUTCOMES if pair.is_two else OUTCOMES[:3]
    return {outcome: sum(of_outcome(place, pair, outcome) for place in places) for outcome in outcomes}


def errors(places: Sequence[Place], pair: Pair) -> list[tuple[str, int]]:
    """Error classes of the second model, the most frequent first."""
    found = Counter(answer.error for place in places if (answer := place.answers[pair.after]) and answer.error)
    return sorted(found.items(), key=lambda each: (-each[1], each[0]))


def chosen(places: Sequence[Place], pair: Pair, wanted: Filter, hits: frozenset[int] | None) -> list[int]:
    """Numbers of the places that are shown.

    Args:
        hits: of the search; None: nothing is searched for.
    """
    return [
        number
        for number, place in enumerate(places)
        if (hits is None or number in hits)
        and of_outcome(place, pair, wanted.outcome)
        and (
            wanted.error is None or ((answer := place.answers[pair.after]) is not None and answer.error == wanted.error)
        )
    ]


def search(
    file: ReportFile, places: Sequence[Place], words: str, stopped: Callable[[], bool]
) -> Iterator[tuple[frozenset[int], int]]:
    """The numbers of the places that hold the words, and how many places were looked through; now and then, and at the
    end. Samples are read one at a time.

    Args:
        words: looked for as they are, in any case, in the item's name, the prompt, the answers and the verdicts.

    Raises:
        HarnessError: the file was changed in its place.
    """
    wanted = words.casefold()
    hits: set[int] = set()
    told = time.monotonic()
    for number, place in enumerate(places):
        if stopped():
            return
        if wanted in place.item.casefold() or any(
            answer is not None and _holds(file, answer, wanted) for answer in place.answers
        ):
            hits.add(number)
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            yield frozenset(hits), number + 1
    yield frozenset(hits), len(places)


def _holds(file: ReportFile, answer: Answer, wanted: str) -> bool:
    row = file.row(answer.span)
    verdict = row.get("verdict") or {}
    texts = (row.get("text"), prompt_of(row.get("ask") or {}), verdict.get("detail"), verdict.get("error"))
    return any(wanted in str(text).casefold() for text in texts if text)


def _grade(answer: Answer | None) -> tuple[bool, float]:
    return (False, 0.0) if answer is None else (answer.is_right, answer.value)
