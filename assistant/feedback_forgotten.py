"""Forgetting: the events go, what tuning runs wrote down of them goes, and adapters that learnt from them are marked.

Digests of the forgotten ids are kept for good. A run that has read its rows may end after they were forgotten, and a
process may be killed in the midst of forgetting; by the digests both are found out later.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from assistant import atomic, feedback_trained, paths
from assistant.errors import HoneError
from assistant.feedback import COPIES, ROWS, Feedback
from assistant.feedback_events import Event
from assistant.feedback_trained import FORGOTTEN, Touched, digest_of
from assistant.models.registry import Registry

FILE_NAME = "feedback-forgotten"
_DIGEST = re.compile(r"[0-9a-f]{16}")


def forget(kept: Feedback, wanted: Callable[[Event], bool], registry: Registry) -> tuple[int, list[Touched]]:
    """Removes the events that `wanted` tells, for good, and marks the adapters that learnt from them.

    Returns:
        How many events went, and the adapters that learnt from what went this time.

    Raises:
        HoneError: a file, the registry or a manifest cannot be read or written; the events stay then.
    """
    found: list[Touched] = []
    gone: frozenset[str] = frozenset()

    def before(ids: Collection[str]) -> None:
        nonlocal gone
        gone = frozenset(ids)
        found.extend(feedback_trained.touched([digest_of(one) for one in ids], registry))
        # In this order: whoever registers an adapter looks here after it, so one of the two sees the other.
        _add(ids, registry)
        mark_adapters(registry)
        _remove_copies(gone)

    forgotten = kept.forget(wanted, before)
    if gone:
        # A run may have read the events before they went, and written them down since.
        _remove_copies(gone)
    else:
        # What a process that was killed left undone.
        mark_adapters(registry)
    return forgotten, found


def mark_adapters(registry: Registry) -> None:
    """Marks what learnt from anything that was ever forgotten and is not marked for it yet.

    Raises:
        HoneError: a file, the registry or a manifest cannot be read or written.
    """
    forgotten = _read(registry)
    if forgotten:
        feedback_trained.mark(feedback_trained.touched(forgotten, registry), registry, FORGOTTEN)


def _read(registry: Registry) -> frozenset[str]:
    file = registry.file.with_name(FILE_NAME)
    try:
        return frozenset(filter(_DIGEST.fullmatch, file.read_text("ascii").split()))
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise HoneError(f"cannot read {file}, which says what feedback was forgotten: {error}") from error


def _add(ids: Collection[str], registry: Registry) -> None:
    file = registry.file.with_name(FILE_NAME)
    every = sorted(_read(registry).union(map(digest_of, ids)))
    try:
        atomic.write_text(file, "".join(f"{one}\n" for one in every), mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot write {file}: {error.strerror or error}") from error


def _remove_copies(ids: Collection[str]) -> None:
    """What tuning runs wrote down of these; one of them that has not ended has to begin anew."""
    folder = paths.cache_dir() / COPIES
    for copy in folder.iterdir() if folder.is_dir() else ():
        if _may_have(copy, ids):
            shutil.rmtree(copy, ignore_errors=True)


def _may_have(copy: Path, ids: Collection[str]) -> bool:
    try:
        return not frozenset(json.loads((copy / ROWS).read_text("utf-8"))["ids"]).isdisjoint(ids)
    except (OSError, ValueError, KeyError, TypeError):
        # What cannot be read may hold anything.
        return True
