import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.metrics import edit_similarity, exact_match, identifier_f1, identifiers, levenshtein, percentile

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


def test_blanks_at_line_ends_do_not_count() -> None:
    assert exact_match("a = 1  \nb = 2\n\n", "a = 1\nb = 2")
    assert edit_similarity("a = 1  \nb = 2", "a = 1\nb = 2") == 1.0
    assert not exact_match("a = 1\n b = 2", "a = 1\nb = 2")


@pytest.mark.parametrize(
    ("path", "code", "names"),
    [
        ("a.py", "total = compute(rows, key='price')  # the price", {"total", "compute", "rows", "key"}),
        ("a.py", "else:", set()),
        ("a.py", "elif not done and", {"done"}),
        ("a.py", "except ValueError as error:", {"ValueError", "error"}),
        ("a.py", "return self.width *", {"self", "width"}),
        ("a.ts", "const size: Size = box.width", {"size", "Size", "box", "width"}),
        ("a.go", "total := compute(rows)", {"total", "compute", "rows"}),
        ("a.rs", "let mut x = Box::new(y);", {"x", "Box", "new", "y"}),
        ("a.java", "int size = box.width();", {"size", "box", "width"}),
        ("a.c", "size_t n = strlen(text);", {"n", "strlen", "text"}),
        ("a.rb", "puts total", {"puts", "total"}),
        ("a.unknown", "one two", {"one", "two"}),
    ],
)
def test_identifiers_are_names_and_neither_keywords_nor_text(path: str, code: str, names: set[str]) -> None:
    assert identifiers(code, path) == names


def test_identifier_f1_is_the_harmonic_mean_over_distinct_names() -> None:
    expected = frozenset({"a", "b", "c"})
    assert identifier_f1(frozenset({"a", "b"}), expected) == pytest.approx(2 * 1.0 * (2 / 3) / (1.0 + 2 / 3))
    assert identifier_f1(frozenset(), expected) == 0.0
    assert identifier_f1(expected, expected) == 1.0
    assert identifier_f1(frozenset({"a"}), frozenset()) is None


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
