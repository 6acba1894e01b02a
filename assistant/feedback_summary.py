"""What the events of feedback add up to: acceptance rates, and examples for training."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from assistant.feedback_events import Event, Kind

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
    edited: str | None = None
    """What stands where the accepted text stood, some time afterwards."""
    survival: float | None = None
    thumb: Literal["up", "down"] | None = None

    @property
    def verdict(self) -> Verdict:
        """`ignored`: it was shown, and neither taken nor turned down."""
        kinds: tuple[Literal["accepted", "partly", "rejected"], ...] = ("accepted", "partly", "rejected")
        return next((kind for kind in kinds if kind in self.kinds), "ignored")

    @property
    def kept(self) -> bool:
        """It was taken, and as far as is known not rewritten."""
        return self.verdict in ("accepted", "partly") and (self.survival is None or self.survival >= SURVIVED)

    @property
    def correction(self) -> str | None:
        """What the user made of the text that was taken; None where it stayed as it was, or that is not known."""
        if not self.accepted or self.edited is None or self.edited.strip() in ("", self.accepted.strip()):
            return None
        return self.edited


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


@dataclass(frozen=True)
class Correction:
    """For training from preferences (DPO): what the user made of what the model wrote."""

    prompt: str
    chosen: str
    rejected: str


def stories(events: Iterable[Event]) -> list[Story]:
    """In the order in which they were shown."""
    found: dict[str, Story] = {}
    for event in events:
        story = found.setdefault(event.id, Story(event))
        story.kinds.add(event.kind)
        story.prompt = story.prompt or event.prompt
        if event.kind in ("accepted", "partly"):
            story.accepted = event.completion or story.accepted
        elif event.kind == "edited":
            story.edited = event.completion or story.edited
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
            yield Example(story.prompt, text, story.kept)
        elif story.verdict == "rejected":
            yield Example(story.prompt, text, False)


def corrections(events: Iterable[Event]) -> Iterator[Correction]:
    """The texts that were taken and then edited."""
    for story in stories(events):
        if story.prompt is not None and story.accepted is not None and story.correction is not None:
            yield Correction(story.prompt, story.correction, story.accepted)


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
