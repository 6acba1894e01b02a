"""From sources to a corpus in files, and to rows: what is taken, where it goes, what is made again."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import HoneError
from tests.conftest import git
from tests.tuning.code import module, modules
from tests.tuning.elsewhere import Elsewhere, contents
from tests.tuning.tiny import make_tokenizer
from tuning import data as pipeline
from tuning.corpus import neardup, ordered
from tuning.corpus.assemble import Surprise, assemble
from tuning.corpus.document import Document
from tuning.corpus.ordered import Workers
from tuning.examples.mutate import OPERATORS
from tuning.jobs import ray_workers
from tuning.plan import CorpusOptions, ExampleOptions, Plan

PLAN = Plan(steps=1, row_length=128)


@pytest.fixture
def repository(make_repository) -> Path:
    return make_repository(modules(40))


def corpus_of(*specs, **options):
    chosen = CorpusOptions(**options)
    return pipeline.read_corpus(pipeline.resolve_sources(specs, chosen), chosen)


def test_every_file_has_a_verdict_and_every_document_a_side(hone_home, make_repository):
    files = modules(20)
    copy = files["pkg/m3.py"]
    near = "\n".join([*files["pkg/m5.py"].split("\n")[:-1], "    return other"])
    repository = make_repository(
        {
            **files,
            "pkg/again.py": copy,
            "pkg/close.py": near,
            "README.md": "# text\n",
            "pkg/vendor/lib.py": module(99),
            "data.bin": b"\x00\x01",
        }
    )
    corpus = corpus_of(repository)
    verdicts = {one.path: one.verdict for one in corpus.dropped()}
    assert verdicts["pkg/again.py" if "pkg/again.py" in verdicts else "pkg/m3.py"] == "duplicate"
    assert verdicts["pkg/close.py" if "pkg/close.py" in verdicts else "pkg/m5.py"] == "near duplicate"
    assert verdicts["README.md"] == "not source"
    assert verdicts["pkg/vendor/lib.py"] == "vendored"
    taken = {file.path for file in corpus.files()}
    tracked = set(git(repository, "ls-files").split("\n")) - {""}
    assert taken | set(verdicts) == tracked
    assert not taken & set(verdicts)
    assert corpus.summary.verdicts["taken"] == len(taken) == sum(corpus.summary.sides.values())
    assert all(corpus.summary.sides.values())


def test_secrets_are_in_no_file_that_is_kept(hone_home, make_repository):
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    files = modules(12)
    files["pkg/m1.py"] += f'\n\nGITHUB = "{secret}"\n'
    corpus = corpus_of(make_repository(files))
    assert sum(corpus.summary.redactions.values()) == 1
    pipeline.make_rows(corpus, make_tokenizer(), PLAN)
    kept = [file for file in hone_home.rglob("*") if file.is_file()]
    assert len(kept) > 5
    assert not [file for file in kept if secret.encode() in file.read_bytes()]


def test_copies_stay_on_one_side_across_sources(hone_home, make_repository):
    one = make_repository(modules(30), "one")
    # Related, below the threshold that drops: half of each file is another's.
    halves = {f"lib/h{number}.py": module(number) + "\n\n" + module(1000 + number, 2) for number in range(30)}
    two = make_repository(halves, "two")
    corpus = corpus_of(one, two, near_duplicates=0.95)
    sides = {(file.source, file.path): file.split for file in corpus.files()}
    assert len(sides) == 60
    assert {sides[0, f"pkg/m{number}.py"] == sides[1, f"lib/h{number}.py"] for number in range(30)} == {True}


def test_what_was_read_once_is_not_read_again_until_it_changes(hone_home, repository, monkeypatch):
    first = corpus_of(repository)
    reads = []
    monkeypatch.setattr(pipeline, "assemble", lambda *a, **k: reads.append(1) or assemble(*a, **k))
    assert corpus_of(repository).folder == first.folder
    assert not reads
    (repository / "pkg" / "m7.py").write_text(module(7) + "\n\nCHANGED = 1\n")
    changed = corpus_of(repository)
    assert reads == [1]
    assert changed.summary.digest != first.summary.digest
    (repository / ".honeignore").write_text("m7.py\n")
    ignored = corpus_of(repository)
    assert reads == [1, 1]
    assert "pkg/m7.py" not in {file.path for file in ignored.files()}
    corpus_of(repository, languages=("python",))
    assert reads == [1, 1, 1]


def test_rows_are_made_once_and_hold_what_the_documents_say(hone_home, repository, monkeypatch):
    tokenizer = make_tokenizer()
    data = pipeline.prepare([repository], tokenizer, PLAN)
    monkeypatch.setattr(pipeline, "_write_rows", lambda *_: pytest.fail("made again"))
    again = pipeline.prepare([repository], tokenizer, PLAN)
    assert [*again.rows] == [*data.rows]
    texts = {document.path: document.text for document in data.corpus.documents("train")}
    learnt = "".join(
        tokenizer.decode([token for token, label in zip(example.tokens, example.labels, strict=True) if label != -100])
        for row in data.rows
        for example in row
    ).replace("<|endoftext|>", "")
    assert sorted(learnt) == sorted("".join(texts.values()))
    assert data.train_tokens == sum(len(example.tokens) for row in data.rows for example in row)
    assert data.supervised_tokens == sum(
        label != -100 for row in data.rows for example in row for label in example.labels
    )
    assert max(sum(len(example.tokens) for example in row) for row in data.rows) <= 128


def test_weights_repeat_a_source(hone_home, make_repository):
    one, two = make_repository(modules(20), "one"), make_repository(modules(20, first=100), "two")
    plain = pipeline.prepare([one, two], make_tokenizer(), PLAN)
    twice = pipeline.prepare([one, two], make_tokenizer(), replace(PLAN, corpus=CorpusOptions(weights=(2.0, 1.0))))
    assert twice.counts["code"] - plain.counts["code"] == _examples_of(plain, source=0) > 0
    assert twice.supervised_tokens > plain.supervised_tokens


def _examples_of(data, source: int) -> int:
    from tuning.examples.plain import windows

    return sum(
        len(windows(document.path, document.text, make_tokenizer(), 128, data.end_token))
        for document in data.corpus.documents("train")
        if document.source == source
    )


def test_replayed_code_is_the_share_that_was_asked_for_and_never_validates(hone_home, make_repository):
    own, general = make_repository(modules(30), "own"), make_repository(modules(60, first=500), "general")
    options = CorpusOptions(replay=0.25, replay_source=str(general))
    data = pipeline.prepare([own], make_tokenizer(), replace(PLAN, corpus=options))
    plain = pipeline.prepare([own], make_tokenizer(), PLAN)
    share = 1 - plain.train_tokens / data.train_tokens
    assert 0.1 < share < 0.4
    assert sum(len(row) for row in data.validation) == sum(len(row) for row in plain.validation)


def test_what_stands_in_an_eval_set_is_left_out_before_the_split_and_the_hit_is_told(hone_home, repository, tmp_path):
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps({"task_id": "Exam/7", "prompt": "Write it.", "canonical_solution": module(4)}) + "\n")
    corpus = corpus_of(repository, decontaminate_files=(str(exam),))
    (dropped,) = corpus.dropped()
    assert (dropped.path, dropped.verdict) == ("pkg/m4.py", "contaminated")
    assert dropped.reason.endswith("runs of 13 words in common with Exam/7 of exam")
    assert "pkg/m4.py" not in {file.path for file in corpus.files()}
    assert corpus.summary.verdicts == {"taken": 39, "contaminated": 1}
    assert module(4) not in {document.text for document in corpus.documents()}
    assert corpus_of(repository, decontaminate=None).summary.files == 40


def test_what_surprises_the_base_is_left_out(hone_home, repository):
    def bits(document: Document) -> float:
        return 9.0 if document.path == "pkg/m4.py" else 1.0

    options = CorpusOptions(max_surprise=5.0)
    corpus = pipeline.read_corpus(
        pipeline.resolve_sources([repository], options), options, surprise=Surprise("base", bits)
    )
    assert {one.path: one.reason for one in corpus.dropped()} == {
        "pkg/m4.py": "9.00 bits per byte under the base model, over 5"
    }


def test_records_become_their_own_kinds(hone_home, tmp_path):
    prompts = tmp_path / "pairs.jsonl"
    prompts.write_text(
        "".join(
            json.dumps({"prompt": f"{module(n, 1)}\n# next", "completion": module(n + 50, 1)}) + "\n" for n in range(30)
        )
    )
    data = pipeline.prepare([prompts], make_tokenizer(), replace(PLAN, row_length=512))
    assert set(data.counts) == {"prompt"}
    example = data.rows[0][0]
    assert 0 < example.supervised[0][0] < len(example.tokens)


def test_instructions_for_a_base_without_chat_template_are_one_line(hone_home, make_repository):
    documented = {
        f"pkg/m{number}.py": f"def f{number}(a, b):\n"
        f'    """Adds {module(number, 1)[4:10]} to the other number given."""\n    total = a + b\n'
        f"    total += {number}\n    return total\n" + module(number)
        for number in range(12)
    }
    plan = replace(PLAN, examples=ExampleOptions(instruct_rate=1.0))
    with pytest.raises(HoneError, match="no chat template"):
        pipeline.prepare([make_repository(documented)], make_tokenizer(), plan)


def test_wherever_the_work_is_done_the_same_files_are_left(hone_home, make_repository, tmp_path, monkeypatch):
    monkeypatch.setattr(ordered, "BATCH_BYTES", 5000)
    monkeypatch.setattr(neardup, "BATCH_BYTES", 5000)
    monkeypatch.setattr(pipeline, "_WORTH_BYTES", 0)
    # Put together here, so that no scanner takes this file for a leak.
    leaked = 'token = "ghp_' + '1234567890abcdefghijklmnopqrstuvwxyz"\n'
    texts = modules(60) | {"src/leak.py": leaked * 3, "src/min.min.js": "x" * 3000, "src/empty.py": ""}
    repository = make_repository(texts)
    plan = replace(PLAN, corpus=CorpusOptions(weights=(2.5,)), examples=ExampleOptions(review_rate=1.0), row_length=512)
    elsewhere = Elsewhere()
    made = {}
    for name, workers in (
        ("alone", nullcontext(ordered.ALONE)),
        ("two processes", ordered.on_this_machine(2)),
        ("elsewhere", nullcontext(Workers(elsewhere, 3))),
    ):
        monkeypatch.setenv("HONE_HOME", str(tmp_path / name))
        with workers as these:
            monkeypatch.setattr(pipeline, "_workers", lambda these=these: nullcontext(these))
            data = pipeline.prepare([repository], make_tokenizer(), plan)
        assert data.corpus.summary.redactions == {"GitHub Token": 3}
        assert data.counts["review"] > 5
        made[name] = contents(tmp_path / name / "cache")
    assert len(made["alone"]) == 16
    assert made["two processes"] == made["alone"]
    assert made["elsewhere"] == made["alone"]
    # So it did work, not in the order that it was asked in, and without being sent the whole corpus at once.
    assert {"Making", "redact_batch", "_block"} <= {*elsewhere.works}
    assert elsewhere.done != sorted(elsewhere.done)
    assert elsewhere.most <= 8 < len(elsewhere.done)


def test_a_run_across_nodes_of_ray_gives_its_corpus_to_them(monkeypatch):
    with pipeline._workers() as workers:
        assert not isinstance(workers.executor, ray_workers.Actors)
    monkeypatch.setenv(ray_workers.VARIABLE, '{"one": 2, "other": 1}')
    with pipeline._workers() as workers:
        assert isinstance(workers.executor, ray_workers.Actors)
        assert workers.ahead == 6
    assert "ray" not in sys.modules


def test_a_broken_detector_leaves_nothing(hone_home, repository, monkeypatch):
    from tuning.corpus import redact as steps

    def broken(_: Document):
        raise HoneError("the detector of secrets failed")

    monkeypatch.setattr(steps, "redact_document", broken)
    with pytest.raises(HoneError, match="detector"):
        corpus_of(repository)
    assert not [path for path in (hone_home / "cache").rglob("*") if path.is_file()]


def test_a_full_disk_is_one_line(hone_home, repository, monkeypatch):
    from tuning.corpus import assemble as steps

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(steps, "_write_files", full)
    with pytest.raises(HoneError, match="No space left"):
        corpus_of(repository)


def test_review_examples_come_from_seeded_bugs_and_from_the_history(hone_home, make_repository):
    files = modules(12)
    path = "pkg/m2.py"
    wrong = files[path].replace(" + ", " - ", 1)
    repository = make_repository({**files, path: wrong})
    (repository / path).write_text(files[path])
    git(repository, "commit", "-q", "-a", "-m", "fix: add instead of subtracting")
    plan = replace(PLAN, row_length=512, examples=ExampleOptions(review_rate=1.0))
    data = pipeline.prepare([repository], make_tokenizer(), plan)
    sides = {file.path: file.split for file in data.corpus.files()}
    assert data.counts["review"] > 5
    assert ("fix" in data.counts) == (sides[path] == "train")
    # No function awaits anything, so the one operator that is left finds no place.
    others = tuple(name for name in OPERATORS if name != "missing-await")
    plan = replace(plan, examples=replace(plan.examples, held_out_operators=others))
    assert not pipeline.prepare([repository], make_tokenizer(), plan).counts.get("review")
