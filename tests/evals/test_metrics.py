import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.metrics import edit_similarity, exact_match, levenshtein, percentile

SHORT = st.text("ab c", max_size=7)


def slow_levenshtein(left: str, right: str) -> int:
    """The definition, by recursion."""
    if not left or not right:
        return len(left) + len(right)
    same = slow_levenshtein(left[1:], right[1:]) + (left[0] != right[0])
    return min(same, slow_levenshtein(left[1:], right) + 1, slow_levenshtein(left, right[1:]) + 1)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_levenshtein_agrees_with_its_definition(left: str, right: str) -> None:
    assert levenshtein(left, right) == slow_levenshtein(left, right)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_levenshtein_is_a_distance(a: str, b: str, c: str) -> None:
    assert levenshtein(a, b) == levenshtein(b, a)
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)


def test_edit_similarity_of_known_pairs() -> None:
    assert edit_similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert edit_similarity("return x  ", "return x") == 1.0
    assert edit_similarity("", "return x") == 0.0
    assert edit_similarity("", "") == 1.0


@given(SHORT, SHORT)
def test_edit_similarity_is_one_for_matches_only(answer: str, expected: str) -> None:
    similarity = edit_similarity(answer, expected)
    assert 0.0 <= similarity <= 1.0
    assert (similarity == 1.0) == exact_match(answer, expected)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_percentile_has_its_share_at_or_below_it(values: list[float], share: float) -> None:
    share = round(share, 4)
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)
