"""Whole runs that learn from feedback, on the tiny model: what they go on from, replay and leave in the manifest."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assistant import paths
from assistant.errors import HoneError, UsageError
from assistant.feedback import COPIES, Feedback
from assistant.feedback_forgotten import forget
from assistant.feedback_trained import FORGOTTEN
from assistant.models.registry import Registry
from tests.tuning import tiny_gguf
from tests.tuning.code import modules
from tests.tuning.feedback_here import opted_in, shown
from tests.tuning.runs import train_and_discard
from tests.tuning.tiny import make_model, save_base
from tuning.feedback_run import FRESH, prepare
from tuning.ground import Watcher
from tuning.model import lora
from tuning.plan import CorpusOptions, FeedbackOptions, LoraOptions, Plan
from tuning.preferred import SHARES
from tuning.run import Result, tune
from tuning.train import Left

OPTIONS = FeedbackOptions(least=4, preference_rate=1e-3)


@pytest.fixture
def base(hone_home: Path, tmp_path: Path) -> str:
    return tiny_gguf.ready_base(tmp_path / "tiny.gguf")


@pytest.fixture
def repository(make_repository: Any) -> Path:
    return Path(make_repository(modules(30)))


def plan_of(**settings: Any) -> Plan:
    small: dict[str, Any] = {"steps": 3, "row_length": 128, "dtype": "float32", "checks": 1, "feedback": OPTIONS}
    return Plan(**{**small, "lora": LoraOptions(rank=4), **settings})


def used(repository: Path, model: str) -> None:
    """Eight completions: four were kept, four edited."""
    kept = opted_in(repository)
    for number in range(4):
        shown(kept, number, "accepted", model=model)
        shown(
            kept, 10 + number, "accepted", text=f"return {number}\n", edited=f"total = {number}\n    return total\n",
            model=model,
        )  # fmt: skip


def learnt(name: str, plan: Plan, base: str) -> Result:
    prepared = prepare(plan, base, base, frozenset())
    result = tune(name, prepared.base, prepared.plan, Watcher(note=lambda _: None, progress=lambda _: None))
    assert result is not None
    return result


def champion(base: str, **options: Any) -> str:
    version = tiny_gguf.register("live", base, **options)
    Registry().promote(version.id)
    return str(version.id)


def test_a_run_goes_on_from_the_champion_and_leaves_what_it_learnt_in_the_manifest(base: str, repository: Path) -> None:
    pytest.importorskip("trl")
    live = champion(base)
    used(repository, live)
    # Hardly a supervised step: what moves the adapter are the preferences.
    result = learnt("mine", plan_of(lora=LoraOptions(), learning_rate=1e-9), base)
    manifest = json.loads((result.version.folder / "manifest.json").read_text("utf-8"))
    assert manifest["feedback"] == result.feedback
    told = manifest["feedback"]
    assert (told["start"], told["completions"]) == (live, 8)
    assert told["ids"] == [f"s{number}" for number in (0, 1, 10, 11, 12, 13, 2, 3)]
    assert (told["preferences"]["method"], told["preferences"]["rows"]) == ("dpo", 4)
    assert told["preferences"]["share"] in SHARES
    assert told["preferences"]["validation_after"] <= told["preferences"]["validation_before"] * 1.005
    # The repository that the feedback is of was replayed, since none was named.
    assert [source["path"] for source in manifest["corpus"]["sources"]] == [str(repository)]
    assert manifest["configuration"]["examples_of_kind"]["kept completion"] >= 4
    assert "Feedback settings" in (result.version.folder / "card.md").read_text("utf-8")
    start = Registry().find(live)
    assert start is not None
    before, after = (load_file(one / "adapter_model.safetensors") for one in (start.folder, result.version.folder))
    assert before.keys() == after.keys()
    moved = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 1e-5 < moved < 0.05
    assert result.scale == 1.0


def test_it_leaves_while_it_learns_from_preferences_when_told(base: str, repository: Path) -> None:
    pytest.importorskip("trl")
    used(repository, champion(base))
    prepared = prepare(plan_of(lora=LoraOptions()), base, base, frozenset())
    at_once: list[bool] = []

    @contextmanager
    def training(now: bool) -> Iterator[None]:
        at_once.append(now)
        yield

    watcher = Watcher(
        note=lambda _: None, progress=lambda _: None, training=training, leaving=lambda: at_once == [False, True]
    )
    with pytest.raises(Left, match="left while it learnt from preferences as told; the same command"):
        tune("mine", prepared.base, prepared.plan, watcher)


def test_a_fresh_adapter_learns_completions_beside_the_corpus(base: str, repository: Path) -> None:
    used(repository, base)
    prepared = prepare(plan_of(feedback=replace(OPTIONS, objective="completions")), base, base, frozenset())
    assert prepared.notes[0] == f"a fresh adapter of {base}"
    trained = train_and_discard(base, prepared.plan)
    assert len(trained.losses) == 3
    assert trained.validation is not None


def test_a_run_on_feedback_that_is_forgotten_meanwhile_ends(base: str, repository: Path) -> None:
    used(repository, base)
    prepared = prepare(plan_of(feedback=replace(OPTIONS, objective="completions")), base, base, frozenset())
    trained = train_and_discard(base, prepared.plan)
    assert len(trained.losses) == 3
    shutil.rmtree(paths.cache_dir() / COPIES)
    with pytest.raises(HoneError, match="forgotten meanwhile"):
        train_and_discard(base, prepared.plan)


def test_an_adapter_whose_rows_are_forgotten_while_it_is_exported_is_marked(base: str, repository: Path) -> None:
    used(repository, base)
    prepared = prepare(plan_of(feedback=replace(OPTIONS, objective="completions")), base, base, frozenset())

    def meanwhile(note: str) -> None:
        if note.startswith("exporting"):
            forget(Feedback(), lambda event: event.id in ("s0", "s1"), Registry())

    result = tune("mine", prepared.base, prepared.plan, Watcher(note=meanwhile, progress=lambda _: None))
    assert result is not None
    marks = Registry().marks()[result.version.id]
    assert [(mark.data["reason"], mark.data["suggestions"]) for mark in marks] == [(FORGOTTEN, 2)]


def test_a_named_corpus_is_the_one_that_is_replayed(base: str, repository: Path) -> None:
    used(repository, base)
    plan = plan_of(corpus=CorpusOptions(sources=("elsewhere",)))
    assert prepare(plan, base, base, frozenset()).plan.corpus.sources == ("elsewhere",)


def test_without_any_corpus_one_is_asked_for(base: str, repository: Path) -> None:
    used(repository, base)
    shutil.rmtree(repository)
    with pytest.raises(HoneError, match="no corpus to replay"):
        prepare(plan_of(), base, base, frozenset())


def test_the_shape_is_that_of_the_start(base: str, repository: Path) -> None:
    live = champion(base, r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"])
    used(repository, live)
    prepared = prepare(plan_of(), None, "another", frozenset())
    assert (prepared.base, prepared.plan.feedback.start) == (base, live)
    shape = prepared.plan.lora
    assert (shape.rank, shape.effective_alpha, shape.target_modules) == (2, 6, ("q_proj", "v_proj"))
    assert prepared.plan.adapter_scales == (1.0,)
    assert prepared.notes[0] == f"going on from {live}"


def test_a_fresh_adapter_is_begun_when_asked_for_or_on_another_base(
    base: str, repository: Path, tmp_path: Path
) -> None:
    live = champion(base)
    used(repository, live)
    fresh = replace(OPTIONS, start=FRESH, objective="completions")
    assert prepare(plan_of(feedback=fresh), base, base, frozenset()).plan.feedback.start == FRESH
    other = str(tiny_gguf.write_base(tmp_path / "other.gguf"))
    plan = plan_of(feedback=replace(OPTIONS, objective="completions"))
    assert prepare(plan, other, base, frozenset()).plan.feedback.start == FRESH
    with pytest.raises(UsageError, match="is an adapter of"):
        prepare(plan_of(feedback=replace(OPTIONS, start=live)), other, base, frozenset())


def test_what_does_not_go_together_is_refused(base: str, repository: Path) -> None:
    used(repository, champion(base))
    for plan, given, complaint in (
        (plan_of(), {"lora.rank"}, "lora.rank is that of live@"),
        (plan_of(feedback=replace(OPTIONS, start="nobody")), set(), "no adapter is called nobody"),
        (plan_of(sweep={"learning_rate": (1e-3, 1e-4)}), set(), "a sweep and --from-feedback"),
    ):
        with pytest.raises(UsageError, match=complaint):
            prepare(plan, base, base, given)


def test_weights_of_another_shape_are_no_start(tmp_path: Path) -> None:
    adapter = tiny_gguf.make_adapter(tmp_path / "adapter", save_base(tmp_path / "base"), r=2)
    model = lora.add_lora(make_model(), LoraOptions(rank=4), 0)
    with pytest.raises(HoneError, match="other layers or ranks"):
        lora.load_weights(model, adapter)
    same = lora.add_lora(make_model(), LoraOptions(rank=2), 0)
    lora.load_weights(same, adapter)
    saved = load_file(adapter / "adapter_model.safetensors")
    name, weight = next(iter(saved.items()))
    assert torch.equal(dict(same.named_parameters())[name.replace(".weight", ".default.weight")], weight)
