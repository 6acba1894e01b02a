"""Redacts documents of a corpus before anything of them is tokenized or cached."""

from dataclasses import replace

from assistant.redaction.redact import redact
from tuning.corpus.document import Document, Dropped


def redact_batch(items: list[Document | Dropped]) -> list[tuple[Document, list[str]] | Dropped]:
    """Each document as `redact_document` gives it; what was left out stays as it is.

    Raises:
        HoneError: as `redact`.
    """
    return [item if isinstance(item, Dropped) else redact_document(item) for item in items]


def redact_document(document: Document) -> tuple[Document, list[str]]:
    """The document with its text, or each of its turns, redacted.

    Raises:
        HoneError: as `redact`.
    """
    if not document.turns:
        text, kinds = redact(document.text)
        return (replace(document, text=text) if kinds else document), kinds
    turns = []
    kinds = []
    for turn in document.turns:
        content, found = redact(turn.content)
        turns.append(replace(turn, content=content))
        kinds += found
    if not kinds:
        return document, kinds
    return replace(document, text="\n".join(turn.content for turn in turns), turns=tuple(turns)), kinds
