"""Teams that share adapters and no code: three adapters of three private corpora, averaged, are better than the base on
each of them."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from assistant.models import store
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from tests.conftest import home_with_models
from tests.tuning import tiny_gguf
from tests.tuning.teams import TEAMS, files
from tuning.archive.read import read
from tuning.archive.write import write
from tuning.manifest import identified
from tuning.merge import Recipe, merge

AVERAGE = Recipe((1 / 3, 1 / 3, 1 / 3))


def train_tiny(team: str, base: store.BaseModel, home: Path) -> AdapterVersion:
    """A small LoRA of the tiny model, really trained on the team's files."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuning.export import gguf_lora

    folder = tiny_gguf.tuning_form(base)
    torch.manual_seed(len(team))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    targets = [module.rpartition(".")[2] for module in tiny_gguf.MODULES]
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings)
    corpus = files(team, 8)
    rows = [torch.tensor(tokenizer(text).input_ids[:256]) for text in corpus.values()]
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    for step in range(24):
        row = rows[step % len(rows)][None]
        model(input_ids=row, labels=row).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    target = home / "adapters" / team
    model.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    gguf_lora(target, json.loads((folder / "config.json").read_text("utf-8")), target / "adapter.gguf")
    code = str(home / "code")
    source = {"kind": "git", "path": code, "root": code, "commit": str(len(team)) * 40, "remote": None}
    listed = [
        {
            "source": 0,
            "path": path,
            "sha256": sha256(text.encode()).hexdigest(),
            "bytes": len(text),
            "split": side,
        }
        for (path, text), side in zip(corpus.items(), ["train"] * 7 + ["test"], strict=True)
    ]
    identity = base_identity(base)
    digest = adapter_digest(target, identity.digest)
    created = "2026-01-01T00:00:00+00:00"
    content = {"corpus": {"sources": [source], "files": listed, "dropped": [], "redactions": {}}}
    told = identified(content, team, digest, created, base.name, identity)
    (target / "manifest.json").write_text(json.dumps(told))
    version = AdapterVersion(team, digest, base.name, identity.digest, target, created, {})
    Registry().register(version)
    return version


def losses(base: store.BaseModel, adapter: Path | None) -> dict[str, float]:
    """Nats per token on files of each team that nobody was trained on."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = store.tuning_form(base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    found = {}
    with torch.no_grad():
        for team in TEAMS:
            rows = [torch.tensor([tokenizer(text).input_ids[:256]]) for text in files(team, 2, first=500).values()]
            found[team] = sum(float(model(input_ids=row, labels=row).loss) for row in rows) / len(rows)
    return found


def test_adapters_of_three_teams_average_to_one_that_serves_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tiny_gguf.write_base(tmp_path / "tiny.gguf", "F16")
    archives = []
    (tmp_path / "models").mkdir()
    for team in TEAMS:
        home = home_with_models(tmp_path / team, tmp_path / "models")
        monkeypatch.setenv("HONE_HOME", str(home))
        base = store.find(str(original))
        assert base is not None
        train_tiny(team, base, home)
        archives.append(write(team, tmp_path / f"{team}.tar", counts_only=True).path)
    monkeypatch.setenv("HONE_HOME", str(home_with_models(tmp_path / "shared", tmp_path / "models")))
    crossed = b"".join(archive.read_bytes() for archive in archives)
    for team in TEAMS:
        for path, text in files(team, 8).items():
            assert Path(path).stem.encode() not in crossed
            for line in text.splitlines():
                assert len(line) < 30 or line.strip().encode() not in crossed
    taken = [read(archive, base_spec=str(original)).version for archive in archives]
    base = store.find(str(original))
    assert base is not None
    joined = merge([version.id for version in taken], AVERAGE, "everyone").version
    before, after = losses(base, None), losses(base, joined.folder)
    assert all(after[team] < before[team] for team in TEAMS), (before, after)
    # Each on its own is a specialist; together they know all three.
    alone = {version.name: losses(base, version.folder) for version in taken}
    assert all(alone[team][team] < before[team] for team in TEAMS), (before, alone)
    manifest = json.loads((joined.folder / "manifest.json").read_text("utf-8"))
    assert len(manifest["corpus"]["files"]) == 24
    assert len({source["path"] for source in manifest["corpus"]["sources"]}) == 3, "each team has a corpus of its own"


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(3000)
def test_the_embedded_model_learns_three_private_corpora_by_averaging(
    tmp_path: Path, embedded_store: Path, make_repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.ground import Watcher
    from tuning.plan import CorpusOptions, LoraOptions, Plan
    from tuning.run import tune

    roots = {team: make_repository(files(team, 60), name=team) for team in TEAMS}
    archives = []
    for team, root in roots.items():
        monkeypatch.setenv("HONE_HOME", str(home_with_models(tmp_path / f"home-{team}", embedded_store)))
        plan = Plan(
            steps=10,
            row_length=256,
            checks=1,
            lora=LoraOptions(rank=8),
            corpus=CorpusOptions(sources=(str(root),)),
        )
        tuned = tune(team, "smollm2-135m", plan, Watcher(note=print, progress=lambda _: None))
        assert tuned is not None
        archives.append(write(team, tmp_path / f"{team}.tar").path)
    monkeypatch.setenv("HONE_HOME", str(home_with_models(tmp_path / "home-shared", embedded_store)))
    taken = [read(archive).version for archive in archives]
    joined = merge([version.id for version in taken], AVERAGE, "everyone").version
    before, after = _bits(None, taken, roots), _bits(joined.folder, taken, roots)
    assert all(after[team] < before[team] for team in TEAMS), (before, after)


def _bits(adapter: Path | None, teams: Sequence[AdapterVersion], roots: dict[str, Path]) -> dict[str, float]:
    """Bits per byte of what each team's run held out, read from the manifest that came with its archive."""
    from evals import bits
    from evals.tasks.heldout import held_out, read_record

    base = store.find("smollm2-135m")
    assert base is not None
    scorer, tokenizer, end = bits.load(store.tuning_form(base), adapter)
    found = {}
    for version in teams:
        root = roots[version.name]
        record = read_record(version.id, version.folder / "manifest.json", root)
        texts = bits.sample(held_out(root, [record]).files, 6000, seed=0)
        scored = [one for text in texts if (one := bits.file_bits(text, scorer, tokenizer, end)) is not None]
        found[version.name] = sum(one.bits for one in scored) / sum(one.bytes for one in scored)
    return found
