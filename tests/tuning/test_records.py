import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from tests.tuning.dataset_hub import COMMIT, dataset_hub
from tuning.corpus.collect import read
from tuning.corpus.document import Document, Dropped, Turn
from tuning.corpus.filters import Filters
from tuning.corpus.sources import parse, resolve

CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4"},
]


def written(folder: Path, *lines: str | dict[str, Any], name: str = "r.jsonl") -> Path:
    file = folder / name
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode(
        "utf-8", "surrogatepass"
    )
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return file


def items(spec: Path | str, **options: Any) -> list[Document | Dropped]:
    return list(read([resolve(parse(str(spec)))], Filters(**options)))


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_text_records(name: str, tmp_path: Path):
    file = written(tmp_path, {"text": "one\r\ntwo", "more": 1}, "", {"text": "three", "license": "mit"}, name=name)
    first, second = items(file)
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.path, first.text, first.language, first.licence) == (f"{name}:1", "one\ntwo", "text", None)
    assert (second.path, second.licence, second.turns) == (f"{name}:3", "MIT", ())


def test_prompts_and_completions(tmp_path: Path):
    (document,) = items(written(tmp_path, {"prompt": "def f(", "completion": "): pass", "text": "ignored"}))
    assert isinstance(document, Document)
    assert document.turns == (Turn("prompt", "def f("), Turn("completion", "): pass"))
    assert document.text == "def f(\n): pass"


def test_messages(tmp_path: Path):
    (document,) = items(written(tmp_path, {"messages": CHAT, "prompt": "x", "completion": "y"}))
    assert isinstance(document, Document)
    assert document.turns == tuple(Turn(**message) for message in CHAT)
    assert document.text == "Be short.\n2+2?\n4"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (['{"text": "a"}', '{"text": '], "r.jsonl:2 is not JSON"),
        (['{"text": "a"}', "", '["text"]'], "r.jsonl:3 is a list, not an object"),
        (['[{"text": "a"}]'], "r.jsonl:1 is a list, not an object"),
        (['{"text": "a"}', '{"text": 5}'], "r.jsonl:2: text is a number, not a string"),
        (['{"text": null}'], "r.jsonl:1: text is missing or null, not a string"),
        (['{"content": "a", "id": 1}'], "r.jsonl:1 has no text: .*its columns are content, id"),
        (["{}"], "its columns are none"),
        (['{"prompt": "a"}'], "r.jsonl:1 has no text"),
        (['{"text": "a"}', '{"other": "b"}'], "r.jsonl:2 has no text, as the first record has"),
        (['{"text": "a"}', '{"messages": []}'], "r.jsonl:2 is of the form messages, the first record of the form text"),
        (['{"prompt": "a", "completion": "b"}', '{"text": "c"}'], "r.jsonl:2 is of the form text, the first"),
        (['{"prompt": "a", "completion": ["b"]}'], "r.jsonl:1: completion is a list, not a string"),
        (['{"messages": []}'], "r.jsonl:1: messages is a list; wanted is a list of messages, and not an empty one"),
        (['{"messages": "hi"}'], "r.jsonl:1: messages is a string; wanted is a list"),
        (['{"messages": ["hi"]}'], r"r.jsonl:1: messages\[0\] is a string, not an object"),
        (['{"messages": [{"role": "tool", "content": "x"}]}'], r"messages\[0\] has the role 'tool'; known are system"),
        (['{"messages": [{"role": "user"}]}'], r"messages\[0\].content is missing or null"),
        (['{"text": "a"}', "[" * 100_000], "r.jsonl:2 is not JSON"),
    ],
)  # fmt: skip
def test_a_bad_record_names_file_and_line(lines: list[str], line: str, tmp_path: Path):
    with pytest.raises(HoneError, match=line) as refused:
        items(written(tmp_path, *lines))
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_bytes_that_are_no_text_name_the_line(tmp_path: Path):
    (tmp_path / "r.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(HoneError, match=r"r\.jsonl:2 is not UTF-8"):
        items(tmp_path / "r.jsonl")


def test_a_damaged_archive_names_the_file(tmp_path: Path):
    file = written(tmp_path, *({"text": f"{number} " * 50} for number in range(1_000)), name="r.jsonl.gz")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(HoneError, match=r"r\.jsonl\.gz cannot be read after line \d+"):
        items(file)
    file.write_bytes(b"no archive")
    with pytest.raises(HoneError, match=r"cannot be read after line 0: Not a gzipped file"):
        items(file)


def test_what_cannot_be_learnt_is_dropped_with_its_reason(tmp_path: Path):
    texts = written(
        tmp_path, {"text": " \n"}, {"text": "a\0b"}, '{"text": "\\ud800"}', {"text": "tiny"}, {"text": "x" * 99}
    )
    verdicts = [
        (item.verdict, item.path) for item in items(texts, min_bytes=5, max_bytes=50) if isinstance(item, Dropped)
    ]
    assert verdicts == [
        ("empty", "r.jsonl:1"),
        ("binary", "r.jsonl:2"),
        ("not UTF-8", "r.jsonl:3"),
        ("too short", "r.jsonl:4"),
        ("too long", "r.jsonl:5"),
    ]
    silent = written(tmp_path, {"messages": CHAT[:2]}, {"messages": CHAT}, name="c.jsonl")
    assert [type(item) for item in items(silent)] == [Dropped, Document]
    blank = written(tmp_path, {"prompt": "a", "completion": " "}, name="p.jsonl")
    assert [type(item) for item in items(blank)] == [Dropped]


def test_an_allow_list_of_licences_judges_records_by_their_column(tmp_path: Path):
    file = written(tmp_path, {"text": "a", "license": "MIT"}, {"text": "b"}, {"text": "c", "license": "ISC"})
    judged = [getattr(item, "verdict", "taken") for item in items(file, licences=frozenset({"MIT"}))]
    assert judged == ["taken", "unknown licence", "excluded licence"]


RECORDS = st.one_of(
    st.builds(dict, text=st.text(min_size=1)),
    st.builds(dict, prompt=st.text(), completion=st.text(min_size=1)),
    st.builds(
        dict,
        messages=st.lists(
            st.builds(dict, role=st.sampled_from(["system", "user", "assistant"]), content=st.text()),
            min_size=1,
            max_size=3,
        ),
    ),
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(records=st.lists(RECORDS, min_size=1, max_size=5), ascii_only=st.booleans())
def test_any_good_records_are_read_in_order_or_refused_as_mixed(
    records: list[dict[str, Any]], ascii_only: bool, tmp_path: Path
):
    lines = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    file = written(tmp_path, *lines)
    if len({tuple(sorted(record)) for record in records}) > 1:
        with pytest.raises(HoneError, match="is of the form"):
            items(file)
        return
    found = items(file)
    assert [item.path for item in found] == [f"r.jsonl:{number}" for number in range(1, len(records) + 1)]
    for record, item in zip(records, found, strict=True):
        if isinstance(item, Document) and "text" in record:
            assert item.text == record["text"].replace("\r\n", "\n")


def test_a_long_file_is_streamed(tmp_path: Path):
    file = written(tmp_path, *({"text": f"{number} " + "x" * 10_000} for number in range(2_000)))
    tracemalloc.start()
    count = sum(1 for _ in read([parse(str(file))]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2_000
    assert peak < file.stat().st_size / 4


def parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


ROWS = [{"text": f"row {number}", "id": number} for number in range(3)]


def test_a_local_dataset_file_and_folder(tmp_path: Path):
    file = parquet(tmp_path / "set/data/train-0.parquet", ROWS)
    parquet(tmp_path / "set/data/test-0.parquet", [{"text": "held out", "id": 9}])
    for spec, paths in (
        (f"hf:{file}", ["train-0.parquet:0", "train-0.parquet:1", "train-0.parquet:2"]),
        (f"hf:{tmp_path}/set", ["set:0", "set:1", "set:2"]),
        (f"hf:{tmp_path}/set@test", ["set:0"]),
    ):
        assert [item.path for item in items(spec)] == paths
    held_out = items(f"hf:{tmp_path}/set@test")[0]
    assert isinstance(held_out, Document)
    assert held_out.text == "held out"


def test_chat_in_a_dataset(tmp_path: Path):
    (document,) = items(f"hf:{parquet(tmp_path / 'chat.parquet', [{'messages': CHAT}])}")
    assert isinstance(document, Document)
    assert document.turns == tuple(Turn(**message) for message in CHAT)


def test_a_dataset_without_text_names_its_columns(tmp_path: Path):
    file = parquet(tmp_path / "d.parquet", [{"question": "a", "answer": "b"}])
    with pytest.raises(HoneError, match=r"d\.parquet:0 has no text: .*its columns are question, answer"):
        items(f"hf:{file}")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("d.parquet", b"no parquet", "d.parquet cannot be read"),
        ("d.bin", b"x", "d.bin is of no known format"),
        ("d.json", b'{"text": "a"}\n{"text": ', "d.json cannot be read"),
    ],
)
def test_a_damaged_dataset_is_one_line(name: str, content: bytes, line: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HoneError, match=line) as refused:
        items(f"hf:{tmp_path / name}")
    assert "\n" not in str(refused.value)


def test_datasets_of_a_hub_are_streamed_at_one_commit(tmp_path: Path):
    files = {"data/train-0.parquet": parquet(tmp_path / "a.parquet", ROWS).read_bytes()}
    with dataset_hub({"team/code": files}, tmp_path) as ask:
        good, unknown, no_split = ask("hf:team/code", "hf:team/none", "hf:team/code@none")
    assert good == {"paths": ["team/code:0", "team/code:1", "team/code:2"], "commit": COMMIT, "error": ""}
    assert "the dataset team/none cannot be found" in unknown["error"]
    assert "the dataset team/code cannot be read" in no_split["error"]
    assert "\n" not in unknown["error"] + no_split["error"]
