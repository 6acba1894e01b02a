"""The parts of `benchmarks.learn`: a taste that is one, words that the first round never names, and what is kept."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import learn
from benchmarks.learn_user import NOUNS, OLD_GUARD, THINGS, Task, tasks


class KilledError(BaseException):
    pass


def test_the_user_writes_what_it_likes_and_dislikes_the_old_style():
    for task in tasks(60, 3):
        assert task.likes(task.reference), task
        assert task.could_edit(task.reference)
        other = 'print("%s has %d" % (name, 3))' if task.kind == "text" else "total = 0\n    return total"
        assert not task.likes(other), task
        assert task.could_edit(other)
        assert not task.likes("(((")
        assert not task.could_edit("(((")


def test_a_guard_for_none_is_no_guard_for_what_is_empty():
    guard = next(task for task in tasks(2, 0) if task.kind == "guard")
    items = re.findall(r"\((\w+)\):\n", guard.before)[-1]
    assert guard.likes(f"if not {items}:\n        return 0")
    assert guard.likes(f"if len({items}) == 0:")
    assert not guard.likes(f"if {items} is None:\n        return 0")


def test_the_places_of_the_test_name_nothing_of_the_first_round():
    first, other = list(tasks(300, 0)), list(tasks(200, 0, held_out=True))

    def named(places: Sequence[Task]) -> set[str]:
        # The old style has words of its own.
        texts = " ".join(f"{task.path} {task.before.replace(OLD_GUARD, '')} {task.reference}" for task in places)
        return {word for word in (*NOUNS, *THINGS) if re.search(rf"(?<![a-z]){word}", texts)}

    assert named(first).isdisjoint(named(other))
    assert {task.before for task in first}.isdisjoint(task.before for task in other)
    assert list(tasks(300, 0)) == first
    assert list(tasks(300, 1)) != first
    assert len({task.path for task in first}) == 300


def test_what_was_found_is_kept_in_parts_and_not_asked_again(tmp_path: Path):
    places, file, asked = list(tasks(50, 0)), tmp_path / "found.json", []

    def ask(first: int, part: Sequence[Task]) -> list[int]:
        asked.append(first)
        if asked == [0, 20]:
            raise KilledError
        assert part == places[first : first + learn.PART]
        return list(range(first, first + len(part)))

    with pytest.raises(KilledError):
        learn.in_parts(file, places, ask, "places")
    assert json.loads(file.read_text()) == list(range(20))
    assert learn.in_parts(file, places, ask, "places") == list(range(50))
    assert asked == [0, 20, 20, 40]
    assert learn.in_parts(file, places, pytest.fail, "places") == list(range(50))


TUNED = {
    "feedback": {"completions": 9, "preferences": {"rows": 24, "method": "kto"}, "ids": ["a"]},
    "figures": {"seconds": 90.0, "steps": 7},
}


def test_figures_are_of_what_was_shown_and_of_the_forgetting_too():
    before, after = [True, False, None, False, None], [True, True, True, False, None]
    found = learn.figures_of(Counter(accepted=3, rejected=2), before, after, [0.5, 0.505], TUNED, 0.02)
    assert (found["interactions"], found["places"], found["shown"]) == (5, 5, [3, 4])
    assert found["acceptance"] == [1 / 3, 3 / 4]
    assert found["relative_rise"] == pytest.approx(1.25)
    assert (found["gained"], found["lost"]) == (2, 0)
    assert found["rises_enough"]
    assert found["within_budget"]
    assert "ids" not in found["feedback"]
    told = learn.text_of(found)
    assert "33.3% -> 75.0% (+125%; 2 places gained, 0 lost" in told
    assert "9 completions, 24 rows by KTO" in told
    assert "NO" not in told
    worse = learn.figures_of(Counter(), before, before, [0.5, 0.52], TUNED, 0.02)
    assert not worse["rises_enough"]
    assert not worse["within_budget"]
    assert learn.text_of(worse).count("NO") == 2
