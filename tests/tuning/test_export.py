"""Exports of an adapter: what is written computes what was tuned, or nothing is written."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError, UsageError
from assistant.models import store
from assistant.models.gguf_write import Kind, type_of
from tests.tuning import tiny_gguf
from tuning.export import gguf_lora, layout_of, permuted
from tuning.formats import merged_gguf, write
from tuning.formats.adapter import merged_weight, read_pairs
from tuning.formats.hashes import file_hashes
from tuning.formats.merged_gguf import pairs_by_tensor, stored_types, write_merged
from tuning.formats.modelfile import modelfile, recognize
from tuning.formats.proof import ExportProof, prove_exports
from tuning.passages import standard_library


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("exports") / "home"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def base(home: Path) -> store.BaseModel:
    """A tiny GGUF base whose linear layers are stored as Q8_0, but those whose rows are no multiple of 32 long."""
    found = store.find(str(tiny_gguf.write_base(home / "tiny.gguf", "Q8_0", intermediate_size=80)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def version(base: store.BaseModel) -> Any:
    return tiny_gguf.register("mine", base.name)


@pytest.fixture(scope="module")
def passages(base: store.BaseModel) -> tuple[tuple[int, ...], ...]:
    from tuning.model.load import load_tokenizer

    return tuple(passage[:100] for passage in standard_library(load_tokenizer(store.tuning_form(base))))


@pytest.fixture(scope="module")
def exported(version: Any, tmp_path_factory: pytest.TempPathFactory) -> write.Result:
    return write.export("mine", write.FORMATS, tmp_path_factory.mktemp("out") / "all")


def test_every_format_is_loaded_again_and_computes_what_was_tuned(exported: write.Result) -> None:
    proofs = {each.format: each.proof for each in exported.exports}
    assert set(proofs) == set(write.FORMATS)
    assert proofs["peft"].difference == 0
    assert proofs["safetensors"].difference is not None
    assert 0 < proofs["safetensors"].difference < 1e-3
    for name in ("gguf-lora", "gguf-f16"):
        agreement, bare = proofs[name].agreement, proofs[name].base_agreement
        assert agreement is not None
        assert bare is not None
        assert min(agreement, bare) > 0.9, name
    for name in ("gguf-f16", "gguf-q8_0", "gguf-q4_1"):
        difference, weights = proofs[name].bits_difference, proofs[name].weights_difference
        assert difference is not None
        assert weights is not None
        assert abs(difference) < 0.02, name
        assert weights < 1e-4, name
    assert exported.text == "standard library"


def test_the_folder_says_what_is_in_it(exported: write.Result, version: Any) -> None:
    manifest = json.loads((exported.folder / "export.json").read_text("utf-8"))
    assert manifest["adapter"] == version.id
    assert manifest["files"] == file_hashes(exported.folder, leave_out=("export.json",))
    assert [each["format"] for each in manifest["exports"]] == list(write.FORMATS)
    for each in manifest["exports"]:
        assert (exported.folder / each["path"]).exists()
        assert each["proof"]["positions"] >= 300
    assert {path.name for path in exported.folder.iterdir()} == {*write.FORMATS, "export.json"}
    configuration = json.loads((exported.folder / "peft" / "adapter_config.json").read_text("utf-8"))
    assert configuration["base_model_name_or_path"] == "tiny.gguf"
    notes = {each.format: each.notes for each in exported.exports}
    assert notes["gguf-f16"] == ()
    assert "3 tensors are stored as F16, since their rows do not divide into blocks of 32" in notes["gguf-q4_1"][0]
    assert "blk.0.ffn_down.weight" in notes["gguf-q4_1"][0]
    stem = f"mine-{version.digest[:12]}"
    for name, kind in (("gguf-f16", "f16"), ("gguf-q8_0", "q8_0"), ("gguf-q4_1", "q4_1")):
        assert {path.name for path in (exported.folder / name).iterdir()} == {f"{stem}-{kind}.gguf", "Modelfile"}
        assert f"FROM ./{stem}-{kind}.gguf\n" in (exported.folder / name / "Modelfile").read_text("utf-8")


def test_a_merged_gguf_has_the_types_of_its_name_and_the_metadata_of_its_base(
    exported: write.Result, base: store.BaseModel, version: Any
) -> None:
    assert base.gguf is not None
    before = gguf.GGUFReader(base.gguf)
    for name, kind, number in (("gguf-f16", "F16", 1), ("gguf-q8_0", "Q8_0", 7), ("gguf-q4_1", "Q4_1", 3)):
        (file,) = (exported.folder / name).glob("*.gguf")
        types = stored_types(file)
        assert {types[f"blk.{layer}.{module}.weight"] for layer in range(3) for module in ("attn_q", "ffn_up")} == {
            kind
        }
        assert types["blk.0.ffn_down.weight"] == "F16"
        assert types["output_norm.weight"] == "F32"
        assert types["token_embd.weight"] == ("F16" if kind == "F16" else "Q8_0")
        after = gguf.GGUFReader(file)
        assert after.fields["general.file_type"].contents() == number
        assert after.fields["general.name"].contents() == version.id
        changed = {"general.file_type", "general.name", "general.quantization_version"}
        for key, field in before.fields.items():
            if not key.startswith("GGUF.") and key not in changed:
                assert after.fields[key].contents() == field.contents(), key
                assert after.fields[key].types == field.types, key


def test_the_merged_folder_is_a_model_with_tied_embeddings_and_a_tokenizer(
    exported: write.Result, base: store.BaseModel
) -> None:
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = exported.folder / "safetensors"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    with safe_open(folder / "model.safetensors", "np") as opened:
        assert not [name for name in opened.keys() if "lora" in name or name.startswith("lm_head")]  # noqa: SIM118
    tokenizer, original = (AutoTokenizer.from_pretrained(path) for path in (folder, store.tuning_form(base)))
    assert tokenizer.chat_template == original.chat_template
    assert tokenizer("def area(width):").input_ids == original("def area(width):").input_ids
    assert store.find(str(folder)) is not None


def test_q_and_k_left_in_transformers_order_do_not_pass(
    version: Any, base: store.BaseModel, passages: Any, tmp_path: Path
) -> None:
    assert base.gguf is not None
    folder = store.tuning_form(base)
    layout, pairs = pairs_by_tensor(version.folder, folder, permute=False)
    exports = {}
    kinds: tuple[Kind, ...] = ("F16", "Q8_0", "Q4_1")
    for kind in kinds:
        exports[f"gguf-{kind.lower()}"] = tmp_path / f"{kind}.gguf"
        write_merged(base.gguf, pairs, layout, kind, tmp_path / f"{kind}.gguf", "wrong")
    proofs = prove_exports(folder, base.gguf, version.folder, passages, exports)
    assert [proof.format for proof in proofs] == list(exports)
    for proof in proofs:
        assert not proof.holds
        assert proof.weights_difference is not None
        assert proof.weights_difference > 0.01
    assert proofs[0].agreement is not None
    assert proofs[0].base_agreement is not None
    assert proofs[0].agreement < proofs[0].base_agreement - 0.05


def test_a_bad_export_is_refused_with_its_figures_and_leaves_nothing(
    version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(weight: Any, pair: Any) -> Any:
        return (weight + merged_weight(weight, pair)) / 2

    monkeypatch.setattr(merged_gguf, "merged_weight", half)
    with pytest.raises(HoneError, match=r"gguf-f16 export of mine@.* does not compute what was tuned.*bits per byte"):
        write.export("mine", ["gguf-f16"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_rounding_that_costs_too_much_is_told_from_a_wrong_merge() -> None:
    # Measured on the embedded model, tuned on a real repository.
    measured = ExportProof(
        "gguf-q4_1",
        positions=500,
        agreement=0.638,
        base_agreement=0.956,
        bits_per_byte=0.961,
        unmerged_bits_per_byte=0.7004,
        base_bits_per_byte=1.0346,
        weights_difference=0.0,
    )
    assert "+37.21% against the adapter (bare base 1.035)" in measured.describe()
    for changed, computes, holds in (
        ({}, True, True),
        # No better than the base that nobody tuned.
        ({"base_bits_per_byte": 0.96}, True, False),
        ({"base_bits_per_byte": 0.96, "bits_per_byte": 0.72}, True, True),
        ({"weights_difference": 0.02}, False, False),
        # Eight bits cost next to nothing, so what costs more is wrong.
        ({"format": "gguf-q8_0"}, True, False),
        ({"format": "gguf-f16"}, False, False),
    ):
        proof = replace(measured, **changed)
        assert (proof.computes_what_was_tuned, proof.holds) == (computes, holds), changed


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 3))
def test_the_order_of_q_and_k_is_llamacpps(heads: int, half: int, columns: int) -> None:
    rows = np.arange(heads * half * 2 * columns).reshape(-1, columns)
    assert np.array_equal(permuted(rows, heads), tiny_gguf.interleaved(rows, heads))


@given(
    st.lists(st.integers(1, 4096), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["F16", "Q8_0", "Q4_1"]),
    st.sampled_from(["token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.0.attn_norm.weight"]),
)
def test_every_tensor_gets_a_type_that_its_rows_fit(shape: tuple[int, ...], kind: Any, name: str) -> None:
    stored = type_of(name, shape, kind)
    block, _ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[stored]]
    assert shape[-1] % block == 0
    assert (stored == "F32") == (len(shape) == 1 or name.endswith("_norm.weight"))


def test_whatever_peft_scales_by_is_in_the_gguf(base: store.BaseModel, passages: Any, tmp_path: Path) -> None:
    assert base.gguf is not None
    folder = store.tuning_form(base)
    adapter = tiny_gguf.make_adapter(
        tmp_path / "adapter",
        folder,
        r=9,
        lora_alpha=5,
        use_rslora=True,
        rank_pattern={"q_proj": 6, "down_proj": 2},
        alpha_pattern={"q_proj": 3, "layers.1.mlp.up_proj": 20},
        target_modules=["q_proj", "k_proj", "up_proj", "down_proj"],
    )
    layout, pairs = pairs_by_tensor(adapter, folder)
    assert {pair.rank for pair in pairs.values()} == {9, 6, 2}
    assert len({pair.scaling for pair in pairs.values()}) == 4
    write_merged(base.gguf, pairs, layout, "F16", tmp_path / "merged.gguf", "merged")
    exports = {"gguf-lora": adapter / "adapter.gguf", "gguf-f16": tmp_path / "merged.gguf"}
    proofs = prove_exports(folder, base.gguf, adapter, passages, exports)
    assert [proof.holds for proof in proofs] == [True, True], [proof.describe() for proof in proofs]
    assert all(proof.agreement is not None and proof.agreement > 0.9 for proof in proofs)


def test_dora_goes_into_a_merged_gguf_and_not_into_a_lora(base: store.BaseModel, passages: Any, tmp_path: Path) -> None:
    assert base.gguf is not None
    folder = store.tuning_form(base)
    adapter = tiny_gguf.make_adapter(tmp_path / "adapter", folder, use_dora=True)
    configuration = json.loads((folder / "config.json").read_text("utf-8"))
    with pytest.raises(HoneError, match="DoRA"):
        gguf_lora(adapter, configuration, tmp_path / "adapter.gguf")
    assert not (tmp_path / "adapter.gguf").exists()
    layout, pairs = pairs_by_tensor(adapter, folder)
    write_merged(base.gguf, pairs, layout, "Q8_0", tmp_path / "merged.gguf", "merged")
    (proof,) = prove_exports(folder, base.gguf, adapter, passages, {"gguf-q8_0": tmp_path / "merged.gguf"})
    assert proof.holds, proof.describe()


def test_an_adapter_of_embeddings_is_refused_by_the_gguf_formats(base: store.BaseModel, tmp_path: Path) -> None:
    folder = store.tuning_form(base)
    adapter = tmp_path / "adapter"
    shutil.copytree(tiny_gguf.make_adapter(tmp_path / "plain", folder), adapter)
    from safetensors.numpy import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.model.embed_tokens.lora_embedding_A"] = np.zeros((4, 400), np.float32)
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(HoneError, match="1 tensors of the adapter are not LoRA pairs"):
        read_pairs(adapter)
    with pytest.raises(HoneError, match="no GGUF export for gpt2 models"):
        layout_of({"model_type": "gpt2", "num_hidden_layers": 1, "num_attention_heads": 1})


def test_what_cannot_be_exported_is_one_line(version: Any, base: store.BaseModel, tmp_path: Path) -> None:
    for formats, spec, out, error, said in (
        ((), "mine", "new", UsageError, "say what to export to"),
        (("onnx",), "mine", "new", UsageError, "onnx is no export format; there are peft, vllm, gguf-lora"),
        (("peft",), base.name, "new", UsageError, "is a base model"),
        (("peft",), "mine", ".", HoneError, "exists already and is not overwritten"),
        (("peft",), "mine", "a/b", HoneError, "does not exist; make it first"),
    ):
        with pytest.raises(error, match=said) as raised:
            write.export(spec, formats, tmp_path / out)
        assert "\n" not in str(raised.value)
    # A base that has safetensors only.
    folder = tmp_path / "folder"
    shutil.copytree(store.tuning_form(base), folder)
    tiny_gguf.register("unquantized", str(folder))
    with pytest.raises(HoneError, match="has no GGUF, and gguf-f16 is made from the base's own"):
        write.export("unquantized", ["peft", "gguf-f16"], tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"folder"}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small tmpfs needs root")
def test_a_full_disk_leaves_nothing(version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(HoneError, match="not enough disk space"):
            write.export("mine", ["safetensors"], disk / "out")
        # Whoever else writes to the disk meanwhile takes the space that was there at first.
        monkeypatch.setattr(write, "_require_space", lambda *_: None)
        for formats in (["safetensors"], ["gguf-f16"]):
            with pytest.raises(HoneError, match=r"the disk of .* is full; nothing was left there"):
                write.export("mine", formats, disk / "out")
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe \"brief\".<|im_end|>\n' }}{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "begin", "name", "system"),
    [
        (CHATML, "", "ChatML", ""),
        (CHATML, "<|im_start|>", "ChatML", ""),
        (WITH_SYSTEM, "<|im_start|>", "ChatML", 'Be "brief".'),
        (LLAMA3, "<|begin_of_text|>", "Llama 3", ""),
        (GEMMA, "<bos>", "Gemma", ""),
    ],
)
def test_chat_templates_are_translated_when_they_render_alike(
    template: str, begin: str, name: str, system: str
) -> None:
    found = recognize(template, begin, "</s>")
    assert found is not None
    assert (found.format.name, found.default_system) == (name, system)
    text = modelfile("model.gguf", template, begin, "</s>", "mit")
    assert text.startswith(f"FROM ./model.gguf\n# {name}, translated")
    assert f'PARAMETER stop "{found.format.stop}"\n' in text
    assert 'PARAMETER stop "</s>"\n' in text
    assert ("SYSTEM" in text.replace("{{ if .System }}", "").replace("{{ .System }}", "")) == bool(system)
    assert "{{ .Prompt }}" in text
    assert "{{ .Response }}" in text


@pytest.mark.parametrize(
    "template",
    [
        CHATML.replace("<|im_end|>' + '\n'", "<|im_end|>'"),
        CHATML.replace("message['content']", "message['content'] | upper"),
        WITH_SYSTEM.replace("system\n", "narrator\n"),
        "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}",
        "{% broken",
    ],
)
def test_other_chat_templates_are_said_to_be_missing(template: str) -> None:
    assert recognize(template, "", "</s>") is None
    text = modelfile("model.gguf", template, "", "</s>", None)
    assert "\nTEMPLATE" not in text
    assert "TEMPLATE is missing" in text
    assert 'PARAMETER stop "</s>"' in text


def test_a_model_without_a_chat_template_continues_text() -> None:
    assert 'TEMPLATE "{{ .Prompt }}"' in modelfile("model.gguf", "", "", "", None)


@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_exports_of_the_embedded_model(embedded_home: Path, tmp_path: Path) -> None:
    tiny_gguf.register("own", "smollm2-135m", size=0.02, r=8, lora_alpha=16)
    result = write.export("own", ["safetensors", "gguf-f16", "gguf-q8_0"], tmp_path / "out")
    proofs = {each.format: each.proof for each in result.exports}
    assert proofs["safetensors"].difference is not None
    assert proofs["safetensors"].difference < 1e-2
    for name in ("gguf-f16", "gguf-q8_0"):
        assert proofs[name].positions == 500
        assert proofs[name].weights_difference is not None
        assert proofs[name].weights_difference < 1e-3
    modelled = (tmp_path / "out" / "gguf-q8_0" / "Modelfile").read_text("utf-8")
    assert "# ChatML, translated" in modelled
    assert 'SYSTEM "You are a helpful AI assistant named SmolLM' in modelled
