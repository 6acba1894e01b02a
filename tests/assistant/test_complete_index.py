"""The index of a repository on real files: what it finds, and that it is the same however it came to be."""

import math
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.prompts import Snippet
from assistant.skills import context, index
from assistant.skills.chunks import definitions_of, words_of
from assistant.skills.index import Index, Update

Make = Callable[..., Path]
OLD = 1_000_000_000 * 10**9
"""A time of change (ns) long past, so that size and time alone tell that a file is as before."""

WORDS = st.sampled_from(["alpha", "beta", "gamma_ray", "deltaForce", "x1", "return", "é", "omega"])
LINES = st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=40).map("\n".join)
FILES = st.dictionaries(st.sampled_from(["a.py", "b.py", "pkg/c.py", "d.go"]), LINES, max_size=4)


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        os.utime(root / path, ns=(OLD, OLD))


def answers(found: Index) -> list[list[Snippet]]:
    return [found.retrieve(query, 4) for query in ("alpha beta", "gamma_ray x1", "force", "omega é")]


@settings(max_examples=15)
@given(versions=st.lists(FILES, min_size=1, max_size=4))
def test_an_updated_index_answers_like_a_new_one(
    versions: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    kept = Index(root, root / "index.sqlite")
    for version, files in enumerate(versions):
        for path in ("a.py", "b.py", "pkg/c.py", "d.go"):
            (root / path).unlink(missing_ok=True)
        write(root, files)
        for path in files:
            os.utime(root / path, ns=(OLD + version, OLD + version))
        kept.update(list(files))
        fresh = context.index(root, list(files))
        assert answers(kept) == answers(fresh)
        assert (kept.files, kept.chunks) == (fresh.files, fresh.chunks)
    kept.close()


def test_only_what_changed_is_read_and_only_new_content_is_indexed(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "alpha = 1\n", "b.py": "beta = 1\n"})
    made = Index(tmp_path, tmp_path / "index.sqlite")
    names = ["a.py", "b.py"]
    assert made.update(names) == Update(read=2, changed=2, removed=0)
    assert made.update(names) == Update(read=0, changed=0, removed=0)
    os.utime(tmp_path / "a.py", ns=(OLD + 1, OLD + 1))
    assert made.update(names) == Update(read=1, changed=0, removed=0)
    write(tmp_path, {"b.py": "gamma = 12\n"})
    assert made.update(names) == Update(read=1, changed=1, removed=0)
    assert made.update(["b.py"]) == Update(read=0, changed=0, removed=1)
    assert [snippet.path for snippet in made.retrieve("alpha beta gamma", 5)] == ["b.py"]


def test_a_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("alpha = 1\n")
    at = file.stat().st_mtime_ns
    made = context.index(tmp_path, ["a.py"])
    file.write_text("gamma = 1\n")
    os.utime(file, ns=(at, at))
    made.update(["a.py"])
    assert len(made.retrieve("gamma", 1)) == 1


def test_the_index_of_a_repository_is_kept_for_its_owner_alone(hone_home: Path, make_repository: Make) -> None:
    root = make_repository({"a.py": "alpha = 1\n", "notes.txt": "alpha\n"})
    first = index.of_repository(root)
    assert first.update().changed == 1
    first.close()
    second = index.of_repository(root)
    assert second.retrieve("alpha", 3) == [Snippet("a.py", "alpha = 1\n")]
    (file,) = hone_home.rglob("*.sqlite")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "repository" not in file.name


def test_a_damaged_index_and_one_of_another_version_are_made_again(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "alpha = 1\n"})
    file = tmp_path / "index.sqlite"
    file.write_bytes(b"no database at all" * 100)
    made = Index(tmp_path, file)
    made.update(["a.py"])
    assert len(made.retrieve("alpha", 1)) == 1
    made._connection.execute("PRAGMA user_version = 99")
    made.close()
    again = Index(tmp_path, file)
    assert again.chunks == 0


def test_two_that_update_at_once_leave_one_index(tmp_path: Path) -> None:
    write(tmp_path, {f"m{number}.py": f"value_{number} = {number}\n" for number in range(60)})
    names = [f"m{number}.py" for number in range(60)]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            made = Index(tmp_path, tmp_path / "index.sqlite")
            made.update(names)
            made.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Index(tmp_path, tmp_path / "index.sqlite").chunks == 60


@settings(max_examples=25)
@given(documents=st.lists(LINES.filter(str.strip), min_size=1, max_size=12), query=LINES)
def test_the_ranking_is_bm25(documents: list[str], query: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    # One chunk each, told apart by a word of their own that no query has.
    texts = {f"f{number}.py": "\n".join(text.split("\n")[:8]) for number, text in enumerate(documents)}
    write(root, texts)
    found = context.index(root, list(texts))
    indexed = {path: words_of(f"{path}\n{text}") for path, text in texts.items() if text.strip()}
    scores = {path: plain_bm25(set(words_of(query)), words, list(indexed.values())) for path, words in indexed.items()}
    got = [snippet.path for snippet in found.retrieve(query, len(texts))]
    ranked = [scores[path] for path in got]
    assert ranked == sorted(ranked, reverse=True)
    if got:
        assert math.isclose(ranked[0], max(scores.values()))


def plain_bm25(query: set[str], words: list[str], corpus: list[list[str]]) -> float:
    """As SQLite documents it: k1 1.2, b 0.75, an inverse document frequency of at least 1e-6."""
    mean = sum(map(len, corpus)) / len(corpus)
    score = 0.0
    for word in query:
        holding = sum(word in document for document in corpus)
        if not holding or holding > max(len(corpus) * 0.25, 8):
            continue
        rarity = max(math.log((len(corpus) - holding + 0.5) / (holding + 0.5)), 1e-6)
        count = words.count(word)
        score += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(words) / mean))
    return round(score, 9)


PYTHON = """from shapes import Circle as Disc, area
import shapes.solids

LIMIT: int = 3
total = 0


def first(x):
    return x

class Box:
    def inner(self):
        pass

    size = 1
"""


def test_definitions_are_those_at_the_beginning_of_a_line() -> None:
    assert [(one.name, one.line) for one in definitions_of("a.py", PYTHON)] == [
        ("LIMIT", 4),
        ("total", 5),
        ("first", 8),
        ("Box", 11),
    ]
    go = "package x\n\nfunc (b *Box) Area(s int) int {\n\treturn s\n}\n\ntype Box struct {\n\tw int\n}\n"
    assert [(one.name, one.text.count("\n")) for one in definitions_of("a.go", go)] == [("Area", 3), ("Box", 3)]
    script = "export default async function load(a) {\n  go()\n}\nexport const limit = 3\n"
    assert [one.name for one in definitions_of("a.ts", script)] == ["load", "limit"]
    assert [one.name for one in definitions_of("a.rs", "pub(crate) unsafe fn go() {}\nimpl X {}\n")] == ["go"]


SHAPES = "class Circle:\n    radius = 1\n\n\ndef area(w, h):\n    return w * h\n"
CURSOR = (
    "from shapes import Circle as Disc, area\nimport solids\n\n\ndef use(w):\n    x = solids.volume(w)\n    return "
)


def test_definitions_of_imported_names_come_first_the_one_used_last_before_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "shapes.py": SHAPES,
            "other.py": "def area():\n    pass\n",
            "solids.py": "def volume(s):\n    return s ** 3\n",
            "like.py": "def use(w):\n    return w\n",
        },
    )
    made = context.index(tmp_path, ["shapes.py", "other.py", "solids.py", "like.py"])
    found = context.imported(made, "main.py", CURSOR + "area(", CURSOR + "area(")
    assert [(one.path, one.text.split("\n")[0]) for one in found] == [
        ("shapes.py", "def area(w, h):"),
        ("solids.py", "def volume(s):"),
    ]
    (renamed,) = context.imported(made, "main.py", CURSOR, "x = Disc(")
    assert renamed.text == "class Circle:\n    radius = 1\n"
    shown = context.find(made, "main.py", CURSOR + "area(", 2, {"main.py"})
    assert [one.path for one in shown[:2]] == ["shapes.py", "solids.py"]
    assert "like.py" in [one.path for one in shown[2:]]
    assert (
        context.imported(made, "main.py", CURSOR + "area(", CURSOR + "area(", exclude={"shapes.py"})[0].path
        == "other.py"
    )


def test_a_place_edited_lately_is_shown_when_it_is_related(tmp_path: Path) -> None:
    made = context.index(tmp_path, [])
    related = Snippet("b.py", "def parse_header(stream, size):\n    return stream.read(size)\n")
    unrelated = Snippet("c.py", "import os\n")
    prefix = "header = parse_header(stream, "
    assert context.find(made, "a.py", prefix, 2, {"a.py"}, [related, unrelated]) == [related]
    assert context.find(made, "a.py", prefix, 2, {"a.py"}, [unrelated]) == []
    assert context.find(made, "b.py", prefix, 2, {"b.py"}, [related]) == []
