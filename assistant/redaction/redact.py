"""Replaces secrets and personal data by typed placeholders before anything is tokenized, cached or kept."""

from assistant.errors import HoneError
from assistant.redaction import personal, secrets
from assistant.redaction.secrets import Found
from assistant.redaction.shape import Shape


def redact(text: str) -> tuple[str, list[str]]:
    """The text with each secret and each piece of personal data as `<KIND>`, and the kinds in order of the text.

    Raises:
        HoneError: the detector is missing or fails; nothing may be tokenized then.
    """
    shape = Shape(text)
    try:
        found = [*secrets.find(shape), *personal.find(shape)]
    except HoneError:
        raise
    except Exception as error:
        # Whatever happens inside a detector, an undetected secret must not get further.
        raise HoneError(
            f"the secret detector failed ({type(error).__name__}: {error}), so nothing was tokenized"
        ) from error
    if not found:
        return text, []
    pieces: list[str] = []
    kinds: list[str] = []
    position = 0
    for span in _merged(found):
        pieces += (text[position : span.start], placeholder(span.kind))
        kinds.append(span.kind)
        position = span.end
    return "".join([*pieces, text[position:]]), kinds


def placeholder(kind: str) -> str:
    return f"<{kind.upper().replace(' ', '_')}>"


def _merged(found: list[Found]) -> list[Found]:
    """Spans in order, overlapping ones as one of the kind that was found first."""
    ranked = sorted(enumerate(found), key=lambda entry: (entry[1].start, entry[0]))
    merged: list[tuple[int, Found]] = []
    for rank, span in ranked:
        if merged and span.start < merged[-1][1].end:
            best, before = merged[-1]
            kind = before.kind if best <= rank else span.kind
            merged[-1] = (min(best, rank), Found(before.start, max(before.end, span.end), kind))
        else:
            merged.append((rank, span))
    return [span for _, span in merged]
