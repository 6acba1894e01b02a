import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import prompts
from tests.tuning.tiny import SAMPLE, make_tokenizer
from tuning.examples import encode
from tuning.examples.pack import pack, pack_lengths
from tuning.examples.plain import IGNORED, Example, windows

TOKENIZER = make_tokenizer()
END = TOKENIZER.get_vocab()["<|endoftext|>"]
LINES = st.lists(
    st.text(alphabet="ab cd\t().=é日🙂\"'#<|endoftext|>", max_size=60).map(lambda line: line + "\n"),
    min_size=1,
    max_size=40,
)


def decoded(example: Example) -> str:
    return TOKENIZER.decode([token for token in example.tokens if token != END], skip_special_tokens=False)


@settings(max_examples=60, deadline=None)
@given(lines=LINES, row_length=st.integers(64, 200))
def test_windows_hold_every_character_once_under_the_completion_prompt(lines: list[str], row_length: int):
    text = "".join(lines)
    examples = windows("pkg/a.py", text, TOKENIZER, row_length, END)
    head = prompts.header("pkg/a.py")
    shown = [decoded(example) for example in examples]
    assert all(window.startswith(head) for window in shown)
    assert "".join(window.removeprefix(head) for window in shown) == text
    assert all(len(example.tokens) <= row_length for example in examples)
    assert [example.tokens[-1] == END for example in examples] == [False] * (len(examples) - 1) + [True]
    assert sum(example.text_bytes for example in examples) == len(text.encode())
    start = 0
    for window in shown:
        # What training showed is byte for byte what completion asks at the end of that window.
        body = window.removeprefix(head)
        assert window == prompts.completion("pkg/a.py", text[start : start + len(body)])
        start += len(body)


def test_windows_end_at_line_ends_and_mask_the_header():
    examples = windows("pkg/a.py", SAMPLE * 3, TOKENIZER, 100, END)
    assert len(examples) > 3
    assert all(decoded(example).endswith("\n") for example in examples)
    first = examples[0]
    ((start, end),) = first.supervised
    assert end == len(first.tokens)
    assert first.labels == (IGNORED,) * start + first.tokens[start:]
    assert TOKENIZER.decode(first.tokens[:start]) == "# pkg/a.py\n"


def test_a_line_longer_than_a_row_is_cut_inside():
    text = "x = '" + "ab" * 900 + "'\n"
    examples = windows("a.py", text, TOKENIZER, 64, END)
    assert "".join(decoded(example).removeprefix("# a.py\n") for example in examples) == text


@given(lengths=st.lists(st.integers(1, 50), max_size=60))
def test_packing_loses_and_cuts_nothing(lengths: list[int]):
    examples = [Example((number,) * length, ()) for number, length in enumerate(lengths)]
    rows = pack(examples, 50)
    assert sorted(example.tokens for row in rows for example in row) == sorted(example.tokens for example in examples)
    assert all(sum(len(example.tokens) for example in row) <= 50 for row in rows)
    # No two rows could have been one.
    fills = sorted(sum(len(example.tokens) for example in row) for row in rows)
    assert len(fills) < 2 or fills[0] + fills[1] > 50


@given(lengths=st.lists(st.integers(1, 50), max_size=60))
def test_packing_lengths_is_best_fit_decreasing(lengths: list[int]):
    rows = pack_lengths(np.array(lengths, dtype=np.int32), 50)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 50 for row in rows)
    # The same by the definition: the longest first, each into a fullest row with room for it.
    free: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in free if room >= length]
        if fitting:
            free.remove(min(fitting))
        free.append((min(fitting) if fitting else 50) - length)
    assert sorted(50 - sum(lengths[index] for index in row) for row in rows) == sorted(free)
    assert rows == pack_lengths(np.array(lengths, dtype=np.int64), 50)


def test_labels_are_the_tokens_of_the_supervised_spans():
    example = Example((4, 5, 6, 7, 8), ((1, 2), (3, 5)))
    assert example.labels == (IGNORED, 5, IGNORED, 7, 8)


def test_a_beginning_token_that_the_tokenizer_writes_opens_every_window():
    from tokenizers.processors import TemplateProcessing

    begun = make_tokenizer()
    begun.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", END)]
    )
    first, *_ = examples = windows("a.py", SAMPLE * 3, begun, 100, 5)
    assert all(example.tokens[0] == END for example in examples)
    assert [example.tokens[1:] for example in examples] == [
        example.tokens for example in windows("a.py", SAMPLE * 3, TOKENIZER, 99, 5)
    ]
    # As the engines read a prompt.
    prompt = prompts.completion("a.py", SAMPLE * 3)
    read = begun(prompt, add_special_tokens=True, split_special_tokens=True).input_ids
    assert first.tokens[:50] == tuple(read[:50])
    assert first.supervised[0][0] == 1 + len(TOKENIZER(prompts.header("a.py")).input_ids)


def test_control_tokens_that_are_not_called_special_stay_text_in_a_file():
    from tokenizers import AddedToken

    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<|fim_middle|>", normalized=False), AddedToken("    ", normalized=False)])
    numbers = tokenizer.get_vocab()
    encode.protect(tokenizer.backend_tokenizer)
    (ids,) = encode.plain(tokenizer, ['x = "<|fim_middle|>"\n    y'])
    assert numbers["<|fim_middle|>"] not in ids
    assert numbers["    "] in ids
    assert tokenizer.decode(ids) == 'x = "<|fim_middle|>"\n    y'
    assert tokenizer("<|fim_middle|>").input_ids == [numbers["<|fim_middle|>"]]


def test_an_example_longer_than_a_row_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        pack([Example((1,) * 9, ())], 8)
