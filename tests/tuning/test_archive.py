"""An adapter as one file: what goes into it, and that nothing in a file from somebody else is believed."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from assistant.errors import HoneError, UnknownModel, UsageError, WrongBase
from assistant.models import store
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import Registry
from assistant.models.resolve import resolve
from tests.conftest import home_with_models
from tests.tuning import tiny_gguf
from tuning.archive import container
from tuning.archive.read import read
from tuning.archive.shareable import shareable, shareable_manifest
from tuning.archive.write import EVIDENCE, HEAD, PARTS, write
from tuning.manifest import identified

SETTINGS = "adapter_config.json"
SECRET_PLACE = "/srv/ada/secret-plans"
CORPUS = {
    "sources": [
        {
            "kind": "git",
            "path": "/srv/ada/secret/shop/src",
            "root": "/srv/ada/secret/shop",
            "commit": "1" * 40,
            "remote": None,
            "dirty": False,
        }
    ],
    "files": [{"source": 0, "path": "src/a.py", "sha256": "a" * 64, "bytes": 3, "language": "python", "split": "test"}],
    "dropped": [{"source": 0, "path": "b.bin", "reason": "binary"}],
    "redactions": {"AWS Access Key": 1},
}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The state folders of who gives and who takes; both have the base, under different names."""
    folder = tmp_path_factory.mktemp("archives")
    mine, theirs = folder / "mine", folder / "theirs"
    mine.mkdir()
    (mine / "models").mkdir()
    # What is made of the base is made once.
    home_with_models(theirs, mine / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(mine))
        tiny_gguf.write_base(mine / "tiny.gguf", "F16")
        (theirs / "same.gguf").write_bytes((mine / "tiny.gguf").read_bytes())
        base = store.find(str(mine / "tiny.gguf"))
        assert base is not None
        tiny_gguf.tuning_form(base)
        version = tiny_gguf.register("shop", base.name, seed=1, corpus=CORPUS)
        content = {"corpus": CORPUS, "configuration": {"config": f"{SECRET_PLACE}/tune.toml", "rank": 4}}
        told = identified(content, "shop", version.digest, version.created, base.name, base_identity(base))
        (version.folder / "manifest.json").write_text(json.dumps(told))
        (version.folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n')
        (version.folder / "notes.txt").write_text("not part of an adapter")
        report = {"outcome": "pass", "explanation": f"read {SECRET_PLACE}/x.py", "file": "/srv/ada/r.json"}
        Registry().promote("shop", "live", actor="ada", evidence={"file": "/srv/ada/r.json", "report": report})
        Registry().mark("shop", {"reason": "3 rows it learnt from were forgotten", "rows": ["1"]})
        yield mine, theirs


@pytest.fixture(scope="module")
def archive(homes: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "shop.tar"
    written = write("shop", out, [{"kind": "gate", "report": {"outcome": "pass"}}])
    assert (written.path, written.bytes, written.evidence) == (out, out.stat().st_size, 2)
    return out


@pytest.fixture
def taker(homes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of who takes is the current one."""
    monkeypatch.setenv("HONE_HOME", str(homes[1]))
    return homes[1]


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file, "r:") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar.getmembers()}  # type: ignore[union-attr]


def packed(file: Path, parts: dict[str, bytes], rehash: bool = True) -> Path:
    """An archive with these parts, its list of digests brought up to date."""
    import hashlib

    if rehash:
        head = json.loads(parts[HEAD])
        head["files"] = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in parts.items()
            if name != HEAD
        }
        parts = {**parts, HEAD: json.dumps(head).encode()}
    container.write(file, parts)
    return file


def test_it_comes_out_as_it_went_in_with_its_evidence_and_its_marks(
    homes: tuple[Path, Path], archive: Path, taker: Path
) -> None:
    notes: list[str] = []
    imported = read(archive, base_spec=str(taker / "same.gguf"), note=notes.append)
    version = imported.version
    assert (imported.is_new, imported.evidence) == (True, 2)
    assert imported.marks == ("3 rows it learnt from were forgotten",)
    assert Registry().marks()[version.id][0].data["reason"] == "3 rows it learnt from were forgotten"
    theirs = Registry(homes[0] / "registry.sqlite").find("shop")
    assert theirs is not None
    assert (version.name, version.digest) == ("shop", theirs.digest)
    # Served as any other: its files and its base are checked.
    assert resolve("shop").name == version.id
    kept = json.loads((version.folder / EVIDENCE).read_text("utf-8"))
    assert [each["kind"] for each in kept["evidence"]] == ["promotion", "gate"]
    assert kept["evidence"][0]["alias"] == "live"
    card = (version.folder / "card.md").read_text("utf-8")
    assert "1 held out for tests" in card
    assert "loss.svg" in card
    manifest = json.loads((version.folder / "manifest.json").read_text("utf-8"))
    assert manifest["corpus"]["sources"][0]["path"] == "elsewhere:shop/src"
    assert manifest["corpus"]["files"] == CORPUS["files"]
    assert manifest["base"]["name"] == str(taker / "same.gguf")
    again = read(archive, base_spec=str(taker / "same.gguf"))
    assert (again.is_new, again.version) == (False, version)
    assert len(Registry().marks()[version.id]) == 1
    # Passed on, it still has what it came with.
    onward = write("shop", archive.with_name("onward.tar"))
    assert onward.evidence == 2
    renamed = read(onward.path, base_spec=str(taker / "same.gguf"), name="theirs").version
    assert (renamed.name, renamed.digest) == ("theirs", version.digest)
    assert json.loads((renamed.folder / "manifest.json").read_text("utf-8"))["name"] == "theirs"


def test_no_path_of_a_machine_and_no_other_file_is_given_away(archive: Path) -> None:
    parts = contents(archive)
    assert set(parts) == {HEAD, *PARTS}
    assert next(iter(parts)) == HEAD
    for name, data in parts.items():
        for place in (b"/srv/ada", str(archive.parents[1]).encode(), b"secret-plans"):
            assert place not in data, name
    with tarfile.open(archive, "r:") as tar:
        assert {(info.uid, info.gid, info.mtime, info.uname) for info in tar.getmembers()} == {(0, 0, 0, "")}


def test_with_counts_only_no_name_of_the_corpus_is_given_away(
    homes: tuple[Path, Path], taker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as giving:
        giving.setenv("HONE_HOME", str(homes[0]))
        out = write("shop", tmp_path / "shop.tar", [{"report": {"outcome": "pass"}}], counts_only=True).path
    parts = contents(out)
    for name, data in parts.items():
        for word in (b"src/a", b"b.bin", b"/srv/ada", b"shop/src", b"1" * 40):
            assert word not in data, name
    manifest = json.loads(parts["manifest.json"])
    ((file,), (dropped,)) = manifest["corpus"]["files"], manifest["corpus"]["dropped"]
    assert file == {**CORPUS["files"][0], "path": "a" * 16 + ".py"}
    assert (dropped["path"], dropped["reason"]) == ("withheld", "binary")
    assert manifest["corpus"]["redactions"] == CORPUS["redactions"]
    imported = read(out, base_spec=str(taker / "same.gguf"), name="counted")
    assert (imported.is_new, imported.evidence) == (True, 0)
    assert imported.marks == ("3 rows it learnt from were forgotten",)
    card = (imported.version.folder / "card.md").read_text("utf-8")
    assert "1 held out for tests" in card
    assert "python 1" in card


def test_exports_that_cannot_be_are_one_line(homes: tuple[Path, Path], archive: Path, tmp_path: Path) -> None:
    for spec, out, error, said in (
        ("nobody", tmp_path / "a", UsageError, "nobody is no adapter"),
        ("shop", archive, HoneError, "exists already"),
        ("shop", tmp_path / "no" / "a", HoneError, "does not exist"),
    ):
        with pytest.raises(error, match=said):
            write(spec, out)
    version = tiny_gguf.register("changed", str(homes[0] / "tiny.gguf"), seed=5)
    config = json.loads((version.folder / "adapter_config.json").read_text())
    (version.folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    with pytest.raises(HoneError, match="were changed"):
        write("changed", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def edited(part: str, change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda parts: {**parts, part: json.dumps(change(json.loads(parts[part]))).encode()}


def other_weights(parts: dict[str, bytes], tmp: Path) -> bytes:
    (tmp / "w").write_bytes(parts["adapter_model.safetensors"])
    tensors = {name: np.asarray(value) * 2 for name, value in load_file(tmp / "w").items()}
    save_file(tensors, tmp / "w")
    return (tmp / "w").read_bytes()


def test_what_was_changed_or_does_not_belong_there_is_refused_and_leaves_nothing(
    archive: Path, taker: Path, tmp_path: Path
) -> None:
    good = contents(archive)
    before = Registry().history()
    folders = set((taker / "adapters").rglob("*")) if (taker / "adapters").exists() else set()
    cases: list[tuple[str, dict[str, bytes], bool, str]] = [
        ("a byte", {**good, "metrics.jsonl": b"x" + good["metrics.jsonl"][1:]}, False, "is not what it was"),
        (
            "weights",
            {**good, "adapter_model.safetensors": other_weights(good, tmp_path)},
            True,
            "its digest is another",
        ),
        ("pickle", {**good, "adapter_model.safetensors": b"\x80\x04K\x01."}, True, "not safetensors"),
        ("gguf", {**good, "adapter.gguf": good["adapter.gguf"][:-64] + bytes(64)}, True, "digest is another"),
        ("no manifest", {k: v for k, v in good.items() if k != "manifest.json"}, True, "lacks manifest.json"),
        ("nothing", {HEAD: good[HEAD]}, True, "lacks adapter_model.safetensors"),
        ("no list", {**good, HEAD: b"{}"}, False, "is not of the form"),
        ("late list", {**{k: v for k, v in good.items() if k != HEAD}, HEAD: good[HEAD]}, False, "does not begin with"),
        (
            "code",
            edited(SETTINGS, lambda c: {**c, "auto_mapping": {"a": "b"}})(good),
            True,
            "auto_mapping",
        ),
        ("import", edited(SETTINGS, lambda c: {**c, "megatron_core": "os"})(good), True, "megatron_core"),
        ("type", edited(SETTINGS, lambda c: {**c, "peft_type": "IA3"})(good), True, "not LORA"),
        ("rank", edited(SETTINGS, lambda c: {**c, "r": -1})(good), True, "the rank -1"),
        (
            "regex",
            edited(SETTINGS, lambda c: {**c, "target_modules": "(a+)+$"})(good),
            True,
            "for the name of a module",
        ),
        ("name", edited(HEAD, lambda c: {**c, "name": "../../evil"})(good), True, "cannot be an adapter's name"),
        (
            "base",
            edited(HEAD, lambda c: {**c, "base": {"name": "x", "digest": "0" * 64}})(good),
            True,
            "on base 000000",
        ),
        ("not a number", {**good, HEAD: good[HEAD].replace(b'"figures": {}', b'"figures": {"a": NaN}')}, False, "NaN"),
    ]
    for path in ("../../up.py", "/etc/passwd", ""):
        change = lambda c, path=path: {**c, "corpus": {**c["corpus"], "files": [{**CORPUS["files"][0], "path": path}]}}  # noqa: E731
        cases.append((f"path {path!r}", edited("manifest.json", change)(good), True, "no path in a repository"))
    commit = lambda c: {**c, "corpus": {**c["corpus"], "sources": [{"path": "x", "commit": "--exec=x"}]}}  # noqa: E731
    cases.append(("option", edited("manifest.json", commit)(good), True, "no commit"))
    for number, (what, changed, rehash, said) in enumerate(cases):
        file = packed(tmp_path / f"{number}.tar", changed, rehash)
        with pytest.raises(HoneError, match=said) as raised:
            read(file, base_spec=str(taker / "same.gguf"), name="other" if what != "name" else None)
        assert "\n" not in str(raised.value), what
    assert Registry().history() == before
    assert set((taker / "adapters").rglob("*")) == folders


def test_a_gguf_that_is_not_what_the_weights_give_is_refused(archive: Path, taker: Path, tmp_path: Path) -> None:
    other = tiny_gguf.make_adapter(tmp_path / "other", store.tuning_form(_base(taker)), seed=9)
    parts = contents(archive)
    parts["adapter.gguf"] = (other / "adapter.gguf").read_bytes()
    # Whoever made it has also made digests that fit.
    folder = tmp_path / "made"
    folder.mkdir()
    for name, data in parts.items():
        (folder / name).write_bytes(data)
    head = json.loads(parts[HEAD])
    head["digest"] = adapter_digest(folder, head["base"]["digest"])
    file = packed(tmp_path / "forged.tar", {**parts, HEAD: json.dumps(head).encode()})
    with pytest.raises(
        HoneError, match=r"adapter\.gguf in the archive is not what its adapter_model\.safetensors gives"
    ):
        read(file, base_spec=str(taker / "same.gguf"), name="forged")


def test_the_base_is_found_by_its_digest(homes: tuple[Path, Path], archive: Path, taker: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"needs base tiny\.gguf, which is not on this disk.*--base"):
        read(archive, name="elsewhere")
    wrong = tiny_gguf.write_base(tmp_path / "wrong.gguf", "F32")
    with pytest.raises(WrongBase, match="name the right one with --base"):
        read(archive, base_spec=str(wrong), name="elsewhere")


def tar_of(
    file: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w", form: int = tarfile.GNU_FORMAT
) -> Path:
    with tarfile.open(file, mode, format=form) as tar:  # type: ignore[call-overload]
        for info, data in entries:
            info.size = info.size or len(data)
            tar.addfile(info, io.BytesIO(data))
    return file


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, pax
    return info


def test_a_tar_that_hides_something_is_refused_by_its_first_header(tmp_path: Path) -> None:
    known = {HEAD, *PARTS}
    cases = [
        tar_of(tmp_path / "up", (entry("../evil"), b"x")),
        tar_of(tmp_path / "absolute", (entry("/etc/cron.d/evil"), b"x")),
        tar_of(tmp_path / "folder", (entry("a/adapter.gguf"), b"x")),
        tar_of(tmp_path / "symlink", (entry(HEAD, tarfile.SYMTYPE, "/etc/passwd"), b"")),
        tar_of(tmp_path / "hardlink", (entry(HEAD, tarfile.LNKTYPE, "/etc/passwd"), b"")),
        tar_of(tmp_path / "device", (entry(HEAD, tarfile.CHRTYPE), b"")),
        tar_of(tmp_path / "directory", (entry(HEAD, tarfile.DIRTYPE), b"")),
        tar_of(tmp_path / "long", (entry("n" * 300), b"x")),
        tar_of(tmp_path / "pax", (entry(HEAD, path="../evil"), b"x"), form=tarfile.PAX_FORMAT),
        tar_of(tmp_path / "twice", (entry(HEAD), b"{}"), (entry(HEAD), b"{}")),
        tar_of(tmp_path / "sparse", (entry(HEAD, tarfile.GNUTYPE_SPARSE), b"x")),
        tar_of(tmp_path / "packed", (entry(HEAD), b"{}" * 1000), mode="w:gz"),
    ]
    for file in cases:
        with pytest.raises(HoneError, match=r"is no part of|is not an adapter's archive"):
            container.members(file, known)
    whole = tar_of(tmp_path / "whole", (entry(HEAD), b"{}" * 1000))
    assert container.members(whole, known)[HEAD].size == 2000
    data = whole.read_bytes()
    for name, changed, said in (
        ("cut", data[:700], "cut short"),
        ("longer", data + bytes(20480), "goes on after its end"),
        ("hidden", data[:-512] + b"x" * 512, "goes on after its end"),
        ("empty", b"", "is not an adapter's archive"),
        ("text", b"hello" * 200, "is not an adapter's archive"),
    ):
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(HoneError, match=said):
            container.members(tmp_path / name, known)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(HoneError, match="is not a file"):
        container.members(tmp_path / "fifo", known)


@settings(max_examples=100)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_read_as_it_stands(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.tar"
    container.write(file, {HEAD: b"{}", "metrics.jsonl": b"a" * 700})
    raw = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 2600))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    try:
        members = container.members(file, {HEAD, *PARTS})
    except HoneError:
        return
    size = file.stat().st_size
    assert set(members) <= {HEAD, *PARTS}
    assert all(0 <= member.offset <= member.offset + member.size <= size for member in members.values())


def test_absolute_paths_lose_their_folders_and_nothing_else_changes() -> None:
    kept = {"a": ["src/b.py", "hf:org/name", "https://example.org/a/b", "1 / 2 / 3", 1.5, None], "c": "/x"}
    assert shareable(kept) == kept
    assert shareable("see /srv/ada/secret/x.py, '/srv/ada/y.py'") == "see x.py, 'y.py'"
    once = shareable_manifest({"schema_version": 1, "corpus": CORPUS, "configuration": {"f": "/srv/ada/z.toml"}})
    assert once["configuration"] == {"f": "z.toml"}
    assert shareable_manifest(once) == once


def _base(home: Path) -> store.BaseModel:
    found = store.find(str(home / "same.gguf"))
    assert found is not None
    return found
