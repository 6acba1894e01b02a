"""Whole files into train, validation and test, by a hash of their path, so that a file stays on its side when the
corpus grows or is tuned on again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from assistant.errors import HoneError
from tuning.corpus.collect import Document

Split = Literal["train", "validation", "test"]

TEST_SHARE = 0.10
VALIDATION_SHARE = 0.05
MIN_FILES = 5


def split(documents: Sequence[Document]) -> Mapping[str, Split]:
    """The side of each path.

    Small corpora, in which the hash would leave a side empty, get one file each by rank of the same hash.

    Raises:
        HoneError: fewer than `MIN_FILES` documents.
    """
    if len(documents) < MIN_FILES:
        raise HoneError(
            f"only {len(documents)} usable source files: at least {MIN_FILES} are needed to hold some out "
            "for validation and test; name a larger repository"
        )
    sides = {document.path: _side(_position(document.path)) for document in documents}
    ranked = sorted(sides, key=_position)
    if "test" not in sides.values():
        sides[ranked[0]] = "test"
    if "validation" not in sides.values():
        sides[next(path for path in ranked if sides[path] != "test")] = "validation"
    if "train" not in sides.values():
        raise HoneError("the split left no file to train on; name a larger repository")
    return sides


def _position(path: str) -> float:
    """A uniform number in [0, 1) from the path alone."""
    return int.from_bytes(hashlib.sha256(path.encode("utf-8", errors="surrogateescape")).digest()[:8], "big") / 2**64


def _side(position: float) -> Split:
    if position < TEST_SHARE:
        return "test"
    if position < TEST_SHARE + VALIDATION_SHARE:
        return "validation"
    return "train"
