"""Adapters combined into one, or one scaled: teams share adapters without sharing code.

The result is an adapter version like a tuned one: exported, proven in a fresh process and registered. Its manifest has
its parents, their weights, and every file that a parent saw, so that no evaluation takes for held out what one of them
was trained on.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from assistant.errors import HoneError, UsageError, WrongBase
from assistant.models import store
from assistant.models.catalogue import CATALOGUE
from assistant.models.peft_files import read_configuration
from assistant.models.registry import AdapterVersion, Registry, check_name
from assistant.models.resolve import resolve
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress
from tuning.proof import Proof

Method = Literal[
    "cat",
    "svd",
    "linear",
    "ties",
    "ties_svd",
    "dare_linear",
    "dare_linear_svd",
    "dare_ties",
    "dare_ties_svd",
    "magnitude_prune",
    "magnitude_prune_svd",
]
METHODS: tuple[str, ...] = get_args(Method)
_ONE_RANK = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
_WITH_DENSITY = tuple(method for method in METHODS if method not in ("cat", "svd", "linear"))
DENSITY = 0.5
"""Share of the values that the pruning methods keep, where none is given."""


@dataclass(frozen=True)
class Recipe:
    """How parents become one adapter."""

    weights: tuple[float, ...]
    method: Method = "cat"
    """`cat` is the exact weighted sum, its rank the sum of the ranks. `svd` is that sum cut to the largest rank.
    `linear` mixes A and B apart, which is a rough approximation (peft's own words) but keeps the rank."""
    density: float | None = None
    seed: int = 0
    """Of what DARE drops."""


@dataclass(frozen=True)
class Result:
    version: AdapterVersion
    proof: Proof
    text: str
    """What the proof was computed on."""


def merge(
    specs: Sequence[str],
    recipe: Recipe,
    name: str,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Result:
    """Registers a new version of `name`: `specs` combined, or, when there is one, scaled by its weight.

    Raises:
        UsageError: a malformed name or recipe.
        WrongBase: the adapters are of different bases.
        HoneError: a parent that nobody can say what it was trained on, one that cannot be combined, a full disk, or a
            result that does not compute what was combined; nothing is registered then.
    """
    _check(specs, recipe, name)
    served = [resolve(spec, progress=progress) for spec in specs]
    parents = [model.adapter for model in served if model.adapter is not None]
    if len(parents) < len(served):
        base_name = next(model.asked for model in served if model.adapter is None)
        raise UsageError(f"{base_name} is a base model; name adapters to combine (see `hone models`)")
    first = parents[0]
    for parent in parents[1:]:
        if parent.base_digest != first.base_digest:
            raise WrongBase(
                f"{first.id} is of base {first.base_digest[:12]} ({first.base_name}), {parent.id} of "
                f"{parent.base_digest[:12]} ({parent.base_name}); only adapters of one base can be combined"
            )
    if len({parent.id for parent in parents}) < len(parents):
        raise UsageError("an adapter is named twice; add its weights up instead")
    manifests = [_manifest_of(parent) for parent in parents]
    _check_parents(parents, recipe)
    base = served[0].base
    if base.gguf is None:
        raise HoneError(f"{base.name} has no GGUF form, so a combined adapter could not be proven and served here")
    folder = store.tuning_form(base, progress)
    note(f"{'scaling' if len(parents) == 1 else 'combining'} {', '.join(parent.id for parent in parents)}")
    return _build(parents, manifests, recipe, name, base, folder, note)


def _check(specs: Sequence[str], recipe: Recipe, name: str) -> None:
    check_name(name, "an adapter's name")
    if name in CATALOGUE or name in Registry().aliases():
        raise UsageError(f"{name} is the name of a base model or alias; choose another --name")
    if len(recipe.weights) != len(specs):
        raise UsageError(f"{len(specs)} adapters need {len(specs)} weights, --weights has {len(recipe.weights)}")
    bad = [weight for weight in recipe.weights if not (0 < abs(weight) <= 10)]
    if bad:
        raise UsageError(
            f"a weight of {bad[0]:g} makes no sense; give numbers between 0 and 10 (negative ones subtract)"
        )
    if recipe.method not in METHODS:
        raise UsageError(f"{recipe.method} is no method; there are {', '.join(METHODS)}")
    if recipe.density is not None:
        if recipe.method not in _WITH_DENSITY:
            raise UsageError(f"--density means nothing to {recipe.method}; leave it out")
        if not 0 < recipe.density <= 1:
            raise UsageError(f"--density is the share of values kept, above 0 and at most 1, not {recipe.density:g}")


def _check_parents(parents: Sequence[AdapterVersion], recipe: Recipe) -> None:
    configurations = [read_configuration(parent.folder) for parent in parents]
    for parent, configuration in zip(parents, configurations, strict=True):
        if configuration.get("use_dora"):
            raise HoneError(f"{parent.id} is a DoRA adapter, which can be neither combined nor scaled; use it whole")
        if len(parents) > 1 and configuration.get("rank_pattern"):
            raise HoneError(f"{parent.id} has ranks that differ by layer, which peft cannot combine; leave it out")
    ranks = {parent.id: configuration["r"] for parent, configuration in zip(parents, configurations, strict=True)}
    if len(parents) > 1 and recipe.method in _ONE_RANK and len(set(ranks.values())) > 1:
        listed = ", ".join(f"{parent} {rank}" for parent, rank in ranks.items())
        raise UsageError(f"{recipe.method} needs adapters of one rank ({listed}); choose --method cat or svd")


def _manifest_of(version: AdapterVersion) -> dict[str, Any]:
    file = version.folder / "manifest.json"
    try:
        loaded = json.loads(file.read_text("utf-8"))
        if loaded["schema_version"] != 1 or not isinstance(loaded["corpus"]["files"], list):
            raise ValueError("another schema")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HoneError(
            f"{version.id} has no readable manifest.json, so nobody could tell what the result was trained on"
        ) from error
    return dict(loaded)


def _build(
    parents: Sequence[AdapterVersion],
    manifests: Sequence[dict[str, Any]],
    recipe: Recipe,
    name: str,
    base: BaseModel,
    folder: Path,
    note: Callable[[str], None],
) -> Result:
    import torch

    from tuning import publish
    from tuning.model.load import load_tokenizer
    from tuning.passages import passages
    from tuning.proof import picks_and_scores, prove

    assert base.gguf is not None
    corpus = union(manifests)
    text = passages({"corpus": corpus}, load_tokenizer(folder))
    with publish.staged(name) as staging:
        model = _combined(parents, recipe, folder, staging)
        _, expected = picks_and_scores(model.eval(), text.tokens, frozenset())
        del model
        publish.complete(staging, folder, base.name)
        note("comparing transformers with llama.cpp in a fresh process")
        proof = prove(folder, base.gguf, staging, text.tokens, expected, str(torch.float32).removeprefix("torch."))
        publish.refuse_bad(proof, "combined")
        content = _content(staging, parents, recipe, corpus, proof, text.source)
        figures = {
            "method": content["configuration"]["method"],
            "parents": [f"{parent['id']} x {parent['weight']:g}" for parent in content["parents"]],
            **{f"proof_{key}": value for key, value in asdict(proof).items()},
        }
        version = publish.publish(staging, name, base, content, figures)
    return Result(version, proof, text.source)


def _combined(parents: Sequence[AdapterVersion], recipe: Recipe, base_folder: Path, target: Path) -> Any:
    """Writes the combined adapter's two files into `target`; returns the peft model that computes it."""
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError

    from tuning.model.load import load_base
    from tuning.scale import scaled

    base = load_base(base_folder, torch.float32)
    if len(parents) == 1:
        scaled(parents[0].folder, recipe.weights[0], target)
        return PeftModel.from_pretrained(base, target)
    names = [f"parent{number}" for number in range(len(parents))]
    model = PeftModel.from_pretrained(base, parents[0].folder, adapter_name=names[0])
    for parent, adapter in zip(parents[1:], names[1:], strict=True):
        model.load_adapter(parent.folder, adapter_name=adapter)
    torch.manual_seed(recipe.seed)
    density = (recipe.density or DENSITY) if recipe.method in _WITH_DENSITY else None
    with _plain_start(model, names[0]):
        model.add_weighted_adapter(
            names,
            list(recipe.weights),
            adapter_name="default",
            combination_type=recipe.method,
            density=density,
            svd_full_matrices=False,
        )
    model.set_adapter("default")
    try:
        model.save_pretrained(str(target), selected_adapters=["default"], safe_serialization=True)
    except SafetensorError as error:
        raise OSError(28, str(error)) from error
    # peft's own card says nothing; ours is written later.
    (target / "README.md").unlink(missing_ok=True)
    return model


@contextmanager
def _plain_start(model: Any, first: str) -> Any:
    """Lets the new adapter, whose configuration peft copies from the first parent's, begin as a plain LoRA.

    peft puts every scaling into the combined weights and then sets alpha to the rank: with rank-stabilized scaling
    that would be the square root of the rank, not 1. Other starts (PiSSA and the like) would change the base.
    """
    configuration = model.peft_config[first]
    before = configuration.use_rslora, configuration.init_lora_weights
    configuration.use_rslora, configuration.init_lora_weights = False, True
    try:
        yield
    finally:
        configuration.use_rslora, configuration.init_lora_weights = before


def union(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The corpora of several adapters as one, in a manifest's form.

    A file that one of them was trained on counts as trained on, one that another validated on as validation: by its
    path in the same repository (the same folder, commit or remote), and by its content anywhere.
    """
    sources: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    for manifest in manifests:
        corpus = manifest["corpus"]
        numbers = []
        for source in corpus["sources"]:
            if source not in sources:
                sources.append(dict(source))
            numbers.append(sources.index(source))
        files += [{**file, "source": numbers[file["source"]]} for file in corpus["files"]]
    groups = _repositories(sources)
    # What is found by path marks its content, and that other paths, until nothing changes.
    while True:
        worst: dict[Any, str] = {}
        for file in files:
            for key in _keys(file, groups):
                worst[key] = min(worst.get(key, "test"), file["split"], key=_rank)
        marked = [{**file, "split": min((worst[key] for key in _keys(file, groups)), key=_rank)} for file in files]
        if marked == files:
            break
        files = marked
    unique = {(file["source"], file["path"], file["sha256"]): file for file in files}
    redactions: dict[str, int] = {}
    for manifest in manifests:
        for kind, count in manifest["corpus"].get("redactions", {}).items():
            if isinstance(count, int):
                redactions[kind] = redactions.get(kind, 0) + count
    return {"sources": sources, "files": list(unique.values()), "dropped": [], "redactions": redactions}


def _rank(split: str) -> int:
    """The lower, the more an adapter saw; a split of another name counts as trained on."""
    return {"train": 0, "validation": 1, "test": 2}.get(split, 0)


def _keys(file: Mapping[str, Any], groups: Sequence[int]) -> tuple[Any, Any]:
    return (groups[file["source"]], file["path"]), file["sha256"]


def _repositories(sources: Sequence[Mapping[str, Any]]) -> list[int]:
    """A number for each source, the same for those that are copies of one repository."""
    groups: list[int] = []
    seen: dict[tuple[str, str], int] = {}
    for number, source in enumerate(sources):
        marks = [(key, str(source[key])) for key in ("path", "commit", "remote") if source.get(key)]
        known = {seen[mark] for mark in marks if mark in seen}
        group = min(known, default=number)
        groups = [group if each in known else each for each in [*groups, group]]
        seen = {mark: group if each in known else each for mark, each in seen.items()}
        seen.update(dict.fromkeys(marks, group))
    return groups


def _content(
    staging: Path,
    parents: Sequence[AdapterVersion],
    recipe: Recipe,
    corpus: Mapping[str, Any],
    proof: Proof,
    text: str,
) -> dict[str, Any]:
    """What the manifest says beside identities."""
    from tuning.manifest import versions

    configuration = read_configuration(staging)
    return {
        "parents": [
            {"id": parent.id, "name": parent.name, "digest": parent.digest, "weight": weight}
            for parent, weight in zip(parents, recipe.weights, strict=True)
        ],
        "corpus": corpus,
        "configuration": {
            "method": "scale" if len(parents) == 1 else recipe.method,
            "density": recipe.density or (DENSITY if recipe.method in _WITH_DENSITY else None),
            "seed": recipe.seed,
            "rank": configuration["r"],
            "alpha": configuration["lora_alpha"],
            "dtype": "float32",
        },
        "versions": versions(),
        "proof": {**asdict(proof), "compared_on": text},
    }
