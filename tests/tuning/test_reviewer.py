"""From scored changes to the file that makes an adapter a reviewer."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from assistant.review_prompt import Hunk, HunkLine
from assistant.skills.review.verdicts import read_reviewer
from tests.tuning import tiny_gguf
from tests.tuning.runs import plan_on
from tests.tuning.tiny import make_model, make_qwen, make_tokenizer
from tuning import reviewer
from tuning.examples.review import Review
from tuning.examples.rewritten import ask
from tuning.ground import Watcher
from tuning.model import attention
from tuning.model.likelihoods import reader
from tuning.plan import ExampleOptions
from tuning.reviewer import Calibrated, Scored, calibrate, write
from tuning.run import tune


def hunk(lines: int, markers: str = "+", text: str = "x = 1") -> Hunk:
    return Hunk("a.py", (), (), tuple(HunkLine(markers, at + 1, text) for at in range(lines)))  # type: ignore[arg-type]


def changes(count: int, apart: float, seed: int = 1) -> list[Scored]:
    """Half of them wrong; wrong lines score `apart` above fine ones, which have a spread of 1."""
    generator = random.Random(seed)
    found = []
    for index in range(count):
        scores = [generator.gauss(-3, 1) for _ in range(8)]
        bug = generator.randrange(8) if index % 2 else None
        if bug is not None:
            scores[bug] += apart
        found.append(Scored(hunk(8), tuple(scores), bug))
    return found


def test_a_model_that_tells_them_apart_finds_bugs_with_few_alarms():
    found = calibrate(changes(240, 5.0))
    assert found is not None
    figures = found.validation
    assert figures["changes"] == 240
    assert figures["clean_changes"] == 120
    assert figures["false_alarms_per_clean_change"] <= 0.1  # type: ignore[operator]
    assert figures["recall"] > 0.8  # type: ignore[operator]
    assert found.precision > 0.8
    assert found.calibration.added.slope > 0
    assert figures["auc_change"] > 0.9  # type: ignore[operator]
    # The bound is far from the average of fresh changes of the same kind.
    again = changes(2_000, 5.0, seed=2)
    alarms = [
        sum(value >= found.threshold for value in found.calibration.probabilities(one.hunk, one.scores))
        for one in again
        if one.bug is None
    ]
    assert sum(alarms) / len(alarms) <= 0.13


def test_lines_below_the_bug_are_not_asked():
    assert Scored(hunk(3), (0.1, 0.2, 0.3), 1).asked == [0, 1]
    assert Scored(hunk(2), (0.1, 0.2), None).asked == [0, 1]
    # Nor are lines that others are judged for.
    assert Scored(hunk(2), (-math.inf, 0.2), 1).asked == [1]


def test_a_long_line_is_held_against_right_ones_of_its_length():
    generator = random.Random(3)
    found = []
    for index in range(240):
        texts = ["x" * generator.choice([3, 80]) for _ in range(6)]
        bug = generator.randrange(6) if index % 2 else None
        scores = [2 * math.log(len(text)) - 9 + generator.gauss(0, 0.5) for text in texts]
        if bug is not None:
            scores[bug] += 4
        lines = tuple(HunkLine("+", at + 1, text) for at, text in enumerate(texts))
        found.append(Scored(Hunk("a.py", (), (), lines), tuple(scores), bug))
    made = calibrate(found)
    assert made is not None
    # A short wrong line has lower odds than a long right one, and is told from it all the same.
    assert made.validation["top_line"] > 0.95  # type: ignore[operator]
    assert made.calibration.per_log_length == pytest.approx(2, abs=0.2)


def test_lines_that_replace_others_are_believed_more_where_they_tell_more():
    told = [replace(one, hunk=shown(one)) for one in changes(240, 6.0)]
    mixed = [*changes(240, 0.5, seed=5), *told]
    found = calibrate(mixed)
    assert found is not None
    assert found.calibration.replaced.slope > found.calibration.added.slope >= 0


def shown(one: Scored) -> Hunk:
    """The same lines below one that they replace."""
    return Hunk("a.py", (), (), (HunkLine("-", 1, ""), *one.hunk.lines))


def test_a_model_that_does_not_tell_or_too_few_changes_make_no_reviewer():
    assert calibrate(changes(reviewer.LEAST - 2, 5.0)) is None
    assert calibrate(changes(240, -5.0)) is None
    assert calibrate([one for one in changes(400, 5.0) if one.bug is None]) is None


def test_the_file_is_what_the_review_skill_reads(tmp_path: Path):
    found = calibrate(changes(240, 3.0))
    assert found is not None
    write(tmp_path, found)
    read = read_reviewer(tmp_path)
    assert read is not None
    assert (read.threshold, read.calibration) == (found.threshold, found.calibration)
    assert read.precision == found.precision
    assert read.validation["recall"] == found.validation["recall"]
    assert [file.name for file in tmp_path.iterdir()] == ["reviewer.json"]


FOUND = calibrate(changes(240, 3.0))


@pytest.fixture
def base(hone_home: Path, tmp_path: Path) -> str:
    return tiny_gguf.ready_base(tmp_path / "tiny.gguf")


def reviewing(make_repository: Any) -> Any:
    plan = plan_on(make_repository)
    examples = ExampleOptions(task="review", review_rate=1, code_rate=0, review_form="rewriting")
    return replace(plan, steps=1, row_length=400, examples=examples)


def test_a_run_keeps_what_it_found_with_the_adapter(
    base: str, make_repository: Any, monkeypatch: pytest.MonkeyPatch, hone_home: Path
):
    def measured(*_: Any) -> Calibrated | None:
        return FOUND

    monkeypatch.setattr(reviewer, "measure", measured)
    notes: list[str] = []
    result = tune("own", base, reviewing(make_repository), Watcher(note=notes.append, progress=lambda _: None))
    assert result is not None
    assert result.reviewer == FOUND
    folder = result.version.folder
    assert read_reviewer(folder) is not None
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["reviewer"] == json.loads((folder / "reviewer.json").read_text("utf-8"))
    assert "reviewer.json" in manifest["hashes"]
    assert "## Reviewer" in (folder / "card.md").read_text("utf-8")
    assert any("called wrong from probability" in note for note in notes)
    # Of the scales that were tried the one that validates best was made part of the adapter.
    tried = manifest["figures"]["scales"]
    assert set(tried) == {"0.5", "0.75", "1"}
    assert manifest["figures"]["scale"] == result.scale
    assert tried[f"{result.scale:g}"] == min(tried.values()) == result.outcome.validation_after


@pytest.mark.parametrize("family", [make_model, make_qwen])
def test_a_model_of_any_family_is_read_as_its_own_logits_say(family: Any):
    attention.register()
    model, tokenizer = family(attention=attention.NAME).eval(), make_tokenizer()
    lines = (HunkLine(" ", 1, "def f(x):"), HunkLine("+", 2, "    y = x + 1"), HunkLine("+", 3, "    return y"))
    review = Review(Hunk("a.py", (), (), lines), (1,), (), "commit")
    (found,) = reviewer.score([review], reader(model), tokenizer, 0, 10**6)
    asked = ask(review.hunk, tokenizer, 0)
    plain = family()
    logs = torch.log_softmax(plain(input_ids=torch.tensor([asked.tokens])).logits[0].double(), -1)
    for odds, (start, end) in zip(found.scores, asked.spans, strict=True):
        stands = math.exp(sum(float(logs[at - 1, asked.tokens[at]]) for at in range(start, end)))
        assert odds == pytest.approx(math.log((1 - stands) / stands), rel=1e-3)


def test_the_changes_that_calibrate_are_of_validation_files_and_as_long_as_reviewed_ones(
    base: str, make_repository: Any, hone_home: Path
):
    from tuning.data import prepare

    plan = reviewing(make_repository)
    tokenizer = make_tokenizer()
    data = prepare(plan.corpus.sources, tokenizer, plan)
    held = {document.path for document in data.corpus.documents("validation")}
    found = reviewer.validation_changes(data.corpus, ["comparison-boundary", "early-return", "wrong-constant"], 0)
    assert found
    assert {one.hunk.path for one in found} <= held
    assert {one.operator for one in found} <= {"", "comparison-boundary", "early-return", "wrong-constant"}
    assert found == reviewer.validation_changes(
        data.corpus, ["comparison-boundary", "early-return", "wrong-constant"], 0
    )
    # Few files are gone through again with other bugs.
    assert len({one.hunk for one in found}) == len(found) > 2 * len(held)
    attention.register()
    scored = reviewer.score(found, reader(make_model(attention=attention.NAME)), tokenizer, data.end_token, 10**6)
    assert [len(one.scores) for one in scored] == [len(one.hunk.changed) for one in found]
    assert [one.bug is None for one in scored] == [one.is_clean for one in found]
    # Of one with fewer tokens than the change nothing is read.
    assert reviewer.score(found, reader(make_model(attention=attention.NAME)), tokenizer, data.end_token, 5) == []
