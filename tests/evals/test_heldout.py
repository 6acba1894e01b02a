"""What may be evaluated, on real repositories and manifests."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError
from evals.errors import NotHeldOutError
from evals.tasks.heldout import held_out, read_record
from tests.conftest import git

Make = Callable[..., Path]
FILES: dict[str, str | bytes] = {
    "a.py": "a = 1\n",
    "b.py": "b = 2\n",
    "c.py": "c = 3\n",
    "pkg/d.py": "d = 4\r\n",
    "e.py": "e = 5\n",
}
SPLIT = {"a.py": "train", "b.py": "validation", "c.py": "test", "pkg/d.py": "test"}


def write_manifest(folder: Path, root: Path, split: dict[str, str], **changes: Any) -> Path:
    manifest = {
        "schema_version": 1,
        "corpus": {
            "sources": [
                {"kind": "git", "path": str(root), "commit": git(root, "rev-parse", "HEAD").strip(), "remote": None}
            ],
            "files": [
                {
                    "source": 0,
                    "path": path,
                    "sha256": hashlib.sha256((root / path).read_bytes()).hexdigest(),
                    "bytes": (root / path).stat().st_size,
                    "language": "python",
                    "split": side,
                }
                for path, side in split.items()
            ],
        },
    } | changes
    folder.mkdir(exist_ok=True)
    file = folder / "manifest.json"
    file.write_text(json.dumps(manifest))
    return file


@pytest.fixture
def repo(make_repository: Make) -> Path:
    return make_repository(FILES)


def test_exactly_the_test_files_are_evaluated_as_they_were_trained_on(repo: Path, tmp_path: Path) -> None:
    found = held_out(repo, [read_record("x", write_manifest(tmp_path / "x", repo, SPLIT), repo)])
    assert [(file.path, file.text) for file in found.files] == [("c.py", "c = 3\n"), ("pkg/d.py", "d = 4\n")]
    assert found.excluded == {"c.py", "pkg/d.py"}
    assert (found.skipped, found.from_commit) == ((), ())


def test_a_copy_of_a_held_out_file_is_hidden_from_retrieval(make_repository: Make, tmp_path: Path) -> None:
    repo = make_repository(FILES | {"copy.py": "c = 3\r\n"})
    assert "copy.py" in held_out(repo, [read_record("x", write_manifest(tmp_path / "x", repo, SPLIT), repo)]).excluded


def test_a_moved_repository_is_known_by_its_commit(repo: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "x", repo, SPLIT)
    moved = tmp_path / "moved"
    shutil.move(repo, moved)
    assert len(held_out(moved, [read_record("x", manifest, moved)]).files) == 2


def test_a_repository_no_manifest_covers_is_refused(repo: Path, make_repository: Make, tmp_path: Path) -> None:
    other = make_repository({"z.py": "z = 1\n"}, name="other")
    record = read_record("x", write_manifest(tmp_path / "x", other, {"z.py": "test"}), repo)
    with pytest.raises(NotHeldOutError, match=r"no manifest of the given models covers .*x saw other repositories"):
        held_out(repo, [record])
    with pytest.raises(NotHeldOutError, match="give an adapter that was tuned on it"):
        held_out(repo, [])


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_file_another_adapter_was_trained_on_is_refused_by_path(repo: Path, tmp_path: Path, side: str) -> None:
    one = read_record("one", write_manifest(tmp_path / "1", repo, SPLIT), repo)
    two = read_record("two", write_manifest(tmp_path / "2", repo, SPLIT | {"c.py": side}), repo)
    with pytest.raises(NotHeldOutError, match=rf"c\.py was held out by one but is in the {side} files of two"):
        held_out(repo, [one, two])


def test_content_that_was_trained_on_elsewhere_is_refused(repo: Path, make_repository: Make, tmp_path: Path) -> None:
    other = make_repository({"renamed.py": "c = 3\n"}, name="other")
    one = read_record("one", write_manifest(tmp_path / "1", repo, SPLIT), repo)
    two = read_record("two", write_manifest(tmp_path / "2", other, {"renamed.py": "train"}), repo)
    with pytest.raises(NotHeldOutError, match=r"the content of c\.py was trained on by two \(as renamed\.py\)"):
        held_out(repo, [one, two])


def test_a_changed_file_is_taken_from_the_commit(repo: Path, tmp_path: Path) -> None:
    record = read_record("x", write_manifest(tmp_path / "x", repo, SPLIT), repo)
    (repo / "c.py").write_text("c = 'changed'\n")
    (repo / "pkg/d.py").unlink()
    found = held_out(repo, [record])
    assert found.from_commit == ("c.py", "pkg/d.py")
    assert [file.text for file in found.files] == ["c = 3\n", "d = 4\n"]
    git(repo, "commit", "-qam", "second")
    assert [file.text for file in held_out(repo, [record]).files] == ["c = 3\n", "d = 4\n"]


def test_a_changed_file_without_its_committed_content_is_left_out_by_name(repo: Path, tmp_path: Path) -> None:
    (repo / "c.py").write_text("c = 'never committed'\n")
    record = read_record("x", write_manifest(tmp_path / "x", repo, SPLIT), repo)
    (repo / "c.py").write_text("c = 'gone'\n")
    found = held_out(repo, [record])
    assert found.skipped == (("c.py", "changed since it was held out"),)
    assert [file.path for file in found.files] == ["pkg/d.py"]


def test_nothing_left_is_refused(repo: Path, tmp_path: Path) -> None:
    record = read_record("x", write_manifest(tmp_path / "x", repo, {"a.py": "train"}), repo)
    with pytest.raises(NotHeldOutError, match=r"no held-out file of .* is left"):
        held_out(repo, [record])


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"schema_version": 1}', '{"schema_version": 2}', '{"schema_version": 1, "corpus": {"sources": 1}}'],
)
def test_a_manifest_of_another_form_is_one_line(repo: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(content)
    with pytest.raises(HoneError) as caught:
        read_record("x", file, repo)
    assert "\n" not in str(caught.value)
    assert "x" in str(caught.value)


def test_an_adapter_without_a_manifest_is_refused(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(HoneError, match=r"x has no manifest \(manifest\.json\)"):
        read_record("x", tmp_path / "manifest.json", repo)
