"""Keeps as feedback that the user found nothing wrong with a line which the model had found wrong."""

from assistant import review_context, review_prompt
from assistant.feedback import Event, Feedback
from assistant.languages import language_of
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import MODEL, Finding


def record(feedback: Feedback, change: FileChange, finding: Finding) -> Event | None:
    """The question on the line as rejected, with the model's answer `review_prompt.WRONG`; its texts only where the
    user opted in.

    None of a finding that is not the model's alone: what an analyzer says of a line is not for the model to learn.

    Raises:
        HoneError: the feedback cannot be read or written.
    """
    asked = question(change, finding.line)
    if asked is None or [one.source for one in finding.evidence] != [MODEL]:
        return None
    model = str(finding.evidence[0].details["model"])
    language = language_of(finding.path)
    return feedback.record(
        "rejected",
        id=f"review:{finding.id}",
        model=model,
        adapter=model,
        language=language.name if language else None,
        source="review",
        prompt=asked,
        completion=review_prompt.WRONG,
        path=finding.path,
        rendered=True,
    )


def question(change: FileChange, number: int) -> str | None:
    """What a reviewer reads before its verdict on a line; None where the change holds no such line.

    Args:
        number: of the line in the new file, from 1; where that is not new, the removal in front of it is meant.
    """
    for added, removed in review_context.groups(change.added, change.removed, review_context.MAX_LINES):
        hunk = review_context.build(change.path, change.lines, added, removed)
        text, spans = review_prompt.verdicts(hunk)
        asked = [(hunk.lines[index], start) for index, (start, _) in zip(hunk.changed, spans, strict=True)]
        for marker in "+-":
            for line, start in asked:
                if (line.marker, line.number) == (marker, number):
                    return text[:start]
    return None
