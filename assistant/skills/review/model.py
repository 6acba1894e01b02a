"""The reviewer: which adapter it is, how to reach it, and what it says of a change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from assistant import review_context
from assistant.review_prompt import Hunk
from assistant.review_rewriting import rewriting
from assistant.skills.review.changes import FileChange
from assistant.skills.review.explain import Author, Writer
from assistant.skills.review.findings import MODEL, MODEL_RULE, Evidence
from assistant.skills.review.observations import Observation
from assistant.skills.review.request import CancelledError, Progress
from assistant.skills.review.verdicts import Reader, Reviewer, line_probabilities, read_reviewer

MAX_TOKENS = 2048
"""Of a hunk with its lines written again: twice the row that training cuts one to."""
_SPARE = 16

NO_REVIEWER = (
    "no model looked at this: there is no reviewer for {base} yet. `hone tune --task review` makes one from your "
    "repositories; it is then used by itself"
)
NOT_A_REVIEWER = (
    "no model looked at this: {name} is no reviewer (it has no reviewer.json). `hone tune --task review` makes one"
)


class ReviewClient(Reader, Writer, Protocol):
    """What a review asks of the gateway; `assistant.client.Client` has it."""

    def models(self) -> list[dict[str, Any]]: ...

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]: ...


@dataclass(frozen=True)
class Model:
    """A reviewer."""

    name: str
    """NAME@DIGEST."""
    reviewer: Reviewer
    connect: Callable[[], AbstractContextManager[ReviewClient]]
    """Called once there is something to ask, since it may load the model."""


@dataclass(frozen=True)
class Seen:
    """A line that the model finds wrong, and the hunk it was asked in."""

    observation: Observation
    hunk: Hunk
    index: int


@dataclass(frozen=True)
class Verdicts:
    seen: tuple[Seen, ...]
    hunks: int
    """That were asked about."""
    unread: int
    """Lines that did not fit the model's context."""


def find(name: str | None = None) -> tuple[Model | None, str | None]:
    """The reviewer to use, or None and a line that says why there is none.

    Args:
        name: adapter NAME[@DIGEST] or alias. None: what the settings name, else the alias `reviewer`, else the newest
            reviewer that was tuned on the same base.

    Raises:
        UnknownModel: nothing has the given name.
        HoneError: its `reviewer.json` is damaged.
    """
    from assistant.config import load_settings
    from assistant.models.registry import AdapterVersion, Registry

    settings = load_settings(model=name)
    registry = Registry()
    asked = registry.find(settings.model)
    base = asked.base_name if asked else settings.model

    def usable(version: AdapterVersion) -> Model | None:
        reviewer = read_reviewer(version.folder)
        if reviewer is None:
            return None

        def reach() -> AbstractContextManager[ReviewClient]:
            from assistant.client import connect

            return connect(settings, model=version.id)

        return Model(version.id, reviewer, reach)

    if asked is not None and (found := usable(asked)) is not None:
        return found, None
    if name is not None:
        if asked is None:
            from assistant.models.resolve import resolve

            # Says it when there is no such model at all.
            resolve(name, fetch_missing=False)
        return None, NOT_A_REVIEWER.format(name=asked.id if asked else name)
    promoted = registry.aliases().get("reviewer")
    newest = sorted(registry.versions(), key=lambda version: version.created, reverse=True)
    for version in ([promoted] if promoted else []) + newest:
        if version.base_name == base and (found := usable(version)) is not None:
            return found, None
    return None, NO_REVIEWER.format(base=base)


def entry_of(client: ReviewClient, model: str) -> Mapping[str, Any]:
    """What the gateway says of a model."""
    return next(entry for entry in client.models() if model in (entry["id"], entry["name"]))


def author_of(entry: Mapping[str, Any]) -> Author:
    return Author(str(entry["base"]), bool(entry["chat"]))


def ask(
    client: ReviewClient,
    model: Model,
    changes: Sequence[FileChange],
    context_length: int,
    threshold: float | None,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Verdicts:
    """Which changed lines are wrong by the model's calibrated probability.

    Args:
        threshold: the probability from which on a line is called wrong; None: the one stored with the reviewer.

    Raises:
        HoneError: the gateway fails.
        CancelledError: as it says.
    """
    least = model.reviewer.threshold if threshold is None else threshold
    room = min(context_length - _SPARE, MAX_TOKENS)
    asked = [(change, part) for change in changes for part in _parts(change)]
    seen: list[Seen] = []
    hunks = unread = 0
    for number, (change, part) in enumerate(asked):
        progress("asking the model", number, len(asked))
        for hunk in _fitting(client, model.name, change, part, room):
            if cancelled():
                raise CancelledError("the review was cancelled")
            if isinstance(hunk, int):
                unread += hunk
                continue
            hunks += 1
            unread += hunk.cut
            seen += _over_threshold(client, model, change, hunk, least)
    progress("asking the model", len(asked), len(asked))
    return Verdicts(tuple(seen), hunks, unread)


_Part = tuple[set[int], dict[int, Sequence[str]]]


def _parts(change: FileChange) -> list[_Part]:
    return list(review_context.groups(change.added, change.removed, review_context.MAX_LINES))


def _fitting(client: ReviewClient, name: str, change: FileChange, part: _Part, room: int) -> Iterator[Hunk | int]:
    """The hunks of a part, each of at most `room` tokens; a number counts changed lines that fit in none."""
    hunk = review_context.build(change.path, change.lines, *part)
    if not hunk.changed:
        return
    most = len(hunk.lines)
    while True:
        size = len(client.tokenize([rewriting(hunk).text], name)[0])
        if size <= room:
            yield hunk
            return
        added, removed = part
        places = len({*added, *removed})
        if places > 1:
            smaller = list(review_context.groups(added, removed, max(1, places // 2)))
            if len(smaller) > 1:
                for one in smaller:
                    yield from _fitting(client, name, change, one, room)
                return
        # Tokens grow with lines, so the excess says about how many must go.
        most = min(most - 1, most * room // size)
        if most < 1:
            yield len(hunk.changed)
            return
        hunk = review_context.shortened(hunk, most, change.lines)
        if not hunk.changed:
            yield places
            return


def _over_threshold(
    client: ReviewClient, model: Model, change: FileChange, hunk: Hunk, threshold: float
) -> Iterator[Seen]:
    for verdict in line_probabilities(client, hunk, model.reviewer, model.name):
        if verdict.probability < threshold:
            continue
        line = hunk.lines[verdict.index]
        number = min(max(line.number, 1), max(len(change.lines), 1))
        what = "the removal of a line here" if line.marker == "-" else "this line"
        message = f"{what} {'is probably' if verdict.probability >= 0.5 else 'may be'} wrong"
        details = {"probability": round(verdict.probability, 4), "logit": round(verdict.logit, 4), "model": model.name}
        evidence = Evidence(MODEL, MODEL_RULE, message, verdict.probability, None, details)
        yield Seen(Observation(change.path, number, number, "warning", "correctness", evidence), hunk, verdict.index)
