"""How a live adapter fares in use, next to its evidence and its earlier days."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assistant.answer_counts import AnswerCounts, measured
from assistant.errors import UnknownModel
from assistant.feedback import Feedback
from assistant.models.registry import AdapterVersion, Registry
from evals.health import Health, health
from tests.tui.test_models_command import hone, refused, report

NOW = datetime.now(UTC)
PASS = {
    "outcome": "pass",
    "against": "tiny-base",
    "tasks": [{"task": "repo", "figure": "em", "difference": {"value": 0.05}}],
}


class Use:
    """Answers and feedback of a version, so many days ago."""

    def __init__(self, home: Path) -> None:
        self.feedback = home / "feedback.jsonl"
        self.counts = AnswerCounts(home / "answers.sqlite")
        self._number = 0

    def add(self, version: str, ago: int, shown: int, taken: int, refusals: int = 0, seconds: float = 1.0) -> None:
        time = NOW - timedelta(days=ago)
        lines = []
        for number in range(shown):
            self._number += 1
            for kind in ("shown", "accepted") if number < taken else ("shown",):
                event = {"schema_version": 1, "id": f"c{self._number}", "time": time.isoformat(), "kind": kind}
                empty = dict.fromkeys(("language", "prompt_sha256", "prompt", "completion", "survival", "seconds"))
                lines.append(
                    event | empty | {"source": "complete", "model": version, "adapter": version, "withheld": False}
                )
        with self.feedback.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        counted: Counter[Any] = Counter()
        for number in range(shown):
            text = "I cannot." if number < refusals else "yes"
            counted += measured(version, "chat", [text], seconds, 10, 0)
        day = time.date().isoformat()
        self.counts.add(Counter({(day, *key[1:]): count for key, count in counted.items()}))


@pytest.fixture
def use(hone_home: Path) -> Use:
    return Use(hone_home)


def version(name: str, digest: str) -> AdapterVersion:
    made = AdapterVersion(name, digest * 64, "tiny-base", "b" * 64, Path("/nowhere"), "2026-01-01T00:00:00+00:00")
    Registry().register(made)
    return made


def promoted(name: str, digest: str, ago: int, monkeypatch: pytest.MonkeyPatch, **evidence: Any) -> AdapterVersion:
    """A version that was promoted so many days ago; evidence None is none."""
    made = version(name, digest)
    when = NOW - timedelta(days=ago)

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return when

    with monkeypatch.context() as patch:
        patch.setattr("assistant.models.registry.datetime", Then)
        decision = {**PASS, "candidate": made.id, **evidence}
        data = {} if evidence.get("report", True) is None else {"report": decision}
        Registry().promote(made.id, evidence=data)
    return made


def look(use: Use, days: int = 7) -> Health:
    return health("champion", days, Registry(), use.counts, Feedback(use.feedback))


def test_nothing_got_worse(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    old = promoted("mine", "1", 40, monkeypatch)
    live = promoted("mine", "2", 20, monkeypatch)
    use.add(old.id, 22, shown=100, taken=30)
    use.add(live.id, 18, shown=100, taken=40)
    use.add(live.id, 1, shown=100, taken=42)
    found = look(use)
    assert (found.verdict, found.version) == ("healthy", live.id)
    assert found.evidence is not None
    assert (found.evidence.for_this_version, found.evidence.differences) == (True, {"repo em": 0.05})
    assert (found.now.acceptance, [each.acceptance for each in found.before]) == (0.42, [0.4, 0.3])
    assert [each.version for each in found.before] == [live.id, old.id]
    assert {check.finding for check in found.checks} == {"ok"}


@pytest.mark.parametrize(("now", "worse"), [({"taken": 15}, "acceptance"), ({"taken": 40, "refusals": 30}, "refused")])
def test_what_got_worse_says_to_tune_again(
    use: Use, monkeypatch: pytest.MonkeyPatch, now: dict[str, int], worse: str
) -> None:
    live = promoted("mine", "2", 20, monkeypatch)
    use.add(live.id, 18, shown=100, taken=40)
    use.add(live.id, 1, shown=100, **now)
    found = look(use)
    assert found.verdict == "tune again"
    assert f"worse than before: {worse}" in found.advice
    assert "hone tune PATH --name mine" in found.advice
    (check,) = [check for check in found.checks if check.finding == "worse"]
    assert (check.measure, check.against) == (worse, "its first days")


def test_slow_answers_are_the_machines(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    live = promoted("mine", "2", 20, monkeypatch)
    use.add(live.id, 18, shown=60, taken=20)
    use.add(live.id, 1, shown=60, taken=20, seconds=4.0)
    found = look(use)
    assert found.verdict == "healthy"
    assert "look at the machine" in found.advice


def test_more_answers_at_their_limit_are_told(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    live = promoted("mine", "2", 20, monkeypatch)
    use.add(live.id, 18, shown=60, taken=20)
    use.add(live.id, 1, shown=60, taken=20)
    use.counts.add(Counter({(NOW.date().isoformat(), live.id, "chat", "cut", 0): 40}))
    found = look(use)
    assert (found.verdict, "end at their token limit" in found.advice) == ("healthy", True)


def test_little_use_says_so(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    live = promoted("mine", "2", 20, monkeypatch)
    use.add(live.id, 18, shown=100, taken=90)
    use.add(live.id, 1, shown=20, taken=0)
    found = look(use)
    assert found.verdict == "too little use"
    assert {check.finding for check in found.checks} == {"too little use"}


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        ({"report": None}, "without a gate's decision"),
        ({"outcome": "regression"}, "the gate said regression"),
        ({"candidate": "mine@ffffffffffff"}, "about another version"),
        ({"candidate": "other"}, "about another version"),
    ],
)
def test_evidence_that_proves_nothing_is_named(
    use: Use, monkeypatch: pytest.MonkeyPatch, evidence: dict[str, Any], told: str
) -> None:
    live = promoted("mine", "2", 3, monkeypatch, **evidence)
    use.add(live.id, 1, shown=100, taken=40)
    found = look(use)
    assert found.verdict == "unproven"
    assert told in found.advice


def test_after_a_rollback_the_days_count_from_there(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    old = promoted("mine", "1", 40, monkeypatch)
    new = promoted("mine", "2", 20, monkeypatch)
    Registry().rollback()
    use.add(old.id, 30, shown=100, taken=90)
    use.add(old.id, 0, shown=100, taken=40)
    use.add(new.id, 3, shown=100, taken=10)
    found = look(use)
    assert (found.version, found.now.shown) == (old.id, 100)
    assert [(each.what, each.acceptance) for each in found.before] == [("what it replaced", 0.1)]
    assert found.evidence is not None


def test_a_version_that_is_promoted_again_keeps_its_first_days_and_what_it_replaced(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = promoted("mine", "1", 40, monkeypatch)
    live = promoted("mine", "2", 20, monkeypatch)
    Registry().promote(live.id, evidence={"report": {**PASS, "candidate": live.id}})
    use.add(old.id, 22, shown=100, taken=60)
    use.add(live.id, 18, shown=100, taken=40)
    use.add(live.id, 1, shown=100, taken=10)
    found = look(use)
    assert [(each.what, each.version) for each in found.before] == [
        ("its first days", live.id),
        ("what it replaced", old.id),
    ]
    assert found.promoted[:10] == (NOW - timedelta(days=20)).date().isoformat()
    assert found.verdict == "tune again"


def decided(figure: str, value: float, better: str = "higher", task: str = "repo", **more: Any) -> dict[str, Any]:
    """The gate's decision on one figure, over the base model."""
    return {"tasks": [{"task": task, "figure": figure, "difference": {"value": value, "better": better}}], **more}


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (decided("exact_match_with_retrieval", 0.05), "tune again"),
        (decided("bits_per_byte", -0.05, "lower"), "tune again"),
        (decided("exact match", 0.0, task="infill"), "tune again"),
        # What the gate did not promise is not held against it.
        (decided("edit_similarity_with_retrieval", -0.01), "healthy"),
        (decided("pass@1", 0.05, task="humaneval"), "healthy"),
        (decided("exact_match_with_retrieval", 0.05, against="mine@ffffffffffff"), "healthy"),
        (decided("exact_match_with_retrieval", 0.05, candidate="other"), "unproven"),
    ],
)
def test_use_that_contradicts_the_gate_says_to_tune_again(
    use: Use, monkeypatch: pytest.MonkeyPatch, evidence: dict[str, Any], verdict: str
) -> None:
    live = promoted("mine", "2", 20, monkeypatch, **evidence)
    use.add("tiny-base", 30, shown=100, taken=40)
    for ago in (18, 10, 1):
        use.add(live.id, ago, shown=60, taken=10)
    found = look(use)
    assert found.verdict == verdict
    checks = [check for check in found.checks if check.measure == "acceptance since the promotion"]
    if verdict == "tune again":
        (check,) = checks
        assert (check.then, check.now, check.finding) == (0.4, pytest.approx(1 / 6), "worse")
        assert "no worse than those of tiny-base, and in use fewer are taken" in found.advice
    else:
        assert checks == []


def test_use_that_agrees_with_the_gate_is_healthy(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    live = promoted("mine", "2", 20, monkeypatch, **decided("exact_match_with_retrieval", 0.05))
    use.add("tiny-base", 30, shown=100, taken=40)
    use.add(live.id, 1, shown=100, taken=38)
    found = look(use)
    held = {check.against: check.finding for check in found.checks if check.measure == "acceptance since the promotion"}
    assert held == {"what the gate said (repo exact_match_with_retrieval +0.050 over tiny-base)": "ok"}
    assert found.verdict == "healthy"


def test_the_command_tells_it(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownModel):
        look(use)
    assert "no alias is called champion" in refused("models", "health")
    live = promoted("mine", "2", 20, monkeypatch)
    use.add(live.id, 18, shown=100, taken=40)
    use.add(live.id, 1, shown=100, taken=10)
    done = hone("models", "health")
    assert done.returncode == 0, done.stderr
    assert f"champion is {live.id} since" in done.stdout
    assert "the gate said pass against tiny-base: repo em +0.050" in done.stdout
    assert "worse than its first days: acceptance 0.4 -> 0.1" in done.stdout
    assert "tune again: worse than before: acceptance" in done.stdout
    told = report("models", "health", "--days", "3")
    assert (told["schema_version"], told["verdict"], told["version"]) == (1, "tune again", live.id)
