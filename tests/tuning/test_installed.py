"""Installed packages as a source: packages that the tests install into a folder of their own."""

from importlib import metadata
from pathlib import Path

import pytest

from assistant.errors import HoneError
from tests.tuning.licences import MIT
from tuning.corpus import installed, sources, state
from tuning.corpus.collect import read
from tuning.corpus.document import Document, Dropped
from tuning.corpus.split import SIDES, TEST_SHARE, VALIDATION_SHARE, split_by_path

CODE = "def double(value):\n    return value * 2\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a package as pip would: files, METADATA, RECORD."""
    site = tmp_path / "site"
    site.mkdir()
    everywhere = metadata.distributions
    monkeypatch.setattr(installed.metadata, "distributions", lambda: everywhere(path=[str(site)]))

    def make(name: str, files: dict[str, str], said: str = "License-Expression: MIT\n", licence: str = "") -> Path:
        folder = f"{name.replace('-', '_')}-1.0.dist-info"
        whole = {**files, f"{folder}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{said}\n"}
        if licence:
            whole[f"{folder}/licenses/LICENSE"] = licence
        whole[f"{folder}/RECORD"] = "".join(f"{path},,\n" for path in whole)
        for path, text in whole.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text, "utf-8")
        return site / folder

    return make


def taken(spec: str) -> tuple[dict[str, Document], list[Dropped]]:
    items = list(read([sources.resolve(sources.parse(spec))]))
    documents = {item.path: item for item in items if isinstance(item, Document)}
    return documents, [item for item in items if isinstance(item, Dropped)]


def test_python_sources_are_taken_with_their_licence_and_tests_are_not(install):
    install("hone-one", {"one/a.py": CODE, "one/tests/test_a.py": CODE, "one/test_b.py": CODE, "one/data.bin": "x"})
    documents, dropped = taken("installed:hone-one")
    assert list(documents) == ["one/a.py"]
    found = documents["one/a.py"]
    assert (found.text, found.licence, found.language) == (CODE, "MIT", "python")
    assert {(one.path, one.reason) for one in dropped} == {
        ("one/tests/test_a.py", "a test"),
        ("one/test_b.py", "a test"),
    }


@pytest.mark.parametrize(
    ("said", "licence", "verdict"),
    [
        ("License-Expression: GPL-3.0-only\n", "", "excluded licence"),
        ("License-Expression: MIT AND GPL-3.0-only\n", "", "excluded licence"),
        ("", "", "unknown licence"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "", "unknown licence"),
        ("License-Expression: MIT OR GPL-3.0-only\n", "", None),
        ("Classifier: License :: OSI Approved :: MIT License\n", "", None),
        ("", MIT, None),
    ],
)
def test_a_package_is_taken_where_its_licence_is_permissive(install, said: str, licence: str, verdict: str | None):
    install("hone-one", {"one/a.py": CODE}, said, licence)
    documents, dropped = taken("installed:hone-one")
    assert [one.verdict for one in dropped] == ([verdict] if verdict else [])
    assert bool(documents) == (verdict is None)


def test_a_file_may_have_another_licence_than_its_package(install):
    install("hone-one", {"one/a.py": CODE, "one/b.py": f"# SPDX-License-Identifier: GPL-2.0-only\n{CODE}"})
    documents, dropped = taken("installed:hone-one")
    assert list(documents) == ["one/a.py"]
    assert [(one.path, one.verdict) for one in dropped] == [("one/b.py", "excluded licence")]


def test_all_but_some_and_the_same_every_time(install):
    for name in ("hone-one", "hone-two", "hone-three"):
        install(name, {f"{name[5:]}/a.py": CODE.replace("double", name[5:])})
    documents, _ = taken("installed:all,-Hone_Two")
    assert set(documents) == {"one/a.py", "three/a.py"}
    again, _ = taken("installed:all,-hone-two")
    assert list(again) == list(documents)


def test_hone_itself_is_no_general_code(install):
    install("hone-assistant", {"assistant/a.py": CODE})
    install("hone-one", {"one/a.py": CODE})
    assert [package.name for package in installed.packages("installed:all")] == ["hone-one"]


def test_no_package_and_not_all_of_them_together_are_larger_than_wanted(install, monkeypatch: pytest.MonkeyPatch):
    for name in ("one", "two", "three"):
        install(f"hone-{name}", {f"{name}/{index}.py": f"# {index}\n{CODE}" for index in range(10)})
    size = len(CODE) + 4
    monkeypatch.setattr(installed, "MOST_OF_PACKAGE", 4 * size)
    monkeypatch.setattr(installed, "MOST_BYTES", 10 * size)
    documents, _ = taken("installed:hone-one,hone-two,hone-three")
    counts = sorted(sum(path.startswith(f"{name}/") for path in documents) for name in ("one", "two", "three"))
    assert counts == [2, 4, 4]


def test_what_is_taken_of_a_large_package_is_not_what_the_split_holds_out(install, monkeypatch: pytest.MonkeyPatch):
    install("hone-one", {f"one/{index}.py": f"# {index:04}\n{CODE}" for index in range(2000)})
    monkeypatch.setattr(installed, "MOST_OF_PACKAGE", 400 * (len(CODE) + 7))
    documents, _ = taken("installed:hone-one")
    assert len(documents) == 400
    sides = split_by_path(documents, range(400))
    shares = [(sides == SIDES.index(side)).mean() for side in ("train", "validation", "test")]
    assert shares == pytest.approx([1 - VALIDATION_SHARE - TEST_SHARE, VALIDATION_SHARE, TEST_SHARE], abs=0.04)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("installed:", "names no package"),
        ("installed:-numpy", "names no package"),
        ("installed:a b", "is no list of packages"),
        ("installed:no-such-package-anywhere", "no package no-such-package-anywhere"),
    ],
)
def test_what_names_no_package_is_one_line(spec: str, words: str):
    with pytest.raises(HoneError, match=words) as caught:
        sources.resolve(sources.parse(spec))
    assert "\n" not in str(caught.value)


def test_another_version_is_another_state(install):
    folder = install("hone-one", {"one/a.py": CODE})
    source = sources.resolve(sources.parse("installed:hone-one"))
    before = state.state_of([source])
    assert before == state.state_of([source])
    file = folder / "METADATA"
    file.write_text(file.read_text("utf-8").replace("Version: 1.0", "Version: 1.1"), "utf-8")
    assert before != state.state_of([source])
