"""Feedback as a run reads it: written down once, tokenized as the engines do, mixed with the corpus."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant import paths, prompts
from assistant.errors import HoneError
from assistant.feedback import COPIES
from tests.tuning.code import modules
from tests.tuning.tiny import make_tokenizer
from tests.tuning.tiny_tokenizers import with_tokens
from tuning import feedback_rows
from tuning.data import Data, prepare
from tuning.feedback_data import Row, Selection
from tuning.feedback_rows import KIND, Encoder, mixed
from tuning.plan import FeedbackOptions, Plan

TOKENIZER = make_tokenizer()
END = TOKENIZER.get_vocab()["<|endoftext|>"]


def row(number: int = 1, **fields: Any) -> Row:
    values = {
        "id": f"s{number}",
        "prompt": f"# shop{number}.py\ndef area(width, height):\n    ",
        "text": f"return width * {number}\n",
        "good": True,
        "source": "complete",
        "rendered": True,
        "path": f"shop{number}.py",
        "whole": True,
    }
    return Row(**{**values, **fields})


def selection(*rows: Row) -> Selection:
    return Selection(rows, (), (), "none", {"repeated": 1})


def test_what_is_written_down_is_read_as_it_was(hone_home: Path) -> None:
    digest = feedback_rows.write(selection(row(1), row(2, path=None)))
    found = feedback_rows.read(digest)
    assert found.completions == (row(1), row(2, path=None))
    assert (found.ids, found.method, found.left_out) == (("s1", "s2"), "none", {"repeated": 1})
    assert feedback_rows.write(selection(row(1), row(2, path=None))) == digest
    (paths.cache_dir() / COPIES / digest).rename(hone_home / "gone")
    with pytest.raises(HoneError, match="forgotten meanwhile; begin anew with --restart"):
        feedback_rows.read(digest)


def test_a_completion_is_read_as_the_engines_read_it_and_does_not_end_the_file() -> None:
    one = row()
    encoded = Encoder(TOKENIZER, END, 128).encode(one, one.text)
    assert encoded is not None
    assert TOKENIZER.decode(encoded.prompt) == one.prompt
    assert TOKENIZER.decode(encoded.answer) == one.text
    assert encoded.example.supervised == ((len(encoded.prompt), len(encoded.prompt + encoded.answer)),)
    assert END not in encoded.example.tokens
    assert encoded.text_bytes == len(one.text)


def test_a_spelt_control_token_stays_text() -> None:
    one = row(prompt="# a.py\nend = '<|endoftext|>'\nx = ", text="'<|endoftext|>'\n")
    encoded = Encoder(TOKENIZER, END, 128).encode(one, one.text)
    assert encoded is not None
    assert END not in encoded.example.tokens
    assert TOKENIZER.decode(encoded.example.tokens) == one.prompt + one.text


def test_a_long_prompt_loses_lines_at_its_beginning() -> None:
    lines = [f"value_{number} = {number}\n" for number in range(60)]
    encoder = Encoder(TOKENIZER, END, 100)
    encoded = encoder.encode(row(prompt="".join(lines) + "x = "), "value_1\n")
    assert encoded is not None
    assert len(encoded.example.tokens) <= 100
    kept = TOKENIZER.decode(encoded.prompt)
    assert kept.endswith("value_59 = 59\nx = ")
    assert kept.startswith("value_")
    # As many lines as fit.
    assert len(encoded.example.tokens) > 80
    assert encoder.encode(row(prompt="x" * 900), "1\n") is None
    assert encoder.encode(row(), "long " * 200) is None


def test_an_infilled_middle_ends_and_its_prompt_is_never_cut() -> None:
    tokens = prompts.FimTokens("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    tokenizer = with_tokens(tokens.prefix, tokens.suffix, tokens.middle)
    vocabulary = tokenizer.get_vocab()
    end = vocabulary[prompts.document_end(vocabulary, tokenizer.eos_token)]
    one = row(prompt=prompts.fim("a.py", "x = ", "\ny = 2\n", tokens), text="1")
    encoder = Encoder(tokenizer, end, 128)
    encoded, part = encoder.encode(one, one.text), encoder.encode(replace(one, whole=False), one.text)
    assert encoded is not None
    assert part is not None
    assert {vocabulary[tokens.prefix], vocabulary[tokens.suffix], vocabulary[tokens.middle]} <= set(encoded.prompt)
    # What was taken in part goes on.
    assert encoded.answer == (*part.answer, end)
    assert Encoder(tokenizer, end, 12).encode(one, one.text) is None


@pytest.fixture
def data(hone_home: Path, make_repository: Any) -> Data:
    return prepare([make_repository(modules(30))], TOKENIZER, Plan(row_length=128))


def plan_of(*rows: Row, **options: Any) -> Plan:
    return Plan(row_length=128, feedback=FeedbackOptions(rows=feedback_rows.write(selection(*rows)), **options))


def test_the_corpus_makes_its_share_of_the_tokens_and_each_completion_is_there_once(data: Data) -> None:
    rows = [row(number) for number in range(40)]
    plan = plan_of(*rows, replay=0.5)
    found = mixed(data, feedback_rows.read(plan.feedback.rows), TOKENIZER, plan)
    texts = [
        TOKENIZER.decode(example.tokens[slice(*example.supervised[0])]) for packed in found.rows for example in packed
    ]
    held_out = [
        TOKENIZER.decode(example.tokens[slice(*example.supervised[0])])
        for packed in found.validation
        for example in packed
    ]
    learnt = {one.text for one in rows} & set(texts)
    assert learnt | (set(held_out) & {one.text for one in rows}) == {one.text for one in rows}
    assert not learnt & set(held_out)
    assert 1 <= len(set(held_out) & {one.text for one in rows}) <= 12
    own = sum(
        len(one.tokens) for packed in found.rows for one in packed if END not in one.tokens and len(one.tokens) < 60
    )
    assert 0.35 < own / found.train_tokens < 0.65
    assert found.counts[KIND] == len(learnt)
    assert found.train_tokens == sum(len(one.tokens) for packed in found.rows for one in packed)
    # The end of a document is learnt too.
    assert any(END in one.labels for packed in found.rows for one in packed)
    assert found.rows[-1] == found.rows[len(found.rows) - 1]
    assert found.rows[1:3] == [found.rows[1], found.rows[2]]


def test_another_start_or_other_rows_are_other_data(data: Data) -> None:
    plans = [plan_of(row(1)), plan_of(row(2)), plan_of(row(1), start="a@1"), plan_of(row(1), replay=0.1)]
    digests = {mixed(data, feedback_rows.read(plan.feedback.rows), TOKENIZER, plan).digest for plan in plans}
    assert len(digests) == 4
    assert data.digest not in digests


def test_one_file_alone_is_learnt_and_not_held_out(data: Data) -> None:
    for number in range(30):
        plan = plan_of(row(number))
        found = mixed(data, feedback_rows.read(plan.feedback.rows), TOKENIZER, plan)
        assert found.counts[KIND] == 1
        assert len(found.validation) >= 1
