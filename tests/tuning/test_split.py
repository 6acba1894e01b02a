import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from tests.tuning.planted import code, document, with_changes
from tuning.corpus.neardup import Signatures, find
from tuning.corpus.split import (
    MIN_FILES,
    NO_SIDE,
    TEST_SHARE,
    VALIDATION_SHARE,
    split_by_date,
    split_by_path,
)

TRAIN, VALIDATION, TEST = range(3)


def test_planted_copies_never_cross_the_split(tmp_path):
    chosen = random.Random(4)
    documents, family = [], []
    for number in range(240):
        words = code(number, chosen.choice((60, 200, 500)))
        for copy in range(chosen.choice((1, 1, 2, 4))):
            # From nearly the same to half the same, in other folders and in the other source.
            changes = chosen.choice((1, len(words) // 60 + 1, len(words) // 40 + 1, len(words) // 20))
            text = with_changes(words, changes, copy) if copy else "\n".join(words)
            documents.append(document(text, f"{chosen.choice('abc')}/{number}_{copy}.py", copy % 2))
            family.append(number)
    order = list(range(len(documents)))
    chosen.shuffle(order)
    documents, family = [documents[index] for index in order], np.array(family)[order]
    with Signatures(tmp_path) as signatures:
        for each in documents:
            signatures.add(each)
        found = find(signatures)
    paths = [each.path for each in documents]
    sizes = [each.bytes for each in documents]
    dates = [chosen.randrange(50) for _ in documents]
    for sides in (
        split_by_path(paths, found.related, found.kept),
        split_by_date(dates, sizes, found.related, found.kept),
    ):
        assert ((sides == NO_SIDE) == ~found.kept).all()
        kept = [(family[index], sides[index], found.related[index]) for index in np.flatnonzero(found.kept)]
        assert len({(related, side) for _, side, related in kept}) == len({related for _, _, related in kept})
        # The planted families cross only where a copy's similarity is below what the bands promise to find.
        assert len({(number, side) for number, side, _ in kept}) < 1.05 * len({number for number, _, _ in kept})
        assert set(sides[found.kept].tolist()) == {TRAIN, VALIDATION, TEST}
    # By path alone copies would cross.
    alone = split_by_path(paths, np.arange(len(paths)), found.kept)
    related = found.related[found.kept]
    assert len(set(zip(related, alone[found.kept], strict=True))) > len(set(related))


def test_a_file_keeps_its_side_when_the_corpus_grows():
    first = [f"pkg/module_{number}.py" for number in range(60)]
    more = [f"new/other_{number}.py" for number in range(60)]
    small = split_by_path(first, np.arange(60))
    large = split_by_path(more + first, np.arange(120))
    assert set(small.tolist()) == {TRAIN, VALIDATION, TEST}
    assert (large[60:] == small).all()


def test_a_cluster_follows_its_smallest_path_whichever_copy_is_kept():
    paths = [f"m{number}.py" for number in range(80)]
    alone = dict(zip(paths, split_by_path(paths, np.arange(80)), strict=True))
    group = [0 if number in (7, 33, 61) else number + 1 for number in range(80)]
    for kept_one in (7, 33, 61):
        kept = np.array([number not in (7, 33, 61) or number == kept_one for number in range(80)])
        sides = split_by_path(iter(paths), group, kept)
        assert sides[kept_one] == alone["m33.py"]
        others = [number for number in range(80) if number not in (7, 33, 61)]
        assert (sides[others] == [alone[paths[number]] for number in others]).all()


@settings(max_examples=60)
@given(groups=st.lists(st.integers(0, 12), min_size=MIN_FILES, max_size=60))
def test_every_side_is_filled_or_the_corpus_is_refused(groups):
    paths = [f"f{number}" for number in range(len(groups))]
    dates, sizes = [group % 5 for group in groups], [1 + number for number in range(len(groups))]
    for make, enough in (
        (lambda: split_by_path(paths, groups), len(set(groups)) >= 3),
        (lambda: split_by_date(dates, sizes, groups), len(set(dates)) >= 3),
    ):
        if enough:
            sides = make()
            assert set(sides.tolist()) == {TRAIN, VALIDATION, TEST}
            assert len(set(zip(groups, sides.tolist(), strict=True))) == len(set(groups))
        else:
            with pytest.raises(HoneError) as refused:
                make()
            assert "\n" not in str(refused.value)


def test_the_shares_are_those_of_a_large_corpus():
    sides = split_by_path([f"path/{number}.py" for number in range(4000)], np.arange(4000))
    assert np.mean(sides == TEST) == pytest.approx(TEST_SHARE, abs=0.02)
    assert np.mean(sides == VALIDATION) == pytest.approx(VALIDATION_SHARE, abs=0.015)


def test_by_date_the_newest_bytes_are_held_out():
    dates = np.arange(200)[::-1] * 86_400
    sizes = np.full(200, 1000)
    sides = split_by_date(dates, sizes, np.arange(200))
    assert (sides == TEST).sum() == 20
    assert (sides == VALIDATION).sum() == 10
    assert dates[sides == TRAIN].max() < dates[sides == VALIDATION].min()
    assert dates[sides == VALIDATION].max() < dates[sides == TEST].min()
    heavy = sizes.copy()
    heavy[0] = 30_000
    assert (split_by_date(dates, heavy, np.arange(200)) == TEST).sum() == 1


def test_by_date_ties_stay_together_and_a_cluster_is_as_old_as_its_newest_file():
    dates = [1] * 50 + [2] * 5 + [3] * 5
    sides = split_by_date(dates, [10] * 60, np.arange(60))
    assert [set(sides[:50]), set(sides[50:55]), set(sides[55:])] == [{TRAIN}, {VALIDATION}, {TEST}]
    clusters = np.arange(60)
    clusters[0] = clusters[59]
    assert split_by_date(dates, [10] * 60, clusters)[0] == TEST
    # The newer copy was dropped: only kept files count.
    kept = np.arange(60) != 59
    assert split_by_date(dates, [10] * 60, clusters, kept)[0] == TRAIN


def test_by_date_a_file_without_a_date_is_refused_in_one_line():
    dates = np.array([1, 2, 3, 4, 5, -1, -1])
    with pytest.raises(HoneError, match=r"^2 of 7 files have no commit date; split by cluster[^\n]*$"):
        split_by_date(dates, np.ones(7), np.arange(7))
    kept = dates > 0
    assert set(split_by_date(dates, np.ones(7), np.arange(7), kept)[kept].tolist()) == {TRAIN, VALIDATION, TEST}


def test_too_small_a_corpus_is_refused():
    for make in (
        lambda: split_by_path(["a", "b"], [0, 1]),
        lambda: split_by_date([1, 2], [1, 1], [0, 1]),
    ):
        with pytest.raises(HoneError, match="only 2 usable source files"):
            make()


def test_a_share_of_zero_holds_nothing_out():
    paths = [f"m{number}.py" for number in range(60)]
    assert set(split_by_path(paths, np.arange(60), None, 0.1, 0).tolist()) == {TRAIN, VALIDATION}
    assert set(split_by_path(paths, np.arange(60), None, 0, 0).tolist()) == {TRAIN}
    dates = np.arange(60)
    assert set(split_by_date(dates, np.ones(60), np.arange(60), None, 0, 0.2).tolist()) == {TRAIN, TEST}
    half = split_by_date(dates, np.ones(60), np.arange(60), None, 0, 0.5)
    assert half.tolist().count(TEST) == 30
