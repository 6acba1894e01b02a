"""Measures of one completion against the code that was really there."""

from collections.abc import Sequence


def levenshtein(left: str, right: str) -> int:
    """The fewest single-character insertions, deletions and substitutions that turn one text into the other."""
    if len(left) < len(right):
        left, right = right, left
    previous = list(range(len(right) + 1))
    for row, character in enumerate(left, 1):
        current = [row]
        for column, other in enumerate(right, 1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (character != other)))
        previous = current
    return previous[-1]


def edit_similarity(answer: str, expected: str) -> float:
    """1 - levenshtein / length of the longer one, in [0, 1]; trailing blanks do not count, two empty texts give 1."""
    answer, expected = answer.rstrip(), expected.rstrip()
    longest = max(len(answer), len(expected))
    return 1.0 - levenshtein(answer, expected) / longest if longest else 1.0


def exact_match(answer: str, expected: str) -> bool:
    """Equal but for trailing blanks."""
    return answer.rstrip() == expected.rstrip()


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with at least `share` (0 to 1) of the values at or below it.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 10_000) // 10_000)
    return ordered[max(rank, 1) - 1]
