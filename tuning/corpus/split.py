"""Whole clusters of related files into train, validation and test.

By a hash of the path, so that a file stays on its side when the corpus grows or is tuned on again; or by date, so that
the model is tested on what was written after everything it learnt from.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assistant.errors import HoneError

Split = Literal["train", "validation", "test"]

SIDES: tuple[Split, ...] = ("train", "validation", "test")
"""What the numbers in the arrays below stand for."""
TEST_SHARE = 0.10
VALIDATION_SHARE = 0.05
MIN_FILES = 5

Sides = NDArray[np.int8]
"""[documents]: index into `SIDES`, or `NO_SIDE` for a document that is not kept."""
NO_SIDE = -1


def split_by_path(
    paths: Iterable[str],
    clusters: ArrayLike,
    kept: ArrayLike | None = None,
    validation_share: float = VALIDATION_SHARE,
    test_share: float = TEST_SHARE,
) -> Sides:
    """A side for each document: its cluster's smallest path decides, by hash.

    Corpora so small that the hash would leave a side empty get one cluster there by rank of the same hash.

    Args:
        paths: read once, in the order of the documents.
        clusters: [documents] of int; documents with one number go to one side.
        kept: [documents] of bool; the others get no side, but their paths still count for their cluster's smallest, so
            that the side does not depend on which copy was kept. All by default.
        validation_share: of the clusters; 0 holds nothing out on that side.
        test_share: likewise.

    Raises:
        HoneError: fewer than `MIN_FILES` kept documents, or too few clusters for three sides.
    """
    numbers, group = np.unique(np.asarray(clusters), return_inverse=True)
    taken = np.ones(len(group), dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
    _enough(int(taken.sum()))
    position = _positions(paths, group, len(numbers))
    side = np.full(len(numbers), SIDES.index("train"), dtype=np.int8)
    side[position < test_share + validation_share] = SIDES.index("validation")
    side[position < test_share] = SIDES.index("test")
    used = np.zeros(len(numbers), dtype=bool)
    used[group[taken]] = True
    ranked = [int(index) for index in np.argsort(position, kind="stable") if used[index]]
    for wanted, never, share in (("test", None, test_share), ("validation", "test", validation_share)):
        if share and not any(side[index] == SIDES.index(wanted) for index in ranked):
            free = [index for index in ranked if never is None or side[index] != SIDES.index(never)]
            side[free[:1]] = SIDES.index(wanted)
    if not any(side[index] == SIDES.index("train") for index in ranked):
        raise HoneError(
            f"the split left no file to train on: {len(ranked)} groups of related files are too few for three sides; "
            "name a larger repository"
        )
    return np.where(taken, side[group], np.int8(NO_SIDE))


def split_by_date(
    committed: ArrayLike,
    sizes: ArrayLike,
    clusters: ArrayLike,
    kept: ArrayLike | None = None,
    validation_share: float = VALIDATION_SHARE,
    test_share: float = TEST_SHARE,
) -> Sides:
    """A side for each document: the oldest train, the newest are test, those between validation.

    A cluster is as old as its newest file, so nothing that is trained on is newer than what is tested. Clusters of one
    second stay together; the cuts are the nearest possible to the shares of the bytes.

    Args:
        committed: [documents] of Unix time of the last commit; negative or NaN for none.
        sizes: [documents] of bytes.
        clusters: [documents] of int.
        kept: [documents] of bool; all by default.
        validation_share: of the bytes; 0 holds nothing out on that side.
        test_share: likewise.

    Raises:
        HoneError: a kept document has no date, or there are fewer than `MIN_FILES` or than three dates.
    """
    group = np.unique(np.asarray(clusters), return_inverse=True)[1]
    taken = np.ones(len(group), dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
    _enough(int(taken.sum()))
    times = np.asarray(committed, dtype=np.float64)
    undated = int((taken & ~(times >= 0)).sum())
    if undated:
        raise HoneError(
            f"{undated:,} of {int(taken.sum()):,} files have no commit date; split by cluster, "
            "or name git repositories only"
        )
    newest = np.full(int(group.max()) + 1, -1.0)
    np.maximum.at(newest, group[taken], times[taken])
    dates, moment = np.unique(newest[group], return_inverse=True)
    weight = np.zeros(len(dates))
    np.add.at(weight, moment[taken], np.asarray(sizes, dtype=np.float64)[taken])
    present = [int(index) for index in range(len(dates)) if dates[index] >= 0]
    shares = [(name, share) for name, share in (("test", test_share), ("validation", validation_share)) if share]
    if len(present) <= len(shares):
        raise HoneError(
            f"the files have only {len(present)} different commit dates, {len(shares) + 1} sides need as many; "
            "split by cluster"
        )
    side = np.full(len(dates), SIDES.index("train"), dtype=np.int8)
    left = present
    for place, (name, share) in enumerate(shares):
        count = _nearest(weight[left[::-1]], share * float(weight.sum()), len(left) - len(shares) + place)
        side[left[len(left) - count :]] = SIDES.index(name)
        left = left[: len(left) - count]
    return np.where(taken, side[moment], np.int8(NO_SIDE))


def _nearest(weights: NDArray[np.float64], wanted: float, most: int) -> int:
    """How many of the first weights, from 1 to `most`, add up nearest to `wanted`."""
    return 1 + int(np.argmin(np.abs(np.cumsum(weights[:most]) - wanted)))


def _enough(count: int) -> None:
    if count < MIN_FILES:
        raise HoneError(
            f"only {count} usable source files: at least {MIN_FILES} are needed to hold some out "
            "for validation and test; name a larger repository"
        )


def _positions(paths: Iterable[str], group: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
    """[groups]: the position of each one's smallest path. Only paths of groups of several are held."""
    shared = np.bincount(group, minlength=groups) > 1
    smallest: dict[int, str] = {}
    positions = np.empty(groups)
    for path, number in zip(paths, group.tolist(), strict=True):
        if not shared[number]:
            positions[number] = _position(path)
        elif number not in smallest or path < smallest[number]:
            smallest[number] = path
            positions[number] = _position(path)
    return positions


def _position(path: str) -> float:
    """A uniform number in [0, 1) from the path alone."""
    return int.from_bytes(hashlib.sha256(path.encode("utf-8", errors="surrogateescape")).digest()[:8], "big") / 2**64
