"""Labelled changes as people write them."""

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import review_context
from assistant.errors import HoneError
from evals.tasks.review_data import OTHER
from evals.tasks.review_labelled import bug_class, cases, read

BEFORE = (
    "import os\n\n\ndef first(items):\n    return items[0]\n\n\n"
    + "# far\n" * 30
    + "def last(items):\n    return items[-1]\n"
)
AFTER = BEFORE.replace("items[0]", "items[1]").replace("items[-1]", "items[-2]")
LAST = AFTER.split("\n").index("    return items[-2]") + 1


def diff_of(before: str, after: str, path: str = "pkg/a.py") -> str:
    return "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}", n=3))


def record(**fields: Any) -> dict[str, Any]:
    classes = ["Wrong index", "other_one"]
    values = {"before": BEFORE, "after": AFTER, "bug_lines": [5, LAST], "bug_class": classes} | fields
    return {name: value for name, value in values.items() if value is not None}


def test_before_and_after_give_a_hunk_for_each_place_with_its_bug() -> None:
    one, two = cases(record(path="pkg/a.py"), "r")
    assert (one.id, two.id, one.group, two.diff) == ("r#0", "r#1", "r", "r")
    assert [(bug.line, bug.bug_class) for bug in one.bugs] == [(5, "wrong-index")]
    assert [(bug.line, bug.bug_class) for bug in two.bugs] == [(LAST, "other-one")]
    assert [one.hunk.lines[index].text for index in one.hunk.changed] == ["    return items[0]", "    return items[1]"]
    assert one.hunk.path == "pkg/a.py"


def test_a_diff_alone_shows_what_it_has() -> None:
    one, two = cases(record(before=None, after=None, diff=diff_of(BEFORE, AFTER)), "r")
    assert one.hunk.path == "pkg/a.py"
    assert [(line.marker, line.number, line.text) for line in one.hunk.lines][2:6] == [
        (" ", 4, "def first(items):"),
        ("-", 5, "    return items[0]"),
        ("+", 5, "    return items[1]"),
        (" ", 6, ""),
    ]
    assert [bug.line for bug in two.bugs] == [LAST]


def test_after_with_a_diff_has_the_context_of_the_file() -> None:
    whole = cases(record(path="pkg/a.py"), "r")
    assert cases(record(before=None, diff=diff_of(BEFORE, AFTER)), "r") == whole
    assert cases(record(diff=diff_of(BEFORE, AFTER)), "r") == whole


def test_a_diff_of_several_files_has_its_lines_by_path() -> None:
    diff = diff_of(BEFORE, AFTER, "a.py") + diff_of("x = 1\n", "x = 2\n", "b.py") + diff_of("y = 1\n", "", "c.py")
    made = cases({"diff": diff, "bug_lines": {"b.py": [1]}, "bug_class": {"b.py": "wrong-constant"}}, "r")
    assert [(case.hunk.path, len(case.bugs)) for case in made if case.hunk.path != "c.py"] == [
        ("a.py", 0),
        ("a.py", 0),
        ("b.py", 1),
    ]
    with pytest.raises(HoneError, match="bug_lines must be an object of lines by path"):
        cases({"diff": diff, "bug_lines": [1]}, "r")
    with pytest.raises(HoneError, match=r"bug_lines for d\.py, which it does not change"):
        cases({"diff": diff, "bug_lines": {"d.py": [1]}}, "r")
    assert all(not case.bugs for case in cases({"diff": diff, "bug_lines": []}, "r"))


def test_lines_in_a_row_are_one_bug_and_pairs_are_as_told() -> None:
    after = "".join(f"x = {number}\n" for number in range(9))

    def spans(lines: Any) -> list[tuple[int, int]]:
        (case,) = cases({"before": "", "after": after, "bug_lines": lines}, "r")
        return [(bug.line, bug.last) for bug in case.bugs]

    assert spans([2, 4, 3, 8]) == [(2, 4), (8, 8)]
    assert spans([[2, 3], [4, 4]]) == [(2, 3), (4, 4)]
    assert spans([]) == []


def test_a_removal_is_wrong_at_the_line_that_follows() -> None:
    before = "def f(x):\n    if x is None:\n        return 0\n    return x + 1\n"
    after = "def f(x):\n    return x + 1\n"
    for fields in ({"before": before, "after": after}, {"diff": diff_of(before, after)}):
        (case,) = cases({**fields, "bug_lines": [2]}, "r")
        assert [case.hunk.lines[index].marker for index in case.hunk.changed] == ["-", "-"]
        assert {case.hunk.lines[index].number for index in case.hunk.changed} == {2}
        assert len(case.bugs) == 1


def test_a_large_change_is_asked_about_in_parts_that_lose_nothing() -> None:
    after = "".join(f"value_{number} = {number}\n" for number in range(300))
    for fields in ({"before": "", "after": after}, {"diff": diff_of("", after)}):
        made = cases({**fields, "bug_lines": [1, 150, 300]}, "r")
        changed = [case.hunk.lines[index].number for case in made for index in case.hunk.changed]
        assert changed == list(range(1, 301))
        assert all(len(case.hunk.lines) <= review_context.MAX_LINES and not case.hunk.cut for case in made)
        assert sum(len(case.bugs) for case in made) == 3


LINES = st.lists(st.sampled_from(["a = 1", "b = 2", "    c = 3", "", "def f():"]), max_size=40)


@given(LINES, LINES, LINES)
def test_every_changed_line_is_asked_about_once_however_the_change_is_given(
    old: list[str], above: list[str], below: list[str]
) -> None:
    new = [*above, "only = here", *below]
    before, after = "".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new)
    for fields in ({"before": before, "after": after}, {"diff": diff_of(before, after)}):
        made = cases({**fields, "bug_lines": [len(above) + 1]}, "r")
        lines = [case.hunk.lines[index] for case in made for index in case.hunk.changed]
        asked = [line.number for line in lines if line.marker == "+"]
        assert len(asked) == len(set(asked))
        assert len(above) + 1 in asked
        assert sum(len(case.bugs) for case in made) == 1
        # What is not asked about was there before.
        kept = [line for number, line in enumerate(new, 1) if line.strip() and number not in asked]
        gone = [line.text for line in lines if line.marker == "-"]
        assert sorted([*kept, *gone]) == sorted(line for line in old if line.strip())
        for case in made:
            assert case.hunk.cut == 0
            shown = [line for line in case.hunk.lines if line.marker != "-"]
            assert [line.text for line in shown] == [[*new, ""][line.number - 1] for line in shown]


def test_classes_take_the_form_of_answers() -> None:
    assert bug_class("Off by One!") == "off-by-one"
    assert bug_class(None) == OTHER
    with pytest.raises(HoneError, match="wanted is a short name"):
        bug_class("12")


def test_tests_come_with_the_change() -> None:
    (case,) = cases(
        {"before": "x = 1\n", "after": "x = 2\n", "bug_lines": [1], "tests": "assert x == 1", "entry_point": "f"}, "r"
    )
    assert case.proof is not None
    assert (case.proof.text, case.proof.right, case.proof.entry_point) == ("x = 2\n", "x = 1\n", "f")
    fields = {"after": "x = 2\n", "diff": diff_of("x = 0\n", "x = 2\n"), "tests": "assert x == 1"}
    (fixed,) = cases({**fields, "bug_lines": [1], "fixed": "x = 1\n"}, "r")
    assert fixed.proof is not None
    assert fixed.proof.right == "x = 1\n"
    (clean,) = cases({**fields, "bug_lines": []}, "r")
    assert clean.proof is not None
    assert clean.proof.right == "x = 2\n"
    with pytest.raises(HoneError, match="neither fixed nor before"):
        cases({**fields, "bug_lines": [1]}, "r")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bug_lines": None}, "has no bug_lines"),
        ({"bug_lines": [0]}, "wanted are line numbers from 1"),
        ({"bug_lines": [True]}, "wanted are line numbers from 1"),
        ({"bug_lines": [[3, 2]]}, "wanted are line numbers from 1"),
        ({"bug_lines": 4}, "wanted are line numbers from 1"),
        ({"bug_lines": [20], "bug_class": None}, "not near any changed line"),
        ({"bug_class": ["a"]}, "1 bug classes for 2 bugs"),
        ({"bug_class": [1, 2]}, "wanted is a short name"),
        ({"before": AFTER, "bug_lines": [], "bug_class": []}, "changes no line"),
        ({"after": None}, "has before but not after"),
        ({"before": None}, "neither before nor diff"),
        ({"before": None, "after": None}, "has neither after nor diff"),
        ({"after": 1}, "has no text in after"),
        ({"diff": "nothing"}, "changes no file"),
        ({"diff": "--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n"}, "has a diff that cannot be read"),
        ({"diff": diff_of(AFTER, BEFORE)}, "does not lead to after"),
        ({"lines": [1]}, "unknown column lines"),
        ({"tests": "assert True"}, "has tests, and 2 hunks"),
    ],
)
def test_a_record_of_another_form_is_one_line_that_names_its_place(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n" + json.dumps(record(**fields)) + "\n")
    with pytest.raises(HoneError) as caught:
        read(file)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{file}:2 ")
    assert "\n" not in str(caught.value)


def test_a_file_of_records(tmp_path: Path) -> None:
    file = tmp_path / "labelled.jsonl"
    file.write_text(
        "\ufeff" + json.dumps(record(id="mine")) + "\n\n" + json.dumps(record(bug_lines=[], bug_class=None)) + "\n"
    )
    made = read(file)
    assert [case.id for case in made] == ["mine#0", "mine#1", "labelled:3#0", "labelled:3#1"]
    assert made == read(file)
    file.write_text(json.dumps(record(id="mine")) + "\n" + json.dumps(record(id="mine")))
    with pytest.raises(HoneError, match="the id mine of an earlier line"):
        read(file)
    file.write_text("{\n")
    with pytest.raises(HoneError, match="1 is not JSON"):
        read(file)
    file.write_text("[]\n")
    with pytest.raises(HoneError, match="no JSON object"):
        read(file)
    file.write_text("\n")
    with pytest.raises(HoneError, match="no labelled change"):
        read(file)
    file.write_bytes(b"\xff\n")
    with pytest.raises(HoneError, match="not UTF-8"):
        read(file)
    with pytest.raises(HoneError, match="cannot read"):
        read(tmp_path / "missing.jsonl")
