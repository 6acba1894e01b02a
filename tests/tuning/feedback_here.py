"""Feedback as somebody's use of Hone leaves it, in the state folder of a test."""

from pathlib import Path

from assistant import feedback_consent
from assistant.feedback import Feedback
from assistant.feedback_events import Kind

PROMPT = "# shop.py\ndef price{number}(items):\n    "


def opted_in(repository: Path | None = None) -> Feedback:
    """Feedback of a repository whose texts are kept; of no known one without an argument."""
    consent = feedback_consent.read()
    if repository is None:
        feedback_consent.write(feedback_consent.Consent(consent.repositories, True))
    else:
        feedback_consent.write(consent.with_repository(repository))
    return Feedback(repository=repository)


def shown(
    kept: Feedback,
    number: int,
    *kinds: Kind,
    text: str | None = None,
    edited: str | None = None,
    model: str = "base",
    path: str | None = None,
) -> str:
    """A completion that was shown, and what became of it; its id."""
    identity = f"s{number}"
    facts = {
        "id": identity,
        "model": model,
        "adapter": model if "@" in model else None,
        "path": path or f"f{number}.py",
    }
    text = f"return sum(items) + {number}\n" if text is None else text
    kept.record("shown", prompt=PROMPT.format(number=number), completion=text, **facts)  # type: ignore[arg-type]
    for kind in kinds:
        kept.record(kind, completion=text if kind in ("accepted", "partly") else None, **facts)  # type: ignore[arg-type]
    if edited is not None:
        kept.record("edited", completion=edited, survival=0.4, seconds=40.0, **facts)  # type: ignore[arg-type]
    return identity
