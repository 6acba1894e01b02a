"""Keeps as feedback that the user found nothing wrong with a line which the model had found wrong."""

from assistant import review_context
from assistant.feedback import Feedback
from assistant.feedback_events import Event
from assistant.languages import language_of
from assistant.review_rewriting import judge, rewriting
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import MODEL, Finding


def record(feedback: Feedback, change: FileChange, finding: Finding) -> Event | None:
    """As rejected, the question on the line and the line as it stands, which is what should have been written; the
    texts only where the user opted in.

    None of a finding that is not the model's alone: what an analyzer says of a line is not for the model to learn.

    Raises:
        HoneError: the feedback cannot be read or written.
    """
    asked = question(change, finding.line)
    if asked is None or [one.source for one in finding.evidence] != [MODEL]:
        return None
    prompt, line = asked
    model = str(finding.evidence[0].details["model"])
    language = language_of(finding.path)
    return feedback.record(
        "rejected",
        id=f"review:{finding.id}",
        model=model,
        adapter=model,
        language=language.name if language else None,
        source="review",
        prompt=prompt,
        completion=line,
        path=finding.path,
        rendered=True,
    )


def question(change: FileChange, number: int) -> tuple[str, str] | None:
    """What a reviewer reads before it would write a line again, and the line; None where the change holds no such line.

    Args:
        number: of the line in the new file, from 1; where that is not new, the removal in front of it is meant.
    """
    for added, removed in review_context.groups(change.added, change.removed, review_context.MAX_LINES):
        hunk = review_context.build(change.path, change.lines, added, removed)
        made = rewriting(hunk)
        spans = dict(zip(made.asked, made.spans, strict=True))
        for marker in "+-":
            for index in hunk.changed:
                by = judge(hunk, index)
                if (hunk.lines[index].marker, hunk.lines[index].number) == (marker, number) and by is not None:
                    start, end = spans[by]
                    return made.text[:start], made.text[start:end]
    return None
