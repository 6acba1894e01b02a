"""Changes with several seeded bugs at once."""

import ast
import random
from collections import Counter

import pytest

from assistant.review_rewriting import rewriting
from tests.tuning.test_mutate import library
from tuning.examples.mutate import OPERATORS
from tuning.examples.review import Review, written
from tuning.examples.several import MOST_BUGS, reviews


def many(count: int, seed: int = 1) -> list[tuple[str, Review]]:
    generator = random.Random(seed)
    found: list[tuple[str, Review]] = []
    for path in library():
        text = path.read_text("utf-8", "replace")
        found += ((text, one) for one in reviews(path.name, text, "python", generator, most=4, most_lines=40))
        if len(found) >= count:
            break
    return found[:count]


def test_wrong_lines_are_put_right_by_their_fixes():
    counts: Counter[int] = Counter()
    for text, review in many(80):
        good = text.split("\n")
        counts[len(review.wrong)] += 1
        assert len(review.findings) == len(review.wrong) <= MOST_BUGS
        assert set(review.wrong) <= set(review.place)
        for index, finding in zip(review.wrong, review.findings, strict=True):
            line = review.hunk.lines[index]
            assert (line.marker, line.number) == ("+", finding.line)
            assert finding.fix == (good[line.number - 1],)
            assert line.text != good[line.number - 1]
        # All other lines are as they were, so what is taught is the file itself.
        shown = {line.number: line.text for line in review.hunk.lines if line.marker != "-"}
        wrong = {finding.line for finding in review.findings}
        assert all(text == good[number - 1] for number, text in shown.items() if number not in wrong)
        made = written(review, "rewriting")
        learnt = [made.text[start:end].rstrip("\n")[1:] for start, end in made.supervised]
        assert learnt == [good[review.hunk.lines[index].number - 1].rstrip() for index in rewriting(review.hunk).asked]
    # Some have none, many several.
    assert counts[0] > 5
    assert sum(number for bugs, number in counts.items() if bugs > 1) > 20


def test_of_the_places_for_a_bug_half_are_wrong():
    found = many(150)
    wrong, places = (sum(len(getattr(one, name)) for _, one in found) for name in ("wrong", "place"))
    assert wrong / places == pytest.approx(0.5, abs=0.12)


def test_a_function_is_shown_again_when_all_were():
    text = "def f(a, b):\n    if a > b:\n        return g(a, b)\n    return a[0] + b\n"
    found = list(reviews("a.py", text, "python", random.Random(1), most=9))
    assert len(found) == 2
    assert found[0] != found[1]
    assert list(reviews("a.py", text, "python", random.Random(1), most=1)) == found[:1]


def test_an_edit_shows_the_other_line():
    edits = [review for _, review in many(80) if review.kind == "edit"]
    assert edits
    for review in edits:
        assert any(line.marker == "-" for line in review.hunk.lines)
        assert any(line.marker == "+" for line in review.hunk.lines)


def test_equal_states_give_equal_changes_and_only_the_operators_that_are_asked_for():
    assert many(10, seed=5) == many(10, seed=5)
    text = max((path.read_text("utf-8") for path in library()), key=len)
    only = [name for name in OPERATORS if name != "negated-condition"]
    with pytest.raises(ValueError, match="no bug operator"):
        list(reviews("a.py", text, "python", random.Random(0), ["nothing"]))
    for review in reviews("a.py", text, "python", random.Random(0), only, most=30):
        for index, finding in zip(review.wrong, review.findings, strict=True):
            added = " not " in review.hunk.lines[index].text and " not " not in finding.fix[0]
            assert not (added and "must be no `not`" in finding.reason)
    assert list(reviews("a.py", "x = (", "python", random.Random(0))) == []
    assert ast.parse(text)
