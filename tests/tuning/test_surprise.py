"""How little a base expects a file, by the model itself."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.tuning.tiny import SAMPLE, make_model, make_tokenizer, save_base
from tuning.corpus.document import Document
from tuning.examples.plain import IGNORED, windows
from tuning.surprise import MOST_ROWS, scorer


def document(path: str, text: str) -> Document:
    return Document(0, path, text, "python", None, "", len(text))


def test_the_bits_are_those_of_a_files_first_rows_by_the_plain_model(tmp_path: Path):
    bits_per_byte = scorer(save_base(tmp_path / "base"), 128)
    tokenizer, model = make_tokenizer(), make_model()
    end = tokenizer.get_vocab()["<|endoftext|>"]
    for text in (SAMPLE, SAMPLE * 12):
        rows = windows("a.py", text, tokenizer, 128, end)
        assert (len(rows) > MOST_ROWS) == (text != SAMPLE)
        nats = 0.0
        for row in rows[:MOST_ROWS]:
            logits = model(input_ids=torch.tensor([row.tokens])).logits[0, :-1]
            labels = torch.tensor(row.labels[1:])
            nats += functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
        size = sum(row.text_bytes for row in rows[:MOST_ROWS])
        found = bits_per_byte(document("a.py", text))
        assert found == pytest.approx(nats / math.log(2) / size, rel=1e-4)
        assert found > 1


def test_a_file_of_which_nothing_would_be_learnt_surprises_nobody(tmp_path: Path):
    bits_per_byte = scorer(save_base(tmp_path / "base"), 128)
    assert bits_per_byte(document("folder/" * 60 + "a.py", SAMPLE)) == 0.0
