"""What is served for a GGUF: a Q4_1 model in Q8_0, made once, anything else as it is."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from assistant.errors import HoneError
from assistant.models import gguf_write, serving_form, store
from assistant.models.gguf_file import read_header
from assistant.models.serving_form import form_name, serving_gguf
from tests.tuning import tiny_gguf


@pytest.fixture
def q4(tmp_path: Path) -> Path:
    return tiny_gguf.write_base(tmp_path / "tiny.gguf", "Q4_1")


def test_q4_1_is_served_in_q8_0_with_the_same_weights_tokenizer_and_template(hone_home: Path, q4: Path) -> None:
    from gguf import GGUFReader, dequantize

    served = serving_gguf(q4)
    assert served.is_relative_to(hone_home)
    before, after = read_header(q4), read_header(served)
    assert after.tokenizer == before.tokenizer
    assert after.chat_template == before.chat_template
    assert after.context_length == before.context_length
    originals = {tensor.name: tensor for tensor in GGUFReader(q4).tensors}
    copies = {tensor.name: tensor for tensor in GGUFReader(served).tensors}
    assert copies.keys() == originals.keys()
    rounded = 0
    for name, original in originals.items():
        copy = copies[name]
        assert copy.tensor_type.name != "Q4_1"
        weights = dequantize(original.data, original.tensor_type)
        again = dequantize(copy.data, copy.tensor_type)
        if copy.tensor_type.name == "Q8_0":
            rounded += 1
            blocks = np.abs(weights).reshape(-1, 32).max(axis=1)
            distance = np.abs(weights - again).reshape(-1, 32).max(axis=1)
            # The half of a step, and the step itself is kept in 16 bits.
            assert np.all(distance <= blocks / 254 * 1.2 + 1e-7)
        else:
            np.testing.assert_array_equal(again, weights)
    assert rounded >= 8


def test_it_is_made_once(hone_home: Path, q4: Path) -> None:
    served = serving_gguf(q4)
    made = served.stat().st_mtime_ns
    assert serving_gguf(q4) == served
    assert served.stat().st_mtime_ns == made


def test_any_other_type_and_a_large_model_are_served_as_they_are(
    hone_home: Path, tmp_path: Path, q4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = tiny_gguf.write_base(tmp_path / "wide.gguf", "F16")
    assert serving_gguf(wide) == wide
    assert form_name(wide) == form_name(None) == "as it is"
    assert form_name(q4) != "as it is"
    monkeypatch.setattr(serving_form, "_LARGEST", read_header(q4).parameters - 1)
    assert serving_gguf(q4) == q4
    assert form_name(q4) == "as it is"
    assert not (hone_home / "models" / "serving").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_and_a_killed_process_neither(
    hone_home: Path, q4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = serving_form.cached_folder(q4)
    killed = folder.parent / f".{folder.name}.x.part"
    killed.mkdir(parents=True)
    (killed / "model.gguf").write_bytes(b"half")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(gguf_write, "_write", full)
        with pytest.raises(HoneError, match=r"is full, so the serving form of tiny\.gguf") as raised:
            serving_gguf(q4)
    assert "\n" not in str(raised.value)
    assert [path for path in folder.parent.iterdir() if path.suffix != ".lock"] == []
    assert serving_gguf(q4).exists()


@pytest.mark.model
def test_the_embedded_model_is_served_in_q8_0(embedded_home: Path) -> None:
    base = store.fetch("smollm2-135m")
    assert base.gguf
    served = serving_gguf(base.gguf)
    assert served != base.gguf
    header = read_header(served)
    assert header.values["general.file_type"] == 7
    assert header.parameters == read_header(base.gguf).parameters
