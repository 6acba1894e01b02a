"""The model's evidence: which lines it is asked about, what it says at its threshold, and what it writes of them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError
from assistant.models.registry import AdapterVersion, Registry
from assistant.review_calibration import RAW, LineCalibration, Sigmoid
from assistant.review_context import build
from assistant.review_rewriting import rewriting
from assistant.skills.review import explain, model
from assistant.skills.review.changes import FileChange
from assistant.skills.review.request import CancelledError
from assistant.skills.review.verdicts import Reviewer, line_probabilities, read_reviewer
from tests.assistant.review_helpers import Delta, FakeClient, change, model_of

REVIEWER = {
    "schema_version": 3,
    "formulation": "rewriting",
    "threshold": 0.4,
    "precision": 0.8,
    "usual": 0.5,
    "per_log_length": 0.0,
    "added": {"slope": 2.0, "intercept": 0.0},
    "replaced": {"slope": 4.0, "intercept": 1.0},
    "validation": {"hunks": 100},
}
CODE = "def area(w, h):\n    total = w + h\n    return total\n"
HUNK = build("x.py", CODE.split("\n")[:-1], {1, 2, 3}, {})


def quiet(what: str, done: int, total: int) -> None:
    pass


def ask(client: FakeClient, *changes: FileChange, threshold: float = 0.5, context: int = 4096) -> model.Verdicts:
    made = model_of(client, threshold)
    return model.ask(client, made, changes, context, None, quiet, lambda: False)


def test_what_a_reviewer_says_of_itself(tmp_path: Path):
    assert read_reviewer(tmp_path) is None
    (tmp_path / "reviewer.json").write_text(json.dumps(REVIEWER))
    found = read_reviewer(tmp_path)
    calibration = LineCalibration(0.5, 0.0, Sigmoid(2.0, 0.0), Sigmoid(4.0, 1.0))
    assert found == Reviewer(0.4, 0.8, calibration, {"hunks": 100})


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema_version": 1},
        {"formulation": "verdicts"},
        {"threshold": 1.5},
        {"threshold": None},
        {"precision": True},
        {"usual": None},
        {"per_log_length": float("inf")},
        {"added": {"slope": -0.1, "intercept": 0.0}},
        {"replaced": {"slope": 1.0, "intercept": float("nan")}},
        {"added": {"slope": 1.0}},
        {"replaced": 1.0},
        {"validation": []},
        {"extra": 1},
    ],
)
def test_a_damaged_reviewer_is_refused(tmp_path: Path, wrong: dict[str, Any]):
    (tmp_path / "reviewer.json").write_text(json.dumps({**REVIEWER, **wrong}))
    with pytest.raises(HoneError, match=r"reviewer\.json"):
        read_reviewer(tmp_path)
    (tmp_path / "reviewer.json").write_text("{")
    with pytest.raises(HoneError, match="not valid JSON"):
        read_reviewer(tmp_path)


def test_a_reviewer_of_another_version_says_what_to_do(tmp_path: Path):
    older = {name: value for name, value in REVIEWER.items() if name not in ("usual", "added", "replaced")}
    (tmp_path / "reviewer.json").write_text(json.dumps({**older, "schema_version": 2, "slope": 1.0}))
    with pytest.raises(HoneError, match=r"of another version of Hone \(schema_version 2.*: tune the reviewer again"):
        read_reviewer(tmp_path)


def test_the_texts_that_are_asked_are_the_ones_that_training_shows():
    client = FakeClient(wrong=lambda line: 0.9 if "total = w" in line else 0.1)
    found = line_probabilities(client, HUNK, Reviewer(0.5, 0.8, RAW), "judge@0123456789ab")
    assert "".join(client.asked[0]) == rewriting(HUNK).text
    assert [one.index for one in found] == list(HUNK.changed)
    assert [round(one.probability, 6) for one in found] == [0.1, 0.9, 0.1]
    assert found[1].logit == pytest.approx(math.log(9 * 3))
    # The only line of a change is more suspect than one of three that is as unlikely.
    alone = build("x.py", CODE.split("\n")[:-1], {2}, {})
    client.likelihoods = lambda *_: [[-math.log1p(27)]]  # type: ignore[method-assign]
    (only,) = line_probabilities(client, alone, Reviewer(0.5, 0.8, RAW), "judge@0123456789ab")
    assert only.probability == pytest.approx(27 / 28)


def test_lines_over_the_threshold_are_seen():
    client = FakeClient(wrong=lambda line: 0.7 if "w + h" in line else 0.2)
    found = ask(client, change(CODE))
    (seen,) = found.seen
    assert (seen.observation.first, seen.observation.severity) == (2, "warning")
    assert seen.observation.evidence.confidence == pytest.approx(0.7)
    assert seen.observation.evidence.details["model"] == "judge@0123456789ab"
    assert (found.hunks, found.unread) == (1, 0)
    assert ask(client, change(CODE), threshold=0.71).seen == ()


def test_what_is_less_likely_than_not_is_not_called_probable():
    (seen,) = ask(FakeClient(wrong=lambda line: 0.4 if "w + h" in line else 0.1), change(CODE), threshold=0.3).seen
    assert seen.observation.evidence.message == "this line may be wrong"


def test_one_question_a_hunk_and_only_changed_lines():
    text = "".join(f"x{number} = {number}\n" for number in range(100))
    client = FakeClient()
    found = ask(client, change(text, added=[3, 5, 60]))
    assert found.hunks == len(client.asked) == 2
    assert [len(texts) for texts in client.asked] == [2, 1]


def test_a_removal_is_asked_about_too():
    client = FakeClient(wrong=lambda line: 0.9 if line == "use(a)" else 0.1)
    made = FileChange("x.py", b"a = 1\nuse(a)\n", frozenset(), {2: ("", "check(a)", "", "check(b)")})
    (seen,) = ask(client, made).seen
    # By the line below, which is asked about once.
    assert client.asked[0][-1].endswith("2 use(a)\n")
    assert len(client.asked[0]) == 1
    assert (seen.observation.first, seen.observation.evidence.message) == (
        2,
        "the removal of a line here is probably wrong",
    )


def test_a_removal_with_nothing_below_has_no_line_to_be_judged_by():
    client = FakeClient(wrong=lambda line: 0.9)
    assert ask(client, FileChange("x.py", b"a = 1\n", frozenset(), {2: ("check(a)",)})).seen == ()
    # What replaces a line is judged in its place.
    (seen,) = ask(client, FileChange("x.py", b"a = 1\n", frozenset({1}), {1: ("a = 2",)})).seen
    assert seen.observation.evidence.message == "this line is probably wrong"


def test_a_long_change_is_divided_until_it_fits():
    text = "".join(f"value_{number} = compute({number}, {number})\n" for number in range(50))
    client = FakeClient()
    found = ask(client, change(text), context=416)
    judged = sum(map(len, client.asked))
    assert judged == 50
    assert found.unread == 0
    assert found.hunks > 3
    assert all(client.tokens("".join(texts)) <= 400 for texts in client.asked)


def test_what_fits_in_no_context_is_said():
    client = FakeClient()
    found = ask(client, change(f"x = '{'y' * 4000}'\n"), context=116)
    assert (found.hunks, found.unread) == (0, 1)


def test_asking_can_be_cancelled():
    client = FakeClient()
    with pytest.raises(CancelledError):
        model.ask(client, model_of(client), [change(CODE)], 4096, None, quiet, lambda: True)


def answer(**rest: Any) -> dict[str, Any]:
    return {"reason": "adds instead of multiplying", "class": "wrong-operator", "fix": ["total = w * h"], **rest}


AUTHOR = explain.Author("base", True)


def test_an_explanation_is_demanded_as_json_of_a_schema():
    client = FakeClient(answers=[answer()])
    told = explain.explain(client, AUTHOR, HUNK, 1, 1)
    assert told == explain.Explanation("wrong-operator", "adds instead of multiplying", ("total = w * h",), 1, 1)
    (asked,) = client.written
    assert (asked["model"], asked["temperature"], asked["chat"]) == ("base", 0.0, True)
    assert "verdict" not in asked["schema"]["properties"]
    assert asked["schema"]["required"] == ["reason", "class", "fix"]
    assert "Line 2 of this change, `total = w + h`" in asked["prompt"]
    (edit,) = explain.suggestion(HUNK, 1, told).edits  # type: ignore[union-attr]
    assert (edit.first, edit.last, edit.text) == (2, 2, "    total = w * h")


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("Line 2 of this change,", ""),
        ("Line 2 of this change, `total = w + h` is probably a mistake.", ""),
        ("total = w + h", ""),
        ("It is a mistake: an area is a product", "It is a mistake: an area is a product"),
    ],
)
def test_a_reason_that_repeats_the_question_is_none(reason: str, kept: str):
    told = explain.explain(FakeClient(answers=[answer(reason=reason)]), AUTHOR, HUNK, 1, 1)
    assert told is not None
    assert told.reason == kept


def test_a_model_without_a_chat_template_is_asked_too():
    client = FakeClient(answers=[answer()], chats=False)
    assert explain.explain(client, explain.Author("base", False), HUNK, 1, 1) is not None
    assert client.written[0]["chat"] is False


@pytest.mark.parametrize(
    "text",
    ["", '{"reason": "cut o', "[]", json.dumps(answer(**{"class": "unheard-of"})), json.dumps(answer(fix=["a\nb"]))],
)
def test_an_answer_that_breaks_off_is_none(text: str):
    assert explain.explain(FakeClient(answers=[text]), AUTHOR, HUNK, 1, 1) is None


def test_several_samples_vote():
    wrong, other = answer(verdict="wrong"), answer(verdict="wrong", reason="else", **{"class": "off-by-one"})
    client = FakeClient(answers=[other, wrong, wrong, answer(verdict="fine"), "{"])
    told = explain.explain(client, AUTHOR, HUNK, 1, 5)
    assert told is not None
    assert (told.bug_class, told.wrong, told.samples) == ("wrong-operator", 3, 4)
    assert [one["seed"] for one in client.written] == [1, 2, 3, 4, 5]
    assert {one["temperature"] for one in client.written} == {0.7}
    assert "verdict" in client.written[0]["schema"]["required"]
    fine = explain.explain(FakeClient(answers=[answer(verdict="fine")]), AUTHOR, HUNK, 1, 2)
    assert fine is not None
    assert fine.wrong == 0


@pytest.mark.parametrize(
    ("written", "fix"),
    [
        (["     total", " = w * h"], "    total = w * h"),
        # Its indentation may be what is wrong.
        (["         total = w + h  "], "        total = w + h"),
        (["     total = w + h"], None),
        ([" "], None),
        ([], None),
    ],
)
def test_what_the_reviewer_would_write_is_a_fix(written: list[str], fix: str | None):
    client = FakeClient(rewrites=[*map(Delta, written), Delta("", "stop")])
    found = explain.rewritten(client, "judge@0123456789ab", HUNK, 1)
    assert (found.edits[0].text if found else None) == fix
    assert rewriting(HUNK).text.startswith(client.rewritten[0] + "     total = w + h\n")
    cut = FakeClient(rewrites=[*map(Delta, written), Delta("", "length")])
    assert explain.rewritten(cut, "judge@0123456789ab", HUNK, 1) is None


def test_no_fix_for_a_removed_line_and_none_for_blanks():
    gone = build("x.py", ["a = 1"], set(), {2: ["check(a)"]})
    index = gone.changed[0]
    assert explain.suggestion(gone, index, explain.Explanation("other", "", ("x",), 1, 1)) is None
    assert explain.rewritten(FakeClient(), "judge@0123456789ab", gone, index) is None
    assert explain.suggestion(HUNK, 1, explain.Explanation("other", "", ("",), 1, 1)) is None


def register(home: Path, name: str, reviewer: bool, created: str, base: str = "smollm2-135m") -> AdapterVersion:
    folder = home / "adapters" / name
    folder.mkdir(parents=True)
    if reviewer:
        (folder / "reviewer.json").write_text(json.dumps(REVIEWER))
    version = AdapterVersion(name, (name.encode().hex() * 64)[:64], base, "b" * 64, folder, created)
    Registry().register(version)
    return version


def test_the_reviewer_is_found_by_itself(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found, note = model.find()
    assert found is None
    assert note is not None
    assert "hone tune --task review" in note
    register(hone_home, "coder", False, "2026-01-03T00:00:00+00:00")
    first = register(hone_home, "first", True, "2026-01-01T00:00:00+00:00")
    second = register(hone_home, "second", True, "2026-01-02T00:00:00+00:00")
    register(hone_home, "foreign", True, "2026-01-04T00:00:00+00:00", "other-base")
    found, note = model.find()
    assert found is not None
    assert (found.name, found.reviewer.threshold, note) == (second.id, 0.4, None)
    Registry().promote(first.id, "reviewer")
    assert model.find()[0].name == first.id  # type: ignore[union-attr]
    assert model.find("second")[0].name == second.id  # type: ignore[union-attr]
    monkeypatch.setenv("HONE_MODEL", "coder")
    assert model.find()[0].name == first.id  # type: ignore[union-attr]
    found, note = model.find("coder")
    assert found is None
    assert note is not None
    assert "coder@" in note
    with pytest.raises(HoneError, match="no model is called"):
        model.find("no-such-model")
