"""Adapters combined and scaled: what the result computes, and what it owns up to having seen."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError, UsageError, WrongBase
from assistant.models import store
from assistant.models.registry import Registry
from assistant.models.resolve import resolve
from evals.errors import NotHeldOutError
from evals.tasks.heldout import held_out, read_record
from tests.conftest import git
from tests.tuning import tiny_gguf
from tuning.formats.adapter import read_pairs
from tuning.formats.hashes import file_hashes
from tuning.merge import Recipe, merge, union
from tuning.scale import at_scale, pick_scale, scale_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("merges") / "home"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def base(home: Path) -> store.BaseModel:
    found = store.find(tiny_gguf.ready_base(home / "tiny.gguf", "F16"))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def parents(base: store.BaseModel) -> dict[str, Any]:
    """Three adapters of one base: two of rank 4, one of rank 9 with rank-stabilized scaling and fewer modules."""
    return {
        "a": tiny_gguf.register("a", base.name, seed=1),
        "b": tiny_gguf.register("b", base.name, seed=2, lora_alpha=20),
        "c": tiny_gguf.register("c", base.name, seed=3, r=9, use_rslora=True, target_modules=["q_proj", "up_proj"]),
    }


def changes(folder: Path) -> dict[str, np.ndarray]:
    """What an adapter adds to each weight."""
    return {pair.module: pair.scaling * pair.b @ pair.a for pair in read_pairs(folder)}


def weighted(parents: dict[str, Any], weights: dict[str, float]) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for name, weight in weights.items():
        for module, change in changes(parents[name].folder).items():
            total[module] = total.get(module, 0) + weight * change
    return total


def test_cat_is_the_exact_weighted_sum_whatever_the_ranks_and_scalings(parents: dict[str, Any]) -> None:
    # The first parent's rank-stabilized scaling must not leak into the result.
    result = merge(["c", "a", "b"], Recipe((1.5, 0.5, 0.25)), "all")
    expected = weighted(parents, {"c": 1.5, "a": 0.5, "b": 0.25})
    folder = result.version.folder
    found = changes(folder)
    assert found.keys() == expected.keys()
    for module, change in expected.items():
        np.testing.assert_allclose(found[module], change, rtol=1e-4, atol=1e-6)
    assert result.proof.holds
    assert result.proof.agreement > 0.95
    assert result.proof.changed > 0.1
    assert resolve("all").name == result.version.id
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["hashes"] == file_hashes(folder)
    names = {"adapter_config.json", "adapter_model.safetensors", "adapter.gguf", "README.md", "card.md"}
    assert set(manifest["hashes"]) == names
    card = (folder / "card.md").read_text("utf-8")
    assert f"- {parents['a'].id}, weight 0.5" in card
    assert "llama.cpp agrees with transformers" in card


def test_svd_is_the_best_approximation_of_its_rank(parents: dict[str, Any]) -> None:
    result = merge(["a", "c"], Recipe((0.5, 0.5), "svd"), "cut")
    pairs = {pair.module: pair for pair in read_pairs(result.version.folder)}
    for module, change in weighted(parents, {"a": 0.5, "c": 0.5}).items():
        singular = np.linalg.svd(change, compute_uv=False)
        rest = math.sqrt(float((singular[9:] ** 2).sum()))
        assert pairs[module].rank == 9
        lost = np.linalg.norm(changes(result.version.folder)[module] - change)
        assert lost == pytest.approx(rest, rel=1e-2, abs=1e-4)


@pytest.mark.slow
def test_a_method_that_draws_numbers_gives_the_same_adapter_for_the_same_seed(parents: dict[str, Any]) -> None:
    recipe = Recipe((0.5, 0.5), "dare_linear", density=0.8, seed=7)
    result = merge(["a", "b"], recipe, "drawn")
    assert result.proof.holds
    assert {pair.rank for pair in read_pairs(result.version.folder)} == {4}
    assert merge(["a", "b"], recipe, "drawn").version.digest == result.version.digest


def test_one_adapter_with_a_weight_is_that_adapter_scaled(parents: dict[str, Any]) -> None:
    result = merge(["b"], Recipe((0.75,)), "softer")
    for module, change in weighted(parents, {"b": 0.75}).items():
        np.testing.assert_allclose(changes(result.version.folder)[module], change, rtol=1e-5, atol=1e-6)
    assert result.version.digest != parents["b"].digest
    proof = result.proof
    assert proof.holds
    assert 0 < proof.merged_difference < 1e-3
    assert proof.reload_difference < 1e-3
    assert proof.quantized_type == "Q8_0"
    assert proof.quantized_difference is not None
    assert abs(proof.quantized_difference) < 0.02
    manifest = json.loads((result.version.folder / "manifest.json").read_text("utf-8"))
    assert manifest["configuration"]["method"] == "scale"
    assert (manifest["parents"][0]["id"], manifest["parents"][0]["weight"]) == (parents["b"].id, 0.75)


def test_what_cannot_be_combined_is_one_line_and_registers_nothing(
    home: Path, base: store.BaseModel, parents: dict[str, Any]
) -> None:
    other = store.find(tiny_gguf.ready_base(home / "other.gguf", "F32"))
    assert other is not None
    stranger = tiny_gguf.register("stranger", other.name, seed=4)
    nameless = tiny_gguf.register("nameless", base.name, seed=5)
    (nameless.folder / "manifest.json").unlink()
    tiny_gguf.register("dora", base.name, seed=6, use_dora=True)
    tiny_gguf.register("patterned", base.name, seed=7, rank_pattern={"q_proj": 2})
    before = Registry().versions()
    half = Recipe((0.5, 0.5))
    for specs, recipe, name, error, said in (
        (["a", "stranger"], half, "x", WrongBase, f"{base.name}.*{stranger.base_digest[:12]}"),
        (["a", "nameless"], half, "x", HoneError, "no readable manifest.json"),
        (["a", "dora"], half, "x", HoneError, "DoRA"),
        (["a", "patterned"], half, "x", HoneError, "ranks that differ by layer"),
        (["a", "b"], Recipe((0.5,)), "x", UsageError, "2 adapters need 2 weights, --weights has 1"),
        (["a", "b"], Recipe((0.5, math.nan)), "x", UsageError, "makes no sense"),
        (["a", "b"], Recipe((0.5, 0.0)), "x", UsageError, "makes no sense"),
        (
            ["a", "c"],
            Recipe((0.5, 0.5), "linear"),
            "x",
            UsageError,
            r"one rank \(a@.* 4, c@.* 9\); choose --method cat or svd",
        ),
        (["a", "b"], Recipe((0.5, 0.5), density=0.5), "x", UsageError, "--density means nothing to cat"),
        (["a", "b"], Recipe((0.5, 0.5), "ties", density=2.0), "x", UsageError, "share of values kept"),
        (["a", "a"], half, "x", UsageError, "named twice"),
        (["a", base.name], half, "x", UsageError, "is a base model"),
        (["a", "nobody"], half, "x", HoneError, "nobody"),
        (["a", "b"], half, "smollm2-135m", UsageError, "name of a base model"),
        (["a", "b"], half, "a/b", UsageError, "cannot be an adapter's name"),
    ):
        with pytest.raises(error, match=said) as raised:
            merge(specs, recipe, name)
        assert "\n" not in str(raised.value)
    assert Registry().versions() == before
    assert not list((home / "adapters").glob(".*.part"))


def corpus(source: dict[str, Any], files: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """A manifest's corpus: path -> (sha256, split)."""
    entries = [
        {"source": 0, "path": path, "sha256": sha256, "bytes": 1, "language": "python", "split": split}
        for path, (sha256, split) in files.items()
    ]
    return {"sources": [source], "files": entries, "dropped": [], "redactions": {"AWS Access Key": 1}}


def splits(joined: dict[str, Any]) -> dict[tuple[int, str], str]:
    return {(file["source"], file["path"]): file["split"] for file in joined["files"]}


HERE = {"path": "/somewhere/shop", "commit": "1" * 40, "remote": None, "dirty": False}
THERE = {"path": "/elsewhere/shop", "commit": "2" * 40, "remote": None, "dirty": False}


def test_the_union_counts_what_any_parent_saw_as_seen() -> None:
    one = corpus(
        HERE, {"a.py": ("s1", "test"), "b.py": ("s2", "train"), "c.py": ("s3", "test"), "d.py": ("s4", "test")}
    )
    two = corpus(HERE, {"a.py": ("s1", "train"), "b.py": ("s2", "test"), "c.py": ("s9", "validation")})
    joined = union([{"corpus": one}, {"corpus": two}])
    assert len(joined["sources"]) == 1
    found = splits(joined)
    assert found[0, "a.py"] == found[0, "b.py"] == "train"
    assert found[0, "c.py"] == "validation"
    assert found[0, "d.py"] == "test"
    assert joined["redactions"] == {"AWS Access Key": 2}


def test_the_union_knows_content_in_other_repositories_and_what_follows_from_it() -> None:
    one = corpus(HERE, {"a.py": ("same", "test"), "b.py": ("mine", "test"), "copy.py": ("old", "test")})
    # The copy was trained on elsewhere; its neighbour at the same path in a later commit of this repository too.
    two = corpus(THERE, {"vendor/a.py": ("same", "train"), "b.py": ("theirs", "train")})
    three = corpus({**HERE, "commit": "3" * 40}, {"b.py": ("old", "train")})
    found = splits(union([{"corpus": one}, {"corpus": two}, {"corpus": three}]))
    assert found[0, "a.py"] == "train"
    assert found[0, "b.py"] == "train"
    assert found[0, "copy.py"] == "train"
    assert found[1, "b.py"] == "train"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.dictionaries(
                st.sampled_from("abcd"),
                st.tuples(st.sampled_from("wxyz"), st.sampled_from(["train", "validation", "test"])),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_nothing_that_the_union_holds_out_was_seen(parts: list[tuple[int, dict[str, tuple[str, str]]]]) -> None:
    sources = [HERE, THERE, {**HERE, "commit": "3" * 40}]
    manifests = [{"corpus": corpus(sources[number], files)} for number, files in parts]
    joined = union(manifests)
    seen = {file["sha256"] for m in manifests for file in m["corpus"]["files"] if file["split"] != "test"}
    here = {0: "/somewhere/shop", 1: "/elsewhere/shop", 2: "/somewhere/shop"}
    seen_paths = {
        (here[number], path) for number, files in parts for path, (_, split) in files.items() if split != "test"
    }
    for file in joined["files"]:
        if file["split"] == "test":
            assert file["sha256"] not in seen
            assert (joined["sources"][file["source"]]["path"], file["path"]) not in seen_paths
    # As evaluation reads it: no content is both held out and seen.
    assert not {f["sha256"] for f in joined["files"] if f["split"] == "test"} & {
        f["sha256"] for f in joined["files"] if f["split"] != "test"
    }
    wanted = {(file["path"], file["sha256"]) for m in manifests for file in m["corpus"]["files"]}
    assert {(file["path"], file["sha256"]) for file in joined["files"]} == wanted


def test_evaluation_refuses_what_one_parent_was_trained_on(base: store.BaseModel, make_repository: Any) -> None:
    import hashlib

    root = make_repository({f"m{number}.py": f"value = {number}\n" for number in range(4)})
    commit = git(root, "rev-parse", "HEAD").strip()
    source = {"path": str(root), "commit": commit, "remote": None, "dirty": False}
    digests = {f"m{number}.py": hashlib.sha256(f"value = {number}\n".encode()).hexdigest() for number in range(4)}

    def tuned(name: str, seed: int, test: set[str]) -> Any:
        files = {path: (digest, "test" if path in test else "train") for path, digest in digests.items()}
        return tiny_gguf.register(name, base.name, seed=seed, corpus=corpus(source, files))

    tuned("left", 11, {"m0.py", "m1.py"})
    tuned("right", 12, {"m1.py", "m2.py"})
    both = merge(["left", "right"], Recipe((0.5, 0.5)), "both").version
    record = read_record(both.id, both.folder / "manifest.json", root)
    # Only what both held out is held out.
    assert [file.path for file in held_out(root, [record]).files] == ["m1.py"]
    rest = tuned("rest", 13, {"m3.py"})
    manifests = [json.loads((version.folder / "manifest.json").read_text("utf-8")) for version in (both, rest)]
    file = both.folder.parent / "none.json"
    file.write_text(json.dumps({"schema_version": 1, "corpus": union(manifests)}))
    with pytest.raises(NotHeldOutError):
        held_out(root, [read_record("none", file, root)])


@given(
    st.dictionaries(
        st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.none() | st.floats(0, 9) | st.just(math.nan), min_size=1
    )
)
def test_the_picked_scale_has_the_lowest_score(scores: dict[float, float | None]) -> None:
    scale, table = pick_scale(scores.__getitem__, tuple(scores))
    assert table.keys() == scores.keys()
    measured = {each: bits for each, bits in scores.items() if bits is not None and not math.isnan(bits)}
    if not measured:
        assert scale == 1.0
    else:
        assert measured[scale] == min(measured.values())
        assert all(other <= scale for other, bits in measured.items() if bits == measured[scale])


def test_a_tried_scale_leaves_the_adapter_as_it_was(base: store.BaseModel, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuning.model import fast

    folder = store.tuning_form(base)
    adapter = tiny_gguf.make_adapter(tmp_path / "adapter", folder)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    fast.speed_up(model)
    tokens = torch.arange(20)[None]

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=tokens, document_lengths=(20,), use_cache=False).logits

    before, weights = logits(), {name: value.clone() for name, value in model.state_dict().items()}
    with at_scale(model, 0.7):
        tried = logits()
    assert torch.equal(logits(), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not torch.allclose(tried, before)
    scale_model(model, 0.7)
    assert torch.equal(logits(), tried)
