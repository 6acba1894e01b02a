"""Blocks, bodies and folds through whole evaluations with a scripted model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant.errors import HoneError
from evals.report import repo
from tests.evals.eval_fixtures import samples_of
from tests.evals.test_run import HELPERS, World

Make = Callable[..., Path]
HELD_OUT = "".join(
    f"def step_{n}(rows):\n"
    f'    """Step {n}."""\n'
    f"    total_{n} = 0\n"
    f"    for row in rows:\n"
    f"        total_{n} += row\n"
    f"\n"
    f"    return total_{n}\n\n\n"
    for n in range(6)
)


def number_in(prompt: str) -> str:
    return prompt.rsplit("def step_", 1)[-1].split("(", maxsplit=1)[0]


def right(prompt: str) -> str:
    """The body after a docstring, the block after a loop's head, each followed by what a model would go on with."""
    n = number_in(prompt)
    if prompt.endswith('."""\n   '):
        return (
            f" total_{n} = 0\n    for row in rows:\n        total_{n} += row\n\n    return total_{n}\n\n\ndef more():\n"
        )
    if prompt.endswith("in rows:\n       "):
        return f" total_{n} += row\n\n    return total_{n}\n"
    return " nothing\n"


@pytest.fixture
def world(hone_home: Path, tmp_path: Path, make_repository: Make) -> World:
    files = {"lib/helpers.py": HELPERS, "lib/held.py": HELD_OUT, "lib/other.py": HELD_OUT.replace("step", "move")}
    made = World(tmp_path, make_repository(files))
    made.answers[made.tuned.id] = right
    return made


def test_blocks_and_bodies_end_where_the_code_does(world: World, tmp_path: Path) -> None:
    report = world.run(limit=100, levels=("line", "block", "body"), out=tmp_path / "out")
    assert report["task_versions"] == ["line@2", "block@2", "body@2", "bits-per-byte@1"]
    assert report["settings"]["levels"]["body"] == {"places": 12, "max_tokens": 320}
    for level, places in (("block", 12), ("body", 12)):
        base, tuned = report["levels"][level]["models"]
        assert tuned["name"] == world.tuned.id
        for context in ("without_retrieval", "with_retrieval"):
            assert tuned[context]["places"] == places
            # The script knows the names of one of the two files only.
            assert tuned[context]["exact_matches"] == places // 2
            assert base[context]["exact_matches"] == 0
            assert base[context]["identifier_f1"]["value"] == 0.0
            assert tuned[context]["identifier_f1"]["value"] >= 0.5
            assert tuned[context]["stop_rate"]["value"] == 1.0
        (change,) = report["levels"][level]["comparisons"]
        assert change["with_retrieval"]["identifier_f1"]["difference"]["value"] > 0
        assert change["with_retrieval"]["stop_rate"]["difference"]["value"] == 0.0
    assert report["levels"]["line"]["models"][0]["with_retrieval"]["places"] == len(report_lines(report))
    tasks = {sample["task"] for sample in samples_of(tmp_path / "out")}
    assert tasks == {"line@2", "block@2", "body@2", "bits-per-byte@1"}
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("words", "reason"), [([f"value_{n}" for n in range(4000)], "length"), (["value"] * 4000, "repetition")]
)
def test_answers_without_end_did_not_stop(world: World, words: list[str], reason: str) -> None:
    world.answers[world.tuned.id] = lambda prompt: " total(" + " + ".join(words)
    report = world.run(limit=100, levels=("line", "body"))
    (base, tuned) = report["levels"]["body"]["models"]
    assert {row["finish_reason"] for row in report["rows"][world.tuned.digest]["body"]["with_retrieval"]} == {reason}
    assert tuned["with_retrieval"]["stop_rate"]["value"] == 0.0
    assert base["with_retrieval"]["stop_rate"]["value"] == 1.0


def report_lines(report: dict[str, object]) -> range:
    return range(report["held_out"]["places"])  # type: ignore[index, call-overload]


def test_a_second_run_completes_no_block_again(world: World, tmp_path: Path) -> None:
    first = world.run(limit=5, levels=("line", "block", "body"), out=tmp_path / "out")
    asked = {name: len(client.prompts) for name, client in world.clients.items()}
    again = world.run(limit=5, levels=("line", "block", "body"), out=tmp_path / "out")
    assert {name: len(client.prompts) for name, client in world.clients.items()} == asked
    assert again["levels"] == first["levels"]


def test_the_line_is_always_completed(world: World) -> None:
    with pytest.raises(HoneError, match="the line is always completed"):
        world.run(levels=("body",))


def test_folds_share_out_the_held_out_files(world: World) -> None:
    report = world.run(limit=100, levels=("line", "body"), folds=2)
    found = report["folds"]
    assert found["files"] == [1, 1]
    assert found["models"][0]["figures"]["bits_per_byte"]["folds"] == pytest.approx([4.0, 4.0])
    # One of the two files is the one that the script knows.
    assert sorted(found["models"][1]["figures"]["body.without_retrieval.exact_match"]["folds"]) == [0.0, 1.0]
    assert found["comparisons"][0]["figures"]["bits_per_byte"]["mean"] == pytest.approx(-1.0)
    told = [note for note in repo.report(report).tasks[0].notes if note.startswith("2 folds of files, ")]
    assert any(f"{world.tuned.id}: bits_per_byte 3.000 (sd 0.000)" in note for note in told)
    assert any(f"{world.tuned.id} less {world.base}: bits_per_byte -1.000" in note for note in told)
    assert world.run(limit=10)["folds"] is None


def test_more_folds_than_files_are_refused_before_a_model_is_asked(world: World) -> None:
    with pytest.raises(HoneError, match="2 held-out files cannot be shared out to 3 folds"):
        world.run(folds=3)
    assert world.clients == {}
