from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assistant.errors import HoneError
from evals.samples import Samples, key


def test_a_later_run_finds_what_an_earlier_one_kept(tmp_path: Path) -> None:
    with Samples(tmp_path) as first:
        first.add({"key": "a", "text": "é\u2028"})
        assert first.get("a") == {"key": "a", "text": "é\u2028"}
        assert first.resumed == 0
    with Samples(tmp_path) as second:
        assert second.get("a") == {"key": "a", "text": "é\u2028"}
        assert second.get("b") is None
        assert second.resumed == 1


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    with Samples(tmp_path) as store:
        store.add({"key": "a"})
    with (tmp_path / "samples.jsonl").open("ab") as file:
        file.write(b'{"key": "b", "te')
    with Samples(tmp_path) as store:
        assert store.get("b") is None
        store.add({"key": "c"})
    with Samples(tmp_path) as store:
        assert (store.get("a"), store.get("c")) == ({"key": "a"}, {"key": "c"})


def test_samples_are_on_disk_before_the_run_ends(tmp_path: Path) -> None:
    with Samples(tmp_path) as store:
        store.add({"key": "a"})
        assert (tmp_path / "samples.jsonl").read_text() == '{"key": "a"}\n'


def test_a_foreign_file_is_not_written_to(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text("not ours\n")
    with pytest.raises(HoneError, match="does not hold evaluation samples"):
        Samples(tmp_path)
    assert file.read_text() == "not ours\n"


def test_two_evaluations_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with Samples(tmp_path), pytest.raises(HoneError, match="another evaluation is writing"):
        Samples(tmp_path)
    with Samples(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HoneError, match="cannot write to"):
        Samples(tmp_path / "file" / "out")


def test_a_key_changes_with_everything_that_decides_a_sample() -> None:
    identity = {"model": "m", "prompt": "p", "seed": 0}
    keys = {
        key(**identity),
        key(**identity | {"model": "n"}),
        key(**identity | {"seed": 1}),
        key(**identity, stop=["\n"]),
    }
    assert len(keys) == 4
    assert key(**identity) == key(**dict(reversed(identity.items())))


def test_threads_write_whole_lines_and_the_later_of_two_counts(tmp_path: Path) -> None:
    with Samples(tmp_path) as store, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.add({"key": str(number % 50), "text": "x" * 3000}), range(100)))
        store.add({"key": "7", "text": "last"})
    with Samples(tmp_path) as store:
        assert store.get("7") == {"key": "7", "text": "last"}
        assert store.get("49") == {"key": "49", "text": "x" * 3000}
    assert len((tmp_path / "samples.jsonl").read_bytes().splitlines()) == 101


def test_text_that_is_none_is_kept_as_it_came(tmp_path: Path) -> None:
    sample = {"key": "a", "text": "\ud83d"}
    with Samples(tmp_path) as store:
        store.add(sample)
    assert (tmp_path / "samples.jsonl").read_text("utf-8").isascii()
    with Samples(tmp_path) as store:
        assert store.get("a") == sample
