"""Whole evaluations with a scripted model: real repositories, manifests, registry, samples and reports."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError
from evals.errors import NotHeldOutError
from evals.gate import decide
from evals.gate_inputs import Measured, Wanted
from evals.report import json as json_report
from evals.report import markdown, repo
from evals.report.schema import from_json, to_json
from evals.report.write import write
from evals.run import PROMPT_TOKENS, Options, evaluate
from tests.assistant.completion_fakes import FakeClient
from tests.evals.eval_fixtures import UniformScorer, load_tokenizer, register, samples_of, write_base

Make = Callable[..., Path]
HELPERS = "def compute_total(rows):\n    return sum(rows)\n" * 3
HELD_OUT = "".join(
    f"def step_{n}(rows):\n    total_{n} = compute_total(rows)\n    return total_{n}\n\n" for n in range(12)
)


class World:
    """One repository, one base, one tuned adapter, and models that answer from a script."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self.base = write_base(folder / "base")
        self.split = {"lib/helpers.py": "train", "lib/held.py": "test", "lib/other.py": "test"}
        self.tuned = register("tuned", self.base, root, self.split)
        self.clients: dict[str, FakeClient] = {}
        self.scorers: list[UniformScorer] = []
        self.answers: dict[str, Callable[[str], str]] = {
            str(self.base): lambda prompt: "pass\n",
            self.tuned.id: lambda prompt: " total_3 = compute_total(rows)\n",
        }
        self.bits = {None: 4.0, self.tuned.folder: 3.0}

    def connect(self, name: str) -> AbstractContextManager[Any]:
        @contextmanager
        def opened() -> Iterator[FakeClient]:
            yield self.clients.setdefault(name, FakeClient(answers=self.answers[name], names=(name,)))

        return opened()

    def load_scorer(self, folder: Path, adapter: Path | None) -> tuple[Any, Any, int]:
        self.scorers.append(UniformScorer(self.bits[adapter]))
        return self.scorers[-1], *load_tokenizer(folder)

    def run(self, **changes: Any) -> dict[str, Any]:
        options = {"repository": self.root, "models": (str(self.base), "tuned"), "limit": 10, "levels": ("line",)}
        options |= changes
        return evaluate(Options(**options), self.connect, self.load_scorer)


@pytest.fixture
def world(hone_home: Path, tmp_path: Path, make_repository: Make) -> World:
    files = {
        "lib/helpers.py": HELPERS,
        "lib/held.py": HELD_OUT,
        "lib/other.py": "x = 1\ny = x + 1\nz = compute_total([x, y])\n",
    }
    return World(tmp_path, make_repository(files))


def test_the_report_holds_both_models_and_what_changed(world: World) -> None:
    report = world.run()
    base, tuned = report["models"]
    assert (base["name"], tuned["name"]) == (str(world.base), world.tuned.id)
    # One token a byte, 4 and 3 bits each.
    assert base["bits_per_byte"]["value"] == pytest.approx(4.0)
    assert tuned["bits_per_byte"]["value"] == pytest.approx(3.0)
    assert base["lines"]["without_retrieval"]["edit_similarity"]["value"] < 0.4
    assert tuned["lines"]["without_retrieval"]["places"] == 10
    (change,) = report["comparisons"]
    assert change["bits_per_byte"]["relative"] == {
        "value": pytest.approx(-0.25),
        "low": pytest.approx(-0.25),
        "high": pytest.approx(-0.25),
    }
    assert change["lines"]["with_retrieval"]["edit_similarity"]["difference"]["value"] > 0
    assert report["schema_version"] == 1
    assert tuned["adapter"]["digest"] == world.tuned.digest
    assert tuned["base"]["digest"] == world.tuned.base_digest
    assert report["held_out"]["files"] == 2
    assert report["environment"]["load_average"]
    json.dumps(report, allow_nan=False)


def test_prompts_hide_the_answer_and_every_held_out_file(world: World) -> None:
    world.run()
    for client in world.clients.values():
        with_retrieval = [prompt for prompt in client.prompts if "# lib/helpers.py" in prompt]
        assert len(with_retrieval) >= 5
        for prompt in client.prompts:
            held = [path for path in ("# lib/held.py", "# lib/other.py") if path in prompt]
            assert len(held) == 1
            assert len(client.tokenize([prompt])[0]) <= PROMPT_TOKENS


def test_prompts_can_be_made_shorter(world: World) -> None:
    report = world.run(prompt_tokens=128)
    assert report["settings"]["budget"]["prompt"] == 128
    for client in world.clients.values():
        assert max(len(tokens) for tokens in client.tokenize(client.prompts)) <= 128


def test_every_model_is_asked_the_same(world: World) -> None:
    report = world.run()
    base, tuned = world.clients.values()
    assert base.prompts == tuned.prompts
    hashes = [model["lines"]["with_retrieval"]["prompts_sha256"] for model in report["models"]]
    assert hashes[0] == hashes[1]


def test_what_a_model_was_shown_is_kept_with_its_answer(world: World) -> None:
    samples = repo.report(world.run(limit=3)).tasks[0].samples
    assert {row["ask"]["prompt"] for row in samples} == {*next(iter(world.clients.values())).prompts}
    for row in samples:
        assert hashlib.sha256(row["ask"]["prompt"].encode()).hexdigest() == row["prompt_sha256"]
        assert row["ask"]["max_tokens"] > 0


def test_places_without_retrieval_come_in_file_order(world: World) -> None:
    world.run()
    prompts = next(iter(world.clients.values())).prompts[:10]
    assert prompts == sorted(prompts, key=lambda prompt: ("# lib/other.py" in prompt, len(prompt)))


def test_a_second_run_measures_nothing_again(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = world.run(out=out)
    asked = [len(client.prompts) for client in world.clients.values()]
    scored = [scorer.calls for scorer in world.scorers]
    again = world.run(out=out)
    assert [len(client.prompts) for client in world.clients.values()] == asked
    assert [scorer.calls for scorer in world.scorers] == scored
    assert again["models"] == first["models"]
    assert (first["samples"]["resumed"], again["samples"]["resumed"]) == (0, len(samples_of(out)))


def test_without_a_folder_samples_are_kept_in_the_state_folder(world: World, hone_home: Path) -> None:
    first = world.run(limit=4)
    asked = [len(client.prompts) for client in world.clients.values()]
    again = world.run(limit=4)
    assert [len(client.prompts) for client in world.clients.values()] == asked
    assert again["models"] == first["models"]
    (folder,) = (hone_home / "evals").glob("repo-*")
    assert again["samples"]["resumed"] == len(samples_of(folder))


def test_what_the_model_wrote_is_kept_beside_what_completion_made_of_it(world: World, tmp_path: Path) -> None:
    world.answers[world.tuned.id] = lambda prompt: " total_3 = compute_total(rows)   \n    return x\n"
    report = repo.report(world.run(limit=4, out=tmp_path / "out"))
    rows = [row for row in report.tasks[0].samples if row["name"] == world.tuned.id]
    for row in rows:
        # Completion ended it at its line, and took the blanks at its end.
        assert row["text"].startswith(" total_3 = compute_total(rows)   ")
        assert row["extracted"].strip() == "total_3 = compute_total(rows)"
        assert row["extracted"] in row["text"]
    kept = [row for row in samples_of(tmp_path / "out") if row["model"] == world.tuned.id and "raw" in row]
    assert {(row["raw"], row["text"]) for row in kept} == {(row["text"], row["extracted"]) for row in rows}


def test_completions_of_a_former_serving_form_are_made_again_and_bits_are_not(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.run(out=tmp_path / "out", limit=4)
    rows = len(samples_of(tmp_path / "out"))
    assert {model["served"] for model in first["models"]} == {"as it is"}
    monkeypatch.setattr("evals.run.form_name", lambda gguf: "another form")
    again = world.run(out=tmp_path / "out", limit=4)
    assert {model["served"] for model in again["models"]} == {"another form"}
    # Two models at four places in two contexts; bits are of the tuning form.
    assert len(samples_of(tmp_path / "out")) == rows + 2 * 4 * 2
    assert repo.report(again).tasks[0].models[0].facts["served"] == "another form"


def test_another_seed_or_model_is_measured_anew(world: World, tmp_path: Path) -> None:
    world.run(out=tmp_path / "out", limit=4)
    before = len(samples_of(tmp_path / "out"))
    register("other", world.base, world.root, world.split, seed=1)
    world.answers[next(v.id for v in _versions("other"))] = lambda prompt: "x\n"
    world.bits[world.base.parent / "adapter-other"] = 2.0
    world.run(out=tmp_path / "out", limit=4, models=("other",))
    assert len(samples_of(tmp_path / "out")) == before + 8 + 2


def test_an_interrupted_run_keeps_its_samples_and_goes_on(world: World, tmp_path: Path) -> None:
    out, seen = tmp_path / "out", []

    def interrupted(prompt: str) -> str:
        seen.append(prompt)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return "pass\n"

    plain = world.answers[str(world.base)]
    world.answers[str(world.base)] = interrupted
    with pytest.raises(KeyboardInterrupt):
        world.run(out=out)
    assert len(samples_of(out)) == 5
    world.answers[str(world.base)] = plain
    world.clients.clear()
    report = world.run(out=out)
    assert report["samples"]["resumed"] == 5
    of_base = [sample for sample in samples_of(out) if sample["model"] == str(world.base) and "text" in sample]
    assert 5 + len(world.clients[str(world.base)].prompts) == len(of_base)


def test_reports_are_written_as_json_markdown_and_job_summary(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    found = world.run()
    report = repo.report(found)
    write(report, tmp_path / "out")
    assert json_report.read(tmp_path / "out" / "report.json") == report
    # What the task reports in its own form can be read as ever, under the task.
    details = json.loads((tmp_path / "out" / "report.json").read_text())["tasks"][0]["details"]
    assert details == {name: value for name, value in found.items() if name != "rows"}
    assert details["models"][1]["bits_per_byte"]["value"] == pytest.approx(3.0)
    text = (tmp_path / "out" / "report.md").read_text()
    assert summary.read_text() == "before\n" + text
    for fact in (
        world.tuned.digest,
        "-25.0%",
        "2 held-out files",
        "10 places",
        "load average",
        "xllamacpp",
        "BM25",
        "threads",
    ):
        assert fact in text
    cells = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(cells) == 1
    assert "bits per byte" in markdown.plain(report)


def test_the_report_is_a_task_that_the_gate_can_decide_on(world: World) -> None:
    report = repo.report(world.run(limit=100))
    (task,) = report.tasks
    assert from_json(json.dumps(to_json(report))) == report
    assert [comparison.figure for comparison in task.comparisons] == list(task.models[0].figures)
    for comparison in task.comparisons:
        # Places of one file are drawn together.
        assert len(comparison.clusters) == 2
        totals = [sum(column) for column in zip(*comparison.clusters, strict=True)]
        assert totals[2] / totals[3] - totals[0] / totals[1] == pytest.approx(comparison.difference.value)
    levels = task.settings["levels"]
    assert len(task.samples) == 2 * 2 * sum(level["places"] for level in levels.values())
    assert {row["name"] for row in task.samples} == {str(world.base), world.tuned.id}
    measured = Measured(report, task, world.tuned.id, str(world.base), Path("report.json"))
    decision = decide({"repo": measured}, [Wanted("repo", "exact_match_without_retrieval", 0.0)])
    # Two files are too few to decide on.
    assert decision.outcome == "inconclusive"


def test_the_smallest_difference_that_could_be_found_is_told_of_every_figure(world: World) -> None:
    second = "def go(rows):\n    return rows\n\n" * 20
    (world.root / "lib/other.py").write_text(second)
    register("again", world.base, world.root, world.split)
    world.answers[_versions("again")[0].id] = lambda prompt: " total_3 = compute_total(rows)\n"

    def load(folder: Path, adapter: Path | None) -> tuple[Any, Any, int]:
        scorer, *rest = world.load_scorer(folder, None)
        return (Uneven() if adapter else scorer), *rest  # type: ignore[return-value]

    options = Options(world.root, (str(world.base), "again"), limit=100, levels=("line",))
    report = repo.report(evaluate(options, world.connect, load))
    sizes = {comparison.figure: comparison.detectable for comparison in report.tasks[0].comparisons}
    assert 0.01 < (sizes["bits_per_byte"] or 0) < 10
    assert 0 < (sizes["edit_similarity_without_retrieval"] or 0) < 1
    told = f"found in 80 % of cases: bits per byte {sizes['bits_per_byte']:.3f} bits per byte"
    assert told in markdown.plain(report)
    assert told in markdown.markdown(report)


class Uneven(UniformScorer):
    """Needs fewer bits for longer files."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def score(self, token_ids: Any) -> list[float]:
        return [each * 1000 / len(token_ids) for each in super().score(token_ids)]


def test_a_report_of_the_first_schema_is_still_read(world: World, tmp_path: Path) -> None:
    old = {name: value for name, value in world.run().items() if name not in ("rows", "levels", "folds")}
    for comparison in old["comparisons"]:
        comparison["bits_per_byte"].pop("clusters")
        for lines in comparison["lines"].values():
            lines["edit_similarity"].pop("clusters")
            for name in ("clusters", "outcomes", "detectable"):
                lines["exact_match"].pop(name)
    (tmp_path / "report.json").write_text(json.dumps(old))
    read = json_report.read(tmp_path / "report.json")
    assert read.tasks[0].models[1].figures["bits_per_byte"].value == pytest.approx(3.0)
    assert read.tasks[0].samples == ()
    assert "bits per byte" in markdown.plain(read)


def test_one_model_alone_is_reported_without_comparison(world: World) -> None:
    report = world.run(models=("tuned",))
    assert report["comparisons"] == []
    assert "exact match" in markdown.plain(repo.report(report))


def test_exact_matches_are_found(world: World) -> None:
    def right(prompt: str) -> str:
        number = prompt.rsplit("def step_", 1)[-1].split("(", maxsplit=1)[0]
        return f" total_{number} = compute_total(rows)\n" if prompt.endswith("(rows):\n   ") else "?\n"

    world.answers[world.tuned.id] = right
    report = world.run(limit=100)
    figures = report["models"][1]["lines"]["without_retrieval"]
    assert figures["exact_matches"] == 12
    change = report["comparisons"][0]["lines"]["without_retrieval"]["exact_match"]
    assert (change["only_first"], change["only_second"]) == (0, 12)
    assert change["mcnemar_p"] < 0.001


def test_a_base_alone_cannot_tell_what_was_held_out(world: World) -> None:
    with pytest.raises(NotHeldOutError, match="give an adapter that was tuned on it"):
        world.run(models=(str(world.base),))
    assert world.clients == {}


def test_one_model_under_two_names_is_refused(world: World) -> None:
    with pytest.raises(HoneError, match="same one"):
        world.run(models=("tuned", world.tuned.id))


def test_no_repository_and_no_folder_are_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(HoneError, match="in no git repository"):
        world.run(repository=tmp_path / "plain")
    with pytest.raises(HoneError, match="is not a folder"):
        world.run(repository=tmp_path / "none")


def test_a_changed_held_out_file_is_named_in_the_report(world: World) -> None:
    held = world.root / "lib/held.py"
    manifest = json.loads((world.tuned.folder / "manifest.json").read_text())
    manifest["corpus"]["files"][2]["sha256"] = "0" * 64
    (world.tuned.folder / "manifest.json").write_text(json.dumps(manifest))
    held.write_text(HELD_OUT + "# changed\n")
    report = world.run()
    assert report["held_out"]["skipped"] == [{"path": "lib/other.py", "reason": "changed since it was held out"}]
    assert report["held_out"]["from_commit"] == ["lib/held.py"]
    assert "lib/other.py" in markdown.markdown(repo.report(report))


def _versions(name: str) -> list[Any]:
    from assistant.models.registry import Registry

    return Registry().versions(name)
