"""From what became of suggestions to what can be learnt: examples, preference pairs and labelled answers.

Which rows are good enough is decided here, with a reason for each that is left out; nothing is tokenized yet.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from assistant.errors import HoneError
from assistant.feedback_events import Event, Source
from assistant.feedback_summary import Story, stories
from tuning.plan import FeedbackOptions

Method = Literal["none", "dpo", "kto"]
Task = Literal["code", "review"]
_SOURCES: dict[Task, frozenset[Source]] = {"code": frozenset({"complete", "chat"}), "review": frozenset({"review"})}
LEARNT: dict[Task, str] = {"code": "completions that were kept", "review": "findings that were dismissed"}

MOST_OF_ONE_LABEL = 3
"""Times as many rows of one label as of the other; what is more says little new, and KTO's weights would grow."""


@dataclass(frozen=True)
class Row:
    """One text that followed a prompt, and what the user thought of it."""

    id: str
    """Of the suggestion or answer."""
    prompt: str
    text: str
    good: bool
    source: Source
    rendered: bool
    """As in `Event`."""
    path: str | None
    """Of the file; None where it is not known."""
    whole: bool
    """`text` is all that belongs there; else it is only its beginning."""
    rejected: str | None = None
    """Of an edit: what the model had written in place of `text`."""


@dataclass(frozen=True)
class Selection:
    """What a run learns from."""

    completions: tuple[Row, ...]
    """To continue as the user did: what was taken and kept, and what it was edited into; of a reviewer that the lines
    of dismissed findings are fine."""
    pairs: tuple[Row, ...]
    """With `rejected`."""
    labelled: tuple[Row, ...]
    method: Method
    """What pairs and labels are learnt by."""
    left_out: dict[str, int]
    """Reasons with the number of suggestions or rows."""
    task: Task = "code"

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the suggestions that anything is learnt from."""
        rows = (*self.completions, *self.preferences)
        return tuple(sorted({row.id for row in rows}))

    @property
    def preferences(self) -> tuple[Row, ...]:
        """What the method learns from."""
        return {"none": (), "dpo": self.pairs, "kto": self.labelled}[self.method]

    def describe(self) -> str:
        """One line."""
        learnt = [f"{len(self.completions)} {LEARNT[self.task]}"] if self.completions else []
        if self.method == "dpo":
            learnt.append(f"{len(self.pairs)} pairs of edits (DPO)")
        elif self.method == "kto":
            good = sum(row.good for row in self.labelled)
            learnt.append(f"{good} good and {len(self.labelled) - good} bad answers (KTO)")
        why = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"feedback: {' and '.join(learnt)}" + (f"; left out: {why}" if why else "")


def select(
    events: Iterable[Event], options: FeedbackOptions, policy: Collection[str], task: Task = "code"
) -> Selection:
    """
    Args:
        task: what is tuned; a reviewer learns from dismissed findings alone, and nothing else does.
        policy: names of the model that training goes on from, NAME@DIGEST or a base. Preferences between texts of
            other models say little about it, so only its own count; what a user kept is good whoever wrote it.

    Raises:
        HoneError: too little to learn from, or too little for the method that was asked for.
    """
    left_out: Counter[str] = Counter()
    told = _told((event for event in events if event.source in _SOURCES[task]), left_out)
    capped = _capped(told, options, left_out)
    # Verdicts have no preferences.
    own = [story for story in capped if _on_policy(story, policy, left_out)] if task == "code" else []
    disputed = _disputed(row for story in capped for row in (*_completions(story), *_labels(story)))
    left_out["judged both ways"] += len(disputed)
    completions = _unique((row for story in capped for row in _completions(story)), disputed, left_out)
    pairs = _unique((row for story in own for row in _pairs(story)), disputed, left_out)
    labelled = _unique((row for story in own for row in _labels(story)), disputed, left_out)
    labelled = _balanced(labelled, left_out)
    if len(completions) < options.least:
        left_out[f"{LEARNT[task].split()[0]}, fewer than {options.least}"] += len(completions)
        completions = []
    method = _method(pairs, labelled, options, left_out)
    found = Selection(tuple(completions), tuple(pairs), tuple(labelled), method, _sorted(left_out), task)
    if not completions and method == "none":
        raise HoneError(_too_little(found, told, options))
    return found


def _told(events: Iterable[Event], left_out: Counter[str]) -> list[Story]:
    """Stories that have their texts and a verdict, newest last."""
    kept = []
    for story in stories(events):
        if story.verdict == "ignored" and story.thumb is None:
            continue
        if story.prompt is None or not (story.shown or story.accepted):
            left_out["without their texts"] += 1
        elif not (story.accepted or story.shown or "").strip():
            left_out["blank"] += 1
        else:
            kept.append(story)
    return kept


def _capped(told: Sequence[Story], options: FeedbackOptions, left_out: Counter[str]) -> list[Story]:
    """At most so many of a file and such a share of a user, the newest ones: no file and no person is the taste of
    all."""
    users = Counter(story.first.user for story in told)
    most = max(1, round(len(told) * options.per_user)) if len(users) > 1 else len(told)
    of_file: Counter[tuple[str | None, str | None]] = Counter()
    of_user: Counter[str | None] = Counter()
    kept = []
    for story in reversed(told):
        file, user = (story.first.repository, story.first.path), story.first.user
        if story.first.path is not None and of_file[file] >= options.per_file:
            left_out["over the limit of their file"] += 1
        elif of_user[user] >= most:
            left_out["over the share of their user"] += 1
        else:
            of_file[file] += 1
            of_user[user] += 1
            kept.append(story)
    return kept[::-1]


def _on_policy(story: Story, policy: Collection[str], left_out: Counter[str]) -> bool:
    """Whether the model that is trained wrote it, to the prompt that is kept."""
    first = story.first
    if (first.adapter or first.model) not in policy:
        left_out["of another model, so without preferences"] += 1
        return False
    assert story.prompt is not None
    same = first.prompt_sha256 in (None, hashlib.sha256(story.prompt.encode("utf-8", "surrogatepass")).hexdigest())
    if not same:
        left_out["with a redacted prompt, so without preferences"] += 1
    return same


def _completions(story: Story) -> list[Row]:
    if story.first.source == "review":
        # The line as it stands is what the reviewer should have written.
        line = story.first.completion or ""
        return [_row(story, line, True)] if story.verdict == "rejected" and line.endswith("\n") else []
    if story.first.source != "complete" or story.verdict not in ("accepted", "partly") or story.thumb == "down":
        return []
    if story.correction is not None:
        return [_row(story, story.correction, True)]
    return [_row(story, _taken(story), True)] if story.kept else []


def _pairs(story: Story) -> list[Row]:
    if story.first.source != "complete" or story.correction is None:
        return []
    assert story.accepted is not None
    return [_row(story, story.correction, True, story.accepted)]


def _labels(story: Story) -> list[Row]:
    """Thumbs, and verdicts on completions. An edit is two rows: what there was, and what there is."""
    if story.thumb is not None:
        return [_row(story, story.shown or _taken(story), story.thumb == "up")]
    if story.first.source != "complete":
        return []
    if story.verdict == "rejected":
        return [_row(story, story.shown or "", False)] if story.shown else []
    if story.correction is not None:
        return [_row(story, story.correction, True), _row(story, _taken(story), False)]
    return [_row(story, _taken(story), story.kept)]


def _taken(story: Story) -> str:
    return story.accepted or story.shown or ""


def _row(story: Story, text: str, good: bool, rejected: str | None = None) -> Row:
    first = story.first
    assert story.prompt is not None
    whole = story.verdict != "partly"
    return Row(first.id, story.prompt, text, good, first.source, first.rendered, first.path, whole, rejected)


def _disputed(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Prompts with texts that were good once and bad another time: nothing is learnt from them."""
    verdicts: dict[tuple[str, str], set[bool]] = {}
    for row in rows:
        verdicts.setdefault((row.prompt, row.text), set()).add(row.good)
    return {key for key, told in verdicts.items() if len(told) > 1}


def _unique(rows: Iterable[Row], disputed: Collection[tuple[str, str]], left_out: Counter[str]) -> list[Row]:
    """Each text to a prompt once."""
    kept: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row.prompt, row.text
        if key in kept:
            left_out["repeated"] += 1
        elif key not in disputed:
            kept[key] = row
    return list(kept.values())


def _balanced(rows: Sequence[Row], left_out: Counter[str]) -> list[Row]:
    """The newest of the more frequent label, so that it is not more than `MOST_OF_ONE_LABEL` times the other."""
    good, bad = ([row for row in rows if row.good is label] for label in (True, False))
    if not good or not bad:
        return list(rows)
    most = MOST_OF_ONE_LABEL * min(len(good), len(bad))
    if (spare := max(len(good), len(bad)) - most) > 0:
        left_out["of the more frequent label"] += spare
    kept = {id(row) for row in (*good[-most:], *bad[-most:])}
    return [row for row in rows if id(row) in kept]


def _method(pairs: Sequence[Row], labelled: Sequence[Row], options: FeedbackOptions, left_out: Counter[str]) -> Method:
    """DPO where pairs dominate, else KTO, where there are enough of both labels.

    Raises:
        HoneError: the method that was asked for has too few rows.
    """
    good = sum(row.good for row in labelled)
    fewest = min(good, len(labelled) - good)
    can: dict[Method, bool] = {"dpo": len(pairs) >= options.least, "kto": fewest >= options.least}
    have: dict[Method, str] = {
        "dpo": f"{len(pairs)} pairs",
        "kto": f"{good} good and {len(labelled) - good} bad answers",
    }
    asked = options.objective
    if asked == "completions":
        return "none"
    if asked in ("dpo", "kto"):
        if not can[asked]:
            raise HoneError(
                f"feedback has {have[asked]} of the model that is tuned, too few for {asked.upper()}, which wants "
                f"{options.least}{' of each' if asked == 'kto' else ''}; use it longer, or leave feedback.objective out"
            )
        return asked
    # An edit is a pair and two labels: pairs dominate where most labels come from edits.
    if can["dpo"] and (not can["kto"] or 4 * len(pairs) >= len(labelled)):
        return "dpo"
    if can["kto"]:
        return "kto"
    left_out["rows of preference, too few to learn from"] += len(labelled)
    return "none"


def _sorted(left_out: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in left_out.most_common() if count}


def _too_little(found: Selection, told: Sequence[Story], options: FeedbackOptions) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items()) or "there is none"
    help_ = "go on using it"
    if not told:
        help_ = "keep texts with `hone feedback on` in your repository, and go on using it"
    return f"too little feedback to learn from ({why}); {help_}, or lower feedback.least (now {options.least})"
