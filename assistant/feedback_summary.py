"""What the events of feedback add up to: acceptance rates, and examples for training."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from assistant.feedback import Event, Kind

Verdict = Literal["accepted", "partly", "rejected", "ignored"]

SURVIVED = 0.5
"""An accepted text of which less is left afterwards was no good suggestion."""


@dataclass
class Story:
    """All that is known of one suggestion or answer."""

    first: Event
    kinds: set[Kind] = field(default_factory=set)
    prompt: str | None = None
    shown: str | None = None
    accepted: str | None = None
    survival: float | None = None
    thumb: Literal["up", "down"] | None = None

    @property
    def verdict(self) -> Verdict:
        """`ignored`: it was shown, and neither taken nor turned down."""
        kinds: tuple[Literal["accepted", "partly", "rejected"], ...] = ("accepted", "partly", "rejected")
        return next((kind for kind in kinds if kind in self.kinds), "ignored")


@dataclass(frozen=True)
class Group:
    """Completions of one language by one model."""

    language: str | None
    model: str
    adapter: str | None
    shown: int
    accepted: int
    partly: int
    rejected: int
    survival: float | None
    """Mean share of the accepted words that were still there afterwards."""

    @property
    def acceptance(self) -> float:
        """Accepted wholly or partly, of those shown."""
        return (self.accepted + self.partly) / self.shown


@dataclass(frozen=True)
class Example:
    """For training from preferences (KTO): whether `completion` is a good answer to `prompt`."""

    prompt: str
    completion: str
    label: bool


def stories(events: Iterable[Event]) -> list[Story]:
    """In the order in which they were shown."""
    found: dict[str, Story] = {}
    for event in events:
        story = found.setdefault(event.id, Story(event))
        story.kinds.add(event.kind)
        story.prompt = story.prompt or event.prompt
        if event.kind in ("accepted", "partly"):
            story.accepted = event.completion or story.accepted
        elif event.completion is not None:
            story.shown = event.completion
        if event.survival is not None:
            story.survival = event.survival
        if event.kind in ("up", "down"):
            story.thumb = event.kind
    return list(found.values())


def groups(events: Iterable[Event]) -> list[Group]:
    """By language, model and adapter, the most shown first. Of completions only: a chat answers when it is asked."""
    together: dict[tuple[str | None, str, str | None], list[Story]] = {}
    for story in stories(event for event in events if event.source == "complete"):
        together.setdefault((story.first.language, story.first.model, story.first.adapter), []).append(story)
    made = [_group(*key, members) for key, members in together.items()]
    return sorted(made, key=lambda group: (-group.shown, group.language or "", group.model))


def examples(events: Iterable[Event]) -> Iterator[Example]:
    """What can be learnt from: taken and kept is good, turned down or soon rewritten is bad. What nobody judged, and
    what has no texts, is left out."""
    for story in stories(events):
        if story.prompt is None:
            continue
        taken = story.verdict in ("accepted", "partly")
        text = (story.accepted if taken else None) or story.shown
        if not text:
            continue
        if story.thumb is not None:
            yield Example(story.prompt, text, story.thumb == "up")
        elif taken:
            yield Example(story.prompt, text, story.survival is None or story.survival >= SURVIVED)
        elif story.verdict == "rejected":
            yield Example(story.prompt, text, False)


def _group(language: str | None, model: str, adapter: str | None, members: Sequence[Story]) -> Group:
    verdicts = [story.verdict for story in members]
    survivals = [story.survival for story in members if story.survival is not None]
    return Group(
        language,
        model,
        adapter,
        shown=len(members),
        accepted=verdicts.count("accepted"),
        partly=verdicts.count("partly"),
        rejected=verdicts.count("rejected"),
        survival=fmean(survivals) if survivals else None,
    )
