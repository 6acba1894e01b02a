"""Reading a GGUF's header: what it says, and that no damage to it gets past."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.models.gguf_file import read_header
from tests.small_models import TEMPLATE, write_gguf


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "whole.gguf")


def test_header_tells_what_the_writer_wrote(whole: Path) -> None:
    header = read_header(whole)
    assert header.architecture == "llama"
    assert header.context_length == 512
    assert header.chat_template == TEMPLATE
    assert header.licence == "mit"
    assert header.parameters == 6 * 64 + 64 + 4 * 64


def test_tokenizer_digest_follows_the_vocabulary_and_nothing_else(tmp_path: Path, whole: Path) -> None:
    same = read_header(write_gguf(tmp_path / "weights.gguf", seed=1, template="other"))
    other = read_header(write_gguf(tmp_path / "vocabulary.gguf", tokens=["<unk>", "<s>", "</s>", "a", "b", "ba"]))
    assert same.tokenizer == read_header(whole).tokenizer
    assert other.tokenizer != read_header(whole).tokenizer


def test_every_cut_is_noticed(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    cut = tmp_path / "cut.gguf"
    # The last tensor ends the file up to the padding of one alignment.
    for length in [*range(0, len(data) - 32, 37), len(data) - 33]:
        cut.write_bytes(data[:length])
        with pytest.raises(HoneError) as raised:
            read_header(cut)
        assert "\n" not in str(raised.value)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damage_is_read_or_refused_in_one_line(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content)
    refusal = ""
    try:
        header = read_header(damaged)
        _ = header.context_length, header.licence, header.chat_template
    except HoneError as error:
        refusal = str(error)
    assert "\n" not in refusal


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip", b"GGUF", b"GGUF\x09\0\0\0" + b"\0" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(HoneError, match=r"model\.gguf"):
        read_header(file)
