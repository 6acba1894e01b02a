"""Comments that silence a finding: `# hone: ignore[RULE] reason`, in any language's comments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.languages import language_of
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Evidence
from assistant.skills.review.observations import CONFIDENCE, Observation

SOURCE = "hone"
RULE = "ignore-without-reason"

_COMMENT = re.compile(
    r"(?P<open>#|//|--|/\*|<!--)\s*hone:\s*ignore(?:\[(?P<rules>[^\]\n]*)\])?(?P<reason>[^\n]*)", re.IGNORECASE
)
_CLOSE = re.compile(r"\s*(?:\*/|-->)\s*$")
_HAS_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Ignore:
    """One comment."""

    line: int
    """Where it stands."""
    target: int
    """The line that it is about: its own, or the next line of code where it stands alone."""
    rules: frozenset[str]
    """In lower case; empty for all."""
    reason: str
    """Empty where none is given: then nothing is silenced."""

    def silences(self, first: int, last: int, evidence: Sequence[Evidence]) -> bool:
        """Whether it is about a finding at these lines: any of its evidence is enough."""
        if not self.reason or not first <= self.target <= last:
            return False
        named = {name.lower() for one in evidence for name in (one.rule, one.source, f"{one.source}/{one.rule}")}
        return not self.rules or bool(self.rules & named)


def find(change: FileChange) -> list[Ignore]:
    """The comments of a file, in order.

    A comment is told by its language's mark, so a string that spells one counts too.
    """
    language = language_of(change.path)
    if language is None:
        return []
    marks = {language.comment} | ({"/*"} if language.comment == "//" else set())
    found = []
    for number, line in enumerate(change.lines, 1):
        match = _COMMENT.search(line)
        if match is None or match["open"] not in marks:
            continue
        alone = not line[: match.start()].strip()
        target = _next_code(change.lines, number) if alone else number
        rules = frozenset(rule.strip().lower() for rule in (match["rules"] or "").split(",") if rule.strip())
        reason = _CLOSE.sub("", match["reason"]).strip(" \t:-")
        found.append(Ignore(number, target, rules, reason if _HAS_WORD.search(reason) else ""))
    return found


def _next_code(lines: Sequence[str], number: int) -> int:
    following = range(number, len(lines))
    return next((at + 1 for at in following if lines[at].strip() and not _COMMENT.match(lines[at].strip())), number)


def without_reason(change: FileChange, ignores: Sequence[Ignore]) -> list[Observation]:
    """A note for each new comment that gives no reason."""
    message = "this comment gives no reason, so it silences nothing: write why after it"
    evidence = Evidence(SOURCE, RULE, message, CONFIDENCE["note"])
    return [
        Observation(change.path, one.line, one.line, "note", "review", evidence)
        for one in ignores
        if not one.reason and one.line in change.added
    ]
