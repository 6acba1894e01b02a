"""Which model an adapter belongs to, and that nothing else is served with it."""

import json
import os
from pathlib import Path

import pytest

from assistant.errors import HoneError, UnknownModel, WrongBase
from assistant.models import store
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.resolve import resolve
from tests.small_models import folder_files, write_adapter, write_folder, write_gguf

BASE = "b" * 64


def tuned(home: Path, base: Path, name: str = "mine", seed: int = 0) -> AdapterVersion:
    """A registered adapter on `base`."""
    base_digest = base_identity(store.fetch(str(base))).digest
    adapter = write_adapter(home / "adapters" / name / str(seed), seed)
    digest = adapter_digest(adapter, base_digest)
    version = AdapterVersion(name, digest, str(base), base_digest, adapter, "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    return version


def test_a_base_is_its_weights_tokenizer_and_template(hone_home: Path, tmp_path: Path) -> None:
    first = base_identity(store.fetch(str(write_folder(tmp_path / "first"))))
    assert first == base_identity(store.fetch(str(write_folder(tmp_path / "same"))))
    weights = base_identity(store.fetch(str(write_folder(tmp_path / "weights", seed=1))))
    assert (weights.tokenizer, weights.template) == (first.tokenizer, first.template)
    assert len({weights.weights, first.weights}) == 2
    for file, content, part in (
        ("tokenizer.json", b"{}", "tokenizer"),
        ("chat_template.jinja", b"other", "template"),
        ("config.json", b'{"rope_theta": 1}', "weights"),
    ):
        changed = write_folder(tmp_path / part)
        (changed / file).write_bytes(content)
        identity = base_identity(store.BaseModel(str(changed), None, changed, None, 1024))
        assert {
            field for field in ("weights", "tokenizer", "template") if getattr(identity, field) != getattr(first, field)
        } == {part}
        assert identity.digest != first.digest


def test_what_does_not_change_the_function_does_not_change_the_base(hone_home: Path, tmp_path: Path) -> None:
    first = base_identity(store.fetch(str(write_folder(tmp_path / "first"))))
    noted = write_folder(tmp_path / "noted", transformers_version="9.9", _name_or_path="/somewhere")
    assert base_identity(store.fetch(str(noted))) == first


def test_a_changed_file_is_hashed_again(hone_home: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "x.gguf")
    long_ago = 1_600_000_000
    os.utime(gguf, (long_ago, long_ago))
    first = base_identity(store.fetch(str(gguf)))
    assert "x.gguf" in (hone_home / "digests.json").read_text()
    write_gguf(gguf, seed=1)
    assert base_identity(store.fetch(str(gguf))).weights != first.weights


def test_a_remembered_digest_is_not_computed_again(hone_home: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "x.gguf")
    os.utime(gguf, (1_600_000_000, 1_600_000_000))
    first = base_identity(store.fetch(str(gguf)))
    # Same size and time: only a file that is not read again can hide this.
    data = bytearray(gguf.read_bytes())
    data[-1] ^= 1
    gguf.write_bytes(data)
    os.utime(gguf, (1_600_000_000, 1_600_000_000))
    assert base_identity(store.fetch(str(gguf))) == first
    (hone_home / "digests.json").write_text("{ damaged")
    assert base_identity(store.fetch(str(gguf))).weights != first.weights


def test_an_adapter_is_its_weights_what_they_mean_and_its_base(hone_home: Path, tmp_path: Path) -> None:
    first = adapter_digest(write_adapter(tmp_path / "first"), BASE)
    reordered = write_adapter(tmp_path / "order", target_modules=["v_proj", "q_proj"], base_model_name_or_path="/x")
    assert adapter_digest(reordered, BASE) == first
    others = [
        adapter_digest(write_adapter(tmp_path / "weights", seed=1), BASE),
        adapter_digest(write_adapter(tmp_path / "alpha", lora_alpha=8), BASE),
        adapter_digest(write_adapter(tmp_path / "first"), "c" * 64),
    ]
    assert len({first, *others}) == 4


def test_half_an_adapter_has_no_digest(hone_home: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "half")
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(HoneError, match="not a whole adapter"):
        adapter_digest(adapter, BASE)


def test_resolves_base_adapter_version_and_alias(hone_home: Path, tmp_path: Path) -> None:
    base = write_folder(tmp_path / "base")
    old, new = tuned(hone_home, base, seed=0), tuned(hone_home, base, seed=1)
    Registry().promote(old.id)
    assert resolve(str(base)).adapter is None
    assert resolve(str(base)).name == str(base)
    assert resolve("mine").adapter == new
    assert resolve(f"mine@{old.digest[:8]}").adapter == old
    served = resolve("champion")
    assert (served.asked, served.name, served.base.folder) == ("champion", old.id, base)


def test_an_adapter_on_another_base_is_refused_with_both_digests(hone_home: Path, tmp_path: Path) -> None:
    base = write_folder(tmp_path / "base")
    version = tuned(hone_home, base)
    (base / "model.safetensors").write_bytes(folder_files(seed=5)["model.safetensors"])
    now = base_identity(store.fetch(str(base))).digest
    with pytest.raises(WrongBase) as raised:
        resolve("mine")
    assert version.base_digest[:12] in str(raised.value)
    assert now[:12] in str(raised.value)


def test_an_adapter_whose_files_were_changed_is_refused(hone_home: Path, tmp_path: Path) -> None:
    version = tuned(hone_home, write_folder(tmp_path / "base"))
    configuration = version.folder / "adapter_config.json"
    configuration.write_text(json.dumps({**json.loads(configuration.read_text()), "lora_alpha": 400}))
    with pytest.raises(HoneError, match="were changed"):
        resolve("mine")


def test_near_names_are_suggested(hone_home: Path, tmp_path: Path) -> None:
    tuned(hone_home, write_folder(tmp_path / "base"), name="parser-style")
    with pytest.raises(UnknownModel, match="did you mean parser-style"):
        resolve("parserstyle")
    with pytest.raises(UnknownModel, match="did you mean smollm2-135m"):
        resolve("smolm2-135m")
    with pytest.raises(UnknownModel, match="`hone models` lists"):
        resolve("xyzzy")


def test_nothing_is_fetched_unless_allowed(hone_home: Path) -> None:
    with pytest.raises(UnknownModel, match=r"hone models pull qwen2\.5-coder-7b"):
        resolve("qwen2.5-coder-7b", fetch_missing=False)
