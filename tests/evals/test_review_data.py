"""The changes that a reviewer is measured on, made from real repositories and manifests."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant import review_prompt
from assistant.errors import HoneError
from evals.errors import NotHeldOutError
from evals.tasks import review_data
from evals.tasks.heldout import read_record
from evals.tasks.review import of_repository
from evals.tasks.review_data import Case, Problem, Text, from_item, seeded, to_item, trained_operators, unseen_files
from tests.conftest import ROOT, git
from tests.evals.test_heldout import write_manifest
from tests.tuning.code import module
from tests.tuning.test_fixes import ADDED, GOOD
from tests.tuning.test_fixes import commit as add_commit
from tests.tuning.test_mutate import SAMPLES, sample
from tuning.examples.mutate import OPERATORS

Make = Callable[..., Path]


def many_files(count: int = 12) -> list[Text]:
    """Real code: modules of this project."""
    paths = sorted((ROOT / "tuning" / "corpus").glob("*.py"))[:count]
    return [Text(f"corpus/{path.name}", path.read_text("utf-8")) for path in paths]


def written(cases: list[Case]) -> str:
    return json.dumps([to_item(case).data for case in cases], sort_keys=True)


def with_settings(folder: Path, root: Path, split: dict[str, str], **examples: Any) -> Path:
    return write_manifest(folder, root, split, configuration={"examples": examples})


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    program = (
        "import sys; from tests.evals.test_review_data import *;"
        "sys.stdout.write(written(seeded(many_files(), 20, 7, trained=['wrong-index'])))"
    )
    # Hashes of texts, and so the order of sets, differ between the two.
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)
    assert done.stdout == written(seeded(many_files(), 20, 7, trained=["wrong-index"]))
    assert written(seeded(many_files(), 20, 7)) != written(seeded(many_files(), 20, 8))


def test_a_smaller_limit_and_another_order_of_files_change_nothing_else() -> None:
    files = many_files()
    cases = seeded(files, 20, 0)
    assert len(cases) == 20
    assert seeded(files[::-1], 5, 0) == cases[:5]
    assert len({case.id for case in cases}) == 20
    assert {case.group for case in cases} <= {file.path for file in files}


def test_an_item_is_the_case_and_asks_as_training_does() -> None:
    from tuning.examples.review import Review
    from tuning.examples.review import written as as_trained

    for case in seeded(many_files(), 20, 0):
        item = to_item(case)
        assert json.loads(json.dumps(item.data)) == item.data
        assert from_item(item) == case
        trained = as_trained(Review(case.hunk, (), case.bugs, "edit"), "findings").text
        assert trained == review_prompt.findings_prompt(case.hunk) + review_prompt.findings_answer(case.bugs)


def test_clean_and_wrong_changes_are_both_there_and_bugs_are_in_changed_lines() -> None:
    cases = seeded(many_files(), 40, 0)
    assert 10 <= sum(not case.bugs for case in cases) <= 30
    for case in cases:
        assert bool(case.operator) == bool(case.bugs)
        for bug in case.bugs:
            assert bug.bug_class == OPERATORS[case.operator].bug_class
            assert any(case.hunk.lines[index].number == bug.line for index in case.hunk.changed)
    assert all(case.bugs for case in seeded(many_files(), 10, 0, clean_share=0))
    assert not any(case.bugs for case in seeded(many_files(), 10, 0, clean_share=1))


def test_operators_that_no_model_was_trained_on_seed_half_of_the_files() -> None:
    trained = [name for name in OPERATORS if name not in ("wrong-constant", "missing-guard", "negated-condition")]
    cases = seeded(many_files(20), 60, 1, trained=trained, clean_share=0)
    unseen = [case for case in cases if case.unseen_operator]
    assert {case.operator for case in unseen} <= {"wrong-constant", "missing-guard", "negated-condition"}
    assert all(case.operator in trained for case in cases if not case.unseen_operator)
    assert 0.2 < len(unseen) / len(cases) < 0.8
    # A file has bugs of one kind of operator only.
    kinds = {(case.group, case.unseen_operator) for case in cases}
    assert len(kinds) == len({case.group for case in cases})


def test_operators_can_be_chosen_and_unknown_ones_are_refused() -> None:
    cases = seeded(many_files(), 10, 0, operators=["wrong-constant"], clean_share=0)
    assert {case.operator for case in cases} == {"wrong-constant"}
    with pytest.raises(HoneError, match="no bug operator is called wrong"):
        seeded(many_files(), 10, 0, operators=["wrong"])
    with pytest.raises(HoneError, match="no bug can be seeded into any of the 1 files"):
        seeded([Text("a.py", "x = 1\n"), Text("notes.txt", "a")][:1], 10, 0)


def _seeded_into(language: str, seed: int) -> list[Case]:
    # One small file: some draws find no place.
    try:
        return seeded([Text(SAMPLES[language].name, sample(language))], 4, seed)
    except HoneError:
        return []


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_every_language_that_bugs_are_seeded_into(language: str) -> None:
    assert any(_seeded_into(language, seed) for seed in range(10))


def test_files_held_out_by_a_tuning_run_are_the_ones_asked_about(make_repository: Make, tmp_path: Path) -> None:
    files = {f"m{number}.py": module(number) for number in range(6)}
    repo = make_repository(files)
    split = {"m0.py": "train", "m1.py": "validation", "m2.py": "test", "m3.py": "test"}
    record = read_record("x", write_manifest(tmp_path / "x", repo, split), repo)
    assert [file.path for file in unseen_files(repo, [record])] == ["m2.py", "m3.py"]


def test_another_repository_is_asked_about_whole_but_for_what_was_trained_on(
    make_repository: Make, tmp_path: Path
) -> None:
    repo = make_repository({"a.py": module(0), "vendor/b.py": module(1), "c.py": module(2)})
    other = make_repository({"copy.py": module(2)}, name="other")
    (repo / "a.py").write_text("changed = 1\n")
    record = read_record("x", write_manifest(tmp_path / "x", other, {"copy.py": "train"}), repo)
    # As committed, without vendored code.
    assert unseen_files(repo, [record]) == [Text("a.py", module(0))]
    assert [file.path for file in unseen_files(repo, [])] == ["a.py", "c.py"]
    git(repo, "rm", "-q", "-f", "a.py")
    git(repo, "commit", "-q", "-m", "second")
    with pytest.raises(NotHeldOutError, match="no source file at HEAD that the models have not seen"):
        unseen_files(repo, [record])


def test_a_manifest_tells_the_operators_of_its_training(make_repository: Make, tmp_path: Path) -> None:
    repo = make_repository({"a.py": module(0)})
    none = with_settings(tmp_path / "1", repo, {}, review_rate=0.0)
    older = with_settings(tmp_path / "2", repo, {}, review_rate=0.5)
    some = with_settings(tmp_path / "3", repo, {}, review_rate=0.5, held_out_operators=["wrong-key"])
    assert trained_operators(none) == frozenset()
    assert trained_operators(older) == frozenset(OPERATORS)
    assert trained_operators(some) == frozenset(OPERATORS) - {"wrong-key"}
    # One that does not say may have been shown all.
    assert trained_operators(write_manifest(tmp_path / "4", repo, {})) == frozenset(OPERATORS)
    with pytest.raises(HoneError, match="cannot read the manifest"):
        trained_operators(tmp_path / "manifest.json")


def test_real_bug_fixes_of_the_named_files(make_repository: Make) -> None:
    repo = make_repository({"store.py": ADDED, "other.py": ADDED})
    add_commit(repo, "Fix the area of a rectangle", {"store.py": GOOD})
    add_commit(repo, "Fix the other area", {"other.py": GOOD})
    cases = review_data.historical(repo, {"store.py"}, 10, 0, clean_share=0)
    (case,) = cases
    assert case.group == "store.py"
    (bug,) = case.bugs
    assert (bug.bug_class, bug.fix) == (review_data.OTHER, ("    return width * height",))
    (clean,) = review_data.historical(repo, {"store.py"}, 10, 0, clean_share=1)
    assert not clean.bugs
    assert review_data.historical(repo, {"store.py", "other.py"}, 1, 0, clean_share=0)[0].group == "other.py"


def test_the_report_tells_how_many_fixes_the_history_has(make_repository: Make) -> None:
    repo = make_repository({"store.py": ADDED, "m.py": module(0)})
    add_commit(repo, "Fix the area of a rectangle", {"store.py": GOOD})
    task = of_repository(repo, {}, limit=3, history=5)
    assert task.settings is not None
    assert (task.settings["history"], task.settings["history_found"]) == (5, 1)
    assert len(task.cases) == 4


def test_a_problem_is_shown_with_its_whole_file_and_the_fix_gives_it_back() -> None:
    from evals.tasks.review_proof import repaired

    problems = [Problem(str(number), text.text, "", "f") for number, text in enumerate(many_files())]
    cases = list(review_data.with_tests(problems, 3))
    assert {bool(case.bugs) for case in cases} == {True, False}
    for case in cases:
        assert case.proof is not None
        right = problems[int(case.id)].text
        assert (case.proof.text == right) == (not case.bugs)
        assert repaired(case.proof.text, case.bugs) == right
        for line in case.hunk.lines:
            if line.marker != "-":
                assert case.proof.text.split("\n")[line.number - 1] == line.text


def test_humaneval_gives_problems() -> None:
    problems = review_data.humaneval()
    assert len(problems) == 164
    cases = list(review_data.with_tests(problems, 0, clean_share=0))
    assert len(cases) > 100
    assert all(ast.parse(case.proof.text) for case in cases if case.proof)
