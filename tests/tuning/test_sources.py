import gzip
from pathlib import Path

import pytest

from assistant.errors import HoneError
from tests.conftest import git
from tuning.corpus.collect import read
from tuning.corpus.document import Document
from tuning.corpus.sources import Source, parse, resolve


def paths(source: Source) -> list[str]:
    return [item.path for item in read([source]) if isinstance(item, Document)]


def test_the_kind_is_seen_from_the_path(make_repository, tmp_path: Path):
    repository = make_repository({"src/a.py": "a = 1\n"})
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/b.py").write_text("b = 1\n")
    (tmp_path / "r.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n'))
    assert parse(str(repository)).kind == "git"
    assert parse(str(repository / "src")).kind == "git"
    assert parse(str(tmp_path / "plain")).kind == "folder"
    assert parse(str(tmp_path / "r.jsonl")).kind == "jsonl"
    assert parse(str(tmp_path / "r.jsonl.gz"), weight=0.5) == Source("jsonl", str(tmp_path / "r.jsonl.gz"), 0.5)


@pytest.mark.parametrize(
    ("spec", "name", "config", "split"),
    [
        ("hf:owner/name", "owner/name", None, "train"),
        ("hf:name@test", "name", None, "test"),
        ("hf:owner/name:python", "owner/name", "python", "train"),
        ("hf:owner/name:python@validation", "owner/name", "python", "validation"),
    ],
)
def test_datasets_are_named_with_configuration_and_split(spec: str, name: str, config: str | None, split: str):
    assert parse(spec) == Source("dataset", name, config=config, split=split)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("hf:", "names no dataset"),
        ("hf:a/b/c", "names no dataset"),
        ("hf:a b", "names no dataset"),
        ("hf:name:", "names no dataset"),
        ("hf:name@", "names no dataset"),
        ("hf:name@train[:10]", "names no dataset"),
        ("hf:./missing", "./missing does not exist"),
        ("", "is empty"),
        ("no/such/folder", "no/such/folder is not a folder or file"),
        ("no/such/folder@main", "no/such/folder is not a folder"),
        ("no/such.jsonl", "is not a folder or file"),
    ],
)
def test_a_bad_source_is_one_line(spec: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HoneError) as refused:
        parse(spec)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_records_file_is_refused(tmp_path: Path):
    (tmp_path / "a.py").write_text("a = 1\n")
    with pytest.raises(HoneError, match=r"is not a folder and not a \.jsonl file"):
        parse(str(tmp_path / "a.py"))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_a_positive_number(weight: float, tmp_path: Path):
    with pytest.raises(HoneError, match="greater than 0"):
        parse(str(tmp_path), weight)


def test_a_revision_is_pinned_when_it_is_resolved(make_repository):
    repository = make_repository({"a.py": "a = 1\n"})
    first = git(repository, "rev-parse", "HEAD").strip()
    source = resolve(parse(f"{repository}@main"))
    (repository / "b.py").write_text("b = 1\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "second")
    assert source.commit == first
    assert source.revision == "main"
    assert not source.dirty
    assert paths(source) == ["a.py"]
    assert paths(resolve(parse(f"{repository}@main"))) == ["a.py", "b.py"]
    assert resolve(source) is source


def test_an_existing_path_wins_over_a_revision(make_repository):
    make_repository({"one.py": "a = 1\n"}, "one")
    both = make_repository({"two.py": "b = 1\n"}, "one@main")
    assert paths(parse(str(both))) == ["two.py"]
    assert paths(parse(f"{both}@main")) == ["two.py"]
    assert paths(parse(str(both).removesuffix("@main") + "@HEAD")) == ["one.py"]


def test_a_folder_that_only_the_revision_has(make_repository):
    repository = make_repository({"old/a.py": "a = 1\n", "b.py": "b = 1\n"})
    git(repository, "rm", "-q", "-r", "old")
    git(repository, "commit", "-q", "-m", "second")
    assert paths(parse(f"{repository}/old@HEAD~1")) == ["old/a.py"]
    with pytest.raises(HoneError, match="has no folder old at HEAD"):
        resolve(parse(f"{repository}/old@HEAD"))


@pytest.mark.parametrize("revision", ["nothing", "--help", "HEAD~9", "main:a.py"])
def test_a_revision_that_is_none_is_refused(revision: str, make_repository):
    repository = make_repository({"a.py": "a = 1\n"})
    with pytest.raises(HoneError, match=f"has no revision {revision}"):
        resolve(parse(f"{repository}@{revision}"))


def test_a_plain_folder_has_no_revisions(tmp_path: Path):
    with pytest.raises(HoneError, match="has no revision main"):
        parse(f"{tmp_path}@main")


def test_a_bare_repository_is_read_at_its_head(make_repository, tmp_path: Path):
    repository = make_repository(
        {"vendor/a.py": "a = 1\n", "b.py": "b = 1\n", ".gitattributes": "a.py -linguist-vendored"}
    )
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    source = resolve(parse(str(tmp_path / "bare.git")))
    assert source.commit == git(repository, "rev-parse", "HEAD").strip()
    assert paths(source) == ["b.py", "vendor/a.py"]


def test_the_inside_of_a_git_folder_is_refused(make_repository):
    repository = make_repository({"a.py": "a = 1\n"})
    with pytest.raises(HoneError, match=r"inside a \.git folder"):
        resolve(parse(str(repository / ".git")))


def test_a_repository_that_git_refuses_is_not_read_as_a_plain_folder(make_repository):
    repository = make_repository({"a.py": "a = 1\n"})
    (repository / ".git/config").write_text("[core\n")
    with pytest.raises(HoneError, match="git cannot read"):
        parse(str(repository))


def test_the_environment_of_a_git_hook_does_not_mislead(make_repository, monkeypatch: pytest.MonkeyPatch):
    one, two = make_repository({"one.py": "a = 1\n"}, "one"), make_repository({"two.py": "b = 1\n"}, "two")
    monkeypatch.setenv("GIT_DIR", str(two / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(two / ".git/index"))
    assert paths(parse(str(one))) == ["one.py"]


def test_reading_writes_nothing_into_the_repository(make_repository):
    repository = make_repository({"a.py": "a = 1\n", ".gitattributes": "*.py linguist-generated"})
    (repository / "a.py").write_text("a = 2\n")

    def state() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in repository.rglob("*") if file.is_file()}

    before = state()
    for spec in (str(repository), f"{repository}@HEAD"):
        list(read([resolve(parse(spec))]))
    assert state() == before


def test_an_empty_plain_folder_is_refused(tmp_path: Path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(HoneError, match=r"is empty and not in a git repository"):
        resolve(parse(str(tmp_path / "plain")))
