"""One-to-one matching against every assignment there is."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from assistant.review_prompt import Finding
from evals.tasks.review_match import assign, distance, match
from tests.evals.review_cases import bug

CLASSES = st.sampled_from(["off-by-one", "wrong-index"])
FINDINGS = st.lists(
    st.builds(lambda line, size, name: bug(line, name, line + size), st.integers(1, 9), st.integers(0, 3), CLASSES),
    max_size=4,
)


@given(st.integers(0, 4), st.integers(0, 5), st.data())
def test_the_assignment_costs_least(rows: int, columns: int, data: st.DataObject) -> None:
    row = st.lists(st.integers(-30, 30), min_size=columns, max_size=columns)
    costs = data.draw(st.lists(row, min_size=rows, max_size=rows))
    found = assign(costs)
    taken = [column for column in found if column is not None]
    assert len(taken) == len(set(taken)) == min(rows, columns)
    if rows <= columns:
        ways = (zip(range(rows), way, strict=True) for way in itertools.permutations(range(columns), rows))
    else:
        ways = (zip(way, range(columns), strict=True) for way in itertools.permutations(range(rows), columns))
    best = min(sum(costs[one][two] for one, two in way) for way in ways)
    assert sum(costs[one][two] for one, two in enumerate(found) if two is not None) == best


def assignments(findings: list[Finding], bugs: list[Finding]):
    """Every one-to-one assignment, those that leave something out too."""
    for chosen in itertools.product([None, *range(len(bugs))], repeat=len(findings)):
        taken = [one for one in chosen if one is not None]
        if len(taken) == len(set(taken)):
            yield [(index, one) for index, one in enumerate(chosen) if one is not None]


@given(FINDINGS, FINDINGS, st.integers(0, 3), st.booleans())
def test_a_matching_has_most_pairs_then_most_classes_then_least_distance(
    findings: list[Finding], bugs: list[Finding], tolerance: int, same_class: bool
) -> None:
    def allowed(finding: Finding, other: Finding) -> bool:
        near = other.line - tolerance <= finding.line <= other.last + tolerance
        return near and (not same_class or finding.bug_class == other.bug_class)

    def worth(pairs: list[tuple[int, int]]) -> tuple[int, int, int]:
        return (
            len(pairs),
            sum(findings[one].bug_class == bugs[two].bug_class for one, two in pairs),
            -sum(distance(findings[one], bugs[two]) for one, two in pairs),
        )

    found = match(findings, bugs, tolerance, same_class)
    possible = [
        pairs for pairs in assignments(findings, bugs) if all(allowed(findings[one], bugs[two]) for one, two in pairs)
    ]
    assert all(allowed(findings[one], bugs[two]) for one, two in found.pairs)
    assert worth(list(found.pairs)) == max(map(worth, possible))
    sorts = [one for one, _ in found.pairs] + list(found.duplicates) + list(found.false_alarms)
    assert sorted(sorts) == list(range(len(findings)))
    assert sorted([two for _, two in found.pairs] + list(found.missed)) == list(range(len(bugs)))


@given(FINDINGS, FINDINGS, st.integers(0, 3), st.randoms())
def test_the_order_of_findings_changes_no_count(findings, bugs, tolerance, random) -> None:
    mixed = list(findings)
    random.shuffle(mixed)

    def sizes(found):
        return [len(part) for part in (found.pairs, found.duplicates, found.false_alarms, found.missed)]

    assert sizes(match(findings, bugs, tolerance)) == sizes(match(mixed, bugs, tolerance))


def test_first_come_would_lose_a_bug() -> None:
    # The first finding is nearest to the second bug, and the only one near the first.
    found = match([bug(4), bug(6)], [bug(2), bug(5)], tolerance=2)
    assert found.pairs == ((0, 0), (1, 1))


def test_one_finding_satisfies_one_bug_and_a_wide_one_no_more() -> None:
    assert match([bug(1, last=90)], [bug(1), bug(40), bug(80)], tolerance=2).missed == (1, 2)
    assert match([bug(1, last=90)], [bug(40)], tolerance=2).false_alarms == (0,)


def test_duplicates_are_neither_hits_nor_false_alarms() -> None:
    found = match([bug(5), bug(5), bug(6, "wrong-index"), bug(15), bug(15), bug(15, "wrong-index")], [bug(5)], 2)
    assert found.pairs == ((0, 0),)
    assert found.duplicates == (1, 2, 4)
    assert found.false_alarms == (3, 5)


def test_a_wrong_class_is_a_false_alarm_where_classes_count() -> None:
    found = match([bug(5, "wrong-index")], [bug(5)], 2, same_class=True)
    assert (found.pairs, found.false_alarms, found.missed) == ((), (0,), (0,))
    chosen = match([bug(5, "wrong-index"), bug(6)], [bug(5)], 2)
    assert chosen.pairs == ((1, 0),)
