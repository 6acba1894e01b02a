import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import prompts
from tests.tuning.tiny import SAMPLE, make_tokenizer
from tuning.examples.pack import pack
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
    assert first.labels[: first.supervised_from] == (IGNORED,) * first.supervised_from
    head = TOKENIZER.decode(first.tokens[: first.supervised_from])
    assert head == "# pkg/a.py\n"


def test_a_line_longer_than_a_row_is_cut_inside():
    text = "x = '" + "ab" * 900 + "'\n"
    examples = windows("a.py", text, TOKENIZER, 64, END)
    assert "".join(decoded(example).removeprefix("# a.py\n") for example in examples) == text


@given(lengths=st.lists(st.integers(1, 50), max_size=60))
def test_packing_loses_and_cuts_nothing(lengths: list[int]):
    examples = [Example((number,) * length, 0) for number, length in enumerate(lengths)]
    rows = pack(examples, 50)
    assert sorted(example.tokens for row in rows for example in row) == sorted(example.tokens for example in examples)
    assert all(sum(len(example.tokens) for example in row) <= 50 for row in rows)
    # No two rows could have been one.
    fills = sorted(sum(len(example.tokens) for example in row) for row in rows)
    assert len(fills) < 2 or fills[0] + fills[1] > 50


def test_an_example_longer_than_a_row_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        pack([Example((1,) * 9, 0)], 8)
