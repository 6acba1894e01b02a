"""The review task: what is asked, how answers are judged, and the proof by tests."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import review_prompt
from assistant.errors import HoneError
from evals.errors import HarnessError
from evals.evaluation import Options as EvaluationOptions
from evals.evaluation import evaluate
from evals.report.schema import Figure
from evals.sandbox.outcome import Limits, Outcome, Program
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.subjects import connector, remote
from evals.tasks import review_data
from evals.tasks.base import Answer, Item, Verdict
from evals.tasks.review import MAX_TOKENS, ReviewTask, answer_text, of_file, of_problems, of_repository, proven
from evals.tasks.review_proof import noticed, repaired
from tests.evals.fake_openai import serve
from tests.evals.review_cases import RIGHT_SUM, SUM_TESTS, WRONG_SUM, answer, bug, case, hunk, sum_case
from tests.evals.test_heldout import write_manifest
from tests.tuning.code import module
from tuning.examples.mutate import OPERATORS


@dataclass(frozen=True)
class Kept:
    """A sample as the harness keeps it."""

    item: Item
    attempt: int
    verdict: Verdict


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def judged(task: ReviewTask, said: list[Any], sandbox: Sandbox | None = None) -> list[Kept]:
    return [
        Kept(item, 0, task.judge(item, one if isinstance(one, Answer) else answer(one), sandbox))
        for item, one in zip(task.items(), said, strict=True)
    ]


def value(task_case: review_data.Case, said: Any) -> tuple[float, str | None]:
    (kept,) = judged(ReviewTask((task_case,)), [said])
    return kept.verdict.value, kept.verdict.error


def check_references(task: ReviewTask, sandbox: Sandbox | None = None) -> None:
    for item, text, good in task.references():
        assert task.judge(item, answer(text), sandbox).value == float(good), (item.id, text)


def test_the_prompt_is_the_one_of_training() -> None:
    task = ReviewTask((case("a", bug(5)),))
    (item,) = task.items()
    asked = task.ask(item, None)
    assert asked.prompt == review_prompt.findings_prompt(hunk())
    assert asked.messages == ()
    assert not asked.parse_special
    assert asked.max_tokens == MAX_TOKENS
    # No stop string cuts an answer that was taught.
    text = review_prompt.findings_answer([bug(5, fix=["a", "", "b"]), bug(6)])
    assert not any(stop in text for stop in asked.stop)


def test_a_chat_model_is_told_the_form_in_words() -> None:
    task = ReviewTask((case("a", bug(5)),), style="chat")
    asked = task.ask(task.items()[0], None)
    (message,) = asked.messages
    assert asked.prompt is None
    assert message.content.endswith(review_prompt.findings_prompt(hunk()))
    example = message.content.split("Example:\n")[1].split("\n\n")[0]
    (found,) = review_prompt.read_findings(example + "\n") or ()
    assert (found.line, found.bug_class, found.fix) == (12, "off-by-one", ("    for index in range(len(items)):",))


def test_verdicts() -> None:
    wrong, clean = case("a", bug(5), bug(15)), case("b")
    assert value(wrong, [bug(5), bug(16)]) == (1.0, None)
    assert value(wrong, [bug(5)]) == (pytest.approx(2 / 3), "wrong answer")
    assert value(wrong, "ok\n") == (0.0, "wrong answer")
    assert value(clean, "ok\n") == (1.0, None)
    assert value(clean, "ok") == (1.0, None)
    assert value(clean, [bug(5)]) == (0.0, "wrong answer")
    # An answer that cannot be read is no `ok`.
    assert value(clean, "Looks good to me!") == (0.0, "no code")
    assert value(clean, "") == (0.0, "no code")
    assert value(wrong, answer("5 off-by-o", "length")) == (0.0, "truncated")
    assert value(wrong, answer("5 off-by-one: x\n= fix\n15 off-by", "length")) == (pytest.approx(2 / 3), "wrong answer")


def test_a_verdict_says_what_was_wanted_and_keeps_the_findings() -> None:
    (kept,) = judged(ReviewTask((case("a", bug(5)),)), [[bug(9, "wrong-key", fix=["x"])]])
    assert kept.verdict.detail == "want 5 off-by-one, got 9 wrong-key"
    (found,) = kept.verdict.extra["findings"]
    assert (found["line"], found["fix"]) == (9, ["x"])
    assert json.loads(json.dumps(kept.verdict.extra)) == kept.verdict.extra


def test_answers_without_what_stands_around_them() -> None:
    assert answer_text(answer("ok\n\n# another file\nx = 1"), "completion") == "ok\n"
    assert answer_text(answer("5 off-by-one: x\n= y"), "completion") == "5 off-by-one: x\n= y\n"
    assert answer_text(answer("5 off-by-one: x\n= y", "length"), "completion") == "5 off-by-one: x\n= y"
    assert (
        answer_text(answer("Sure:\n```\n5 off-by-one: x\n\n= y\n```\nHope it helps"), "chat")
        == "5 off-by-one: x\n= y\n"
    )
    assert answer_text(answer(" OK.\n"), "chat") == "ok\n"
    assert answer_text(answer("ok"), "chat") == "ok\n"


@settings(max_examples=40)
@given(st.text(max_size=80), st.sampled_from(["stop", "length"]), st.sampled_from(["completion", "chat"]))
def test_any_answer_gets_a_verdict(text: str, finish_reason: str, style: Any) -> None:
    task = ReviewTask((case("a", bug(5)), case("b")), style=style)
    for item in task.items():
        verdict = task.judge(item, answer(text, finish_reason), None)
        assert 0 <= verdict.value <= 1
        assert (verdict.value == 1) == (verdict.error is None)
        assert "\n" not in verdict.detail


def test_figures_come_from_samples_read_back() -> None:
    task = ReviewTask((case("a", bug(5)), case("b"), case("c", bug(5)), case("d")))
    samples = judged(task, [[bug(5)], "ok\n", "what?", [bug(3)]])
    found = task.figures(samples, 0)
    assert next(iter(found)) == "line F1"
    assert isinstance(found["line F1"], Figure)
    assert found["line recall"].value == 0.5
    assert found["parse failures"].value == 0.25
    stored = [Kept(one.item, 0, Verdict(**json.loads(json.dumps(one.verdict.__dict__)))) for one in samples]
    assert task.figures(stored, 0) == found
    made = task.compare(samples, samples, ("one", "two"), 0)
    assert [comparison.figure for comparison in made] == ["line F1", "clean diffs with a false alarm"]
    assert task.calibration(samples) is None
    assert task.details(samples)["bug class"] == {"off-by-one": {"bugs": 2, "found": 1}}


def test_several_answers_give_a_confidence() -> None:
    task = ReviewTask((case("a", bug(5)),), samples_per_item=4, temperature=0.8)
    (item,) = task.items()
    said = [[bug(5)], [bug(5)], [bug(5), bug(15)], []]
    samples = [Kept(item, number, task.judge(item, answer(one), None)) for number, one in enumerate(said)]
    made = task.calibration(samples)
    assert made is not None
    assert [(one.stated, one.observed) for one in made.bins] == [(0.25, 0.0), (0.75, 1.0)]


def test_a_repository_gives_a_task_whose_references_hold(make_repository, tmp_path: Path) -> None:
    repo = make_repository({f"m{number}.py": module(number) for number in range(8)})
    task = of_repository(repo, {}, limit=12)
    assert len(task.items()) == 12
    assert len({item.id for item in task.items()}) == 12
    check_references(task)
    assert not task.needs_sandbox
    assert task.settings is not None
    assert (task.settings["hunks"], task.settings["tolerance_lines"]) == (12, 2)
    manifest = write_manifest(
        tmp_path / "x",
        repo,
        {"m0.py": "train", "m1.py": "test", "m2.py": "test"},
        configuration={"examples": {"review_rate": 0.5, "held_out_operators": ["wrong-variable", "wrong-constant"]}},
    )
    held = of_repository(repo, {"x": manifest}, clean_share=0)
    assert {one.group for one in held.cases} <= {"m1.py", "m2.py"}
    assert any(one.unseen_operator for one in held.cases) or all(one.operator for one in held.cases)
    assert held.settings is not None
    assert held.settings["operators_trained_on"] == sorted(set(OPERATORS) - {"wrong-variable", "wrong-constant"})


def test_labelled_data_gives_a_task_whose_references_hold(tmp_path: Path) -> None:
    file = tmp_path / "labelled.jsonl"
    records = [
        {"before": "a = 1\nb = 1\n", "after": "a = 2\nb = 2\n", "bug_lines": [2], "bug_class": "wrong-constant"},
        {"before": "a = 1\n", "after": "a = 2\n", "bug_lines": []},
        {"before": "a = 1\n", "after": "a = 3\n", "bug_lines": [1]},
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    task = of_file(file)
    check_references(task)
    assert [item.id for item in task.items()] == ["labelled:1", "labelled:2", "labelled:3"]
    assert [one.id for one in of_file(file, limit=2).cases] == ["labelled:1", "labelled:2"]


def test_fixes_are_made_together_and_only_where_there_are_lines() -> None:
    text = "a\nb\nc\nd"
    assert repaired(text, [bug(3, fix=["C", "CC"]), bug(1, fix=["A"])]) == "A\nb\nC\nCC\nd"
    assert repaired(text, [bug(2, last=3, fix=["X"]), bug(3, fix=["Y"])]) == "a\nX\nd"
    assert repaired(text, [bug(2), bug(9, fix=["Z"]), bug(4, last=5, fix=["Z"])]) == text


def test_a_fix_is_right_when_the_failing_test_passes(sandbox: Sandbox) -> None:
    task = ReviewTask((sum_case(), sum_case(), sum_case(), sum_case(), sum_case()), proof=True)
    samples = judged(
        task,
        [
            [bug(4, fix=["        result += number"])],
            # Another way to put it right, at other lines and under another class.
            [bug(2, "wrong-key", last=5, fix=["    return sum(numbers)"])],
            "ok\n",
            [bug(4, fix=["        result *= number"])],
            "no idea",
        ],
        sandbox,
    )
    assert [one.verdict.value for one in samples] == [1, 1, 0, 0, 0]
    assert [one.verdict.error for one in samples] == [None, None, "wrong answer", "wrong answer", "no code"]
    assert samples[1].verdict.extracted == "def total(numbers):\n    return sum(numbers)\n"
    assert task.figures(samples, 0)["bugs fixed, by tests"].value == pytest.approx(2 / 5)
    assert task.compare(samples, samples, ("one", "two"), 0)[0].figure == "bugs fixed, by tests"


def test_a_fix_of_what_is_right_must_not_break_it(sandbox: Sandbox) -> None:
    task = ReviewTask((sum_case(wrong=False),) * 3, proof=True)
    same = [bug(4, fix=["        result = result + number"])]
    samples = judged(task, ["ok\n", same, [bug(4, fix=["        result -= number"])]], sandbox)
    assert [one.verdict.value for one in samples] == [1, 1, 0]
    assert task.figures(samples, 0)["clean changes broken, by tests"].value == pytest.approx(1 / 3)


def test_changes_whose_tests_notice_nothing_are_left_out(sandbox: Sandbox) -> None:
    seeing = sum_case()
    unseeing = review_data.Proof(WRONG_SUM, RIGHT_SUM, "assert True", None)
    blind = case("blind", *seeing.bugs, hunk=seeing.hunk, proof=unseeing)
    kept = noticed([seeing, blind, case("no tests", bug(5)), sum_case(wrong=False)], sandbox)
    assert [one.id for one in kept] == ["sum", "clean sum"]
    check_references(ReviewTask(tuple(kept), proof=True), sandbox)
    broken = case("broken", hunk=sum_case().hunk, proof=review_data.Proof(WRONG_SUM, WRONG_SUM, SUM_TESTS, "total"))
    with pytest.raises(HarnessError, match="the tests of broken fail on code that is right"):
        noticed([broken], sandbox)


def test_seeded_bugs_in_functions_with_tests(sandbox: Sandbox) -> None:
    problems = review_data.humaneval()[:8]
    task = of_problems(sandbox, problems)
    assert (task.name, task.version, task.needs_sandbox) == ("review-fix", "review-fix@1", True)
    assert {bool(one.bugs) for one in task.cases} == {True, False}
    check_references(task, sandbox)
    # The same bugs are noticed each time.
    assert of_problems(sandbox, problems).cases == task.cases
    with pytest.raises(HoneError, match="notice no seeded bug"):
        of_problems(sandbox, [review_data.Problem("p", RIGHT_SUM, "assert True", "total")])


class Recorded:
    """A sandbox that notes the limits of each program, and says that each took `cpu_seconds`."""

    def __init__(self, sandbox: Sandbox, cpu_seconds: float) -> None:
        self._sandbox, self._cpu_seconds = sandbox, cpu_seconds
        self.workers, self.rung = 1, sandbox.rung
        self.limits: list[float] = []

    def run(self, program: Program, limits: Limits) -> Outcome:
        self.limits.append(limits.cpu_seconds)
        return replace(self._sandbox.run(program, limits), cpu_seconds=self._cpu_seconds)


def test_limits_of_fixes_follow_what_right_code_takes_here(sandbox: Sandbox, tmp_path: Path) -> None:
    recorded: Any = Recorded(sandbox, 5.0)
    assert len(noticed([sum_case()], recorded)) == 1
    # The right file has room on any machine; then four times what it took.
    assert recorded.limits == [60.0, 20.0]
    with serve(answer=lambda body: "ok\n") as server:
        report = evaluate(
            lambda opened: nullcontext([proven(ReviewTask((sum_case(), sum_case(wrong=False))), opened)]),
            remote(server.url, None, []),
            connector(1),
            lambda: nullcontext(recorded),
            EvaluationOptions(show=False, out=tmp_path),
        )
    (task,) = report.tasks
    assert task.settings["limits"]["cpu_seconds"] == 20.0
    assert recorded.limits[-1] == 20.0
    assert task.models[0].figures["bugs fixed, by tests"].value == 0.0


def test_no_more_problems_are_looked_at_than_the_limit_takes(sandbox: Sandbox) -> None:
    recorded: Any = Recorded(sandbox, 0.1)
    task = of_problems(recorded, limit=2)
    assert len(task.cases) == 2
    # Not two or three programs for each of the 164.
    assert len(recorded.limits) < 30


def test_labelled_changes_can_be_proven_where_a_fix_is_known(sandbox: Sandbox) -> None:
    task = proven(ReviewTask((sum_case(), case("no tests"))), sandbox)
    assert [one.id for one in task.cases] == ["sum"]
    check_references(task, sandbox)
    with pytest.raises(HoneError, match="no change of this data has tests"):
        proven(ReviewTask((case("no tests"),)), sandbox)


def test_without_a_sandbox_nothing_is_judged_by_tests() -> None:
    task = ReviewTask((sum_case(),), proof=True)
    with pytest.raises(HarnessError, match="needs a sandbox"):
        judged(task, ["ok\n"])
