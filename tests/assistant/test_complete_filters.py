import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.skills.filters import MAX_CONTINUATION_LINES, Shape, open_brackets, shape_at, stop, surroundings, trim

CODE = st.text("ab() {}[]:\n'\t\r#=,", max_size=60)


def finished(prefix: str, suffix: str, answer: str, shape: Shape | None = None) -> tuple[str, str | None]:
    """What is left of an answer that arrives character by character, and which filter ended it."""
    around = surroundings(prefix, suffix, shape)
    for end in range(1, len(answer) + 1):
        cut = stop(answer[:end], around)
        if cut:
            return trim(cut.text, around), cut.reason
    cut = stop(answer, around, final=True)
    return (trim(cut.text, around), cut.reason) if cut else (trim(answer, around), None)


@pytest.mark.parametrize(
    ("prefix", "suffix", "shape"),
    [
        ("x = ", "\ny = 2\n", "line"),
        ("def f(x):", "\n", "block"),
        ("if (x) {", "\n}\n", "block"),
        ("def f(x):\n    ", "\n", "block"),
        ("def f(x):\n    y = 1\n    ", "\n", "line"),
        ("call(", ")\n", "line"),
        ("items = [", "\n", "block"),
    ],
)
def test_blocks_are_completed_where_one_begins(prefix: str, suffix: str, shape: Shape) -> None:
    assert shape_at(prefix, suffix) == shape


def test_a_line_ends_at_its_newline() -> None:
    assert finished("x = ", "", "1\ny = 2\nz = 3\n") == ("1", "line")


def test_a_line_goes_on_while_its_brackets_are_open() -> None:
    assert finished("x = ", "", "call(\n    1,\n    2,\n)\ny = 3\n") == ("call(\n    1,\n    2,\n)", "line")


def test_an_unclosed_bracket_does_not_go_on_for_ever() -> None:
    text, reason = finished("x = ", "", "call(\n" + "".join(f"    {n},\n" for n in range(100)))
    assert reason == "line"
    assert text.count("\n") < MAX_CONTINUATION_LINES


def test_a_block_ends_at_the_dedent() -> None:
    answer = "\n    if x:\n        return 1\n    return 2\ndef g():\n    pass\n"
    assert finished("def f(x):", "", answer) == ("\n    if x:\n        return 1\n    return 2", "dedent")


def test_a_body_goes_on_after_a_blank_line_and_ends_at_the_dedent() -> None:
    answer = "x = 1\n\n    return x\n\n\ndef g():\n    pass\n"
    assert finished("def f():\n    ", "", answer, "body") == ("x = 1\n\n    return x", "dedent")
    assert finished("def f():\n    ", "", answer, "block") == ("x = 1", "blank_line")


@pytest.mark.parametrize(
    ("prefix", "answer", "kept"),
    [
        ("items = [", "\n    1,\n]\nother = 2\n", "\n    1,\n]"),
        ("def f(", "\n    a,\n) -> int:\n    return a\n", "\n    a,\n) -> int:"),
        ("if (x) {", "\n    y();\n}\nz();\n", "\n    y();\n}"),
    ],
)
def test_a_block_keeps_the_bracket_that_closes_it(prefix: str, answer: str, kept: str) -> None:
    assert finished(prefix, "\n", answer) == (kept, "dedent")


def test_a_block_ends_at_a_blank_line() -> None:
    assert finished("def f():\n    ", "", "return 1\n\n    more\n", "block") == ("return 1", "blank_line")


def test_what_already_follows_is_not_written_again() -> None:
    answer = "a = 1\n    b = 2\n    return a + b\n    c = 3\n"
    assert finished("def f():\n    ", "\n    return a + b\n", answer) == ("a = 1\n    b = 2", "suffix")


def test_the_rest_of_the_line_is_not_written_again() -> None:
    assert finished("print(", ")\nx = 1\n", "value)\n") == ("value", "line")
    assert finished("print(", ")\nx = 1\n", "value\n") == ("value", "line")


def test_a_closing_line_the_answer_opened_is_its_own() -> None:
    text, _ = finished("def f():\n    ", "\n    }\n", "x = {\n        1: 2,\n    }\n    y = 1\n", "block")
    assert text == "x = {\n        1: 2,\n    }\n    y = 1"


def test_repetition_is_cut() -> None:
    assert finished("", "", "    x = 1\n" * 9, "block") == ("    x = 1", "repetition")
    text, reason = finished("x = ", "", "foo(bar), " * 40)
    assert reason == "repetition"
    assert len(text) < 80


def test_a_rule_of_dashes_is_no_repetition() -> None:
    assert finished("# ", "", "-" * 70 + "\n") == ("-" * 70, "line")


def test_half_a_character_and_trailing_blanks_are_cut() -> None:
    around = surroundings("x = ", "")
    assert trim("'a'  \ufffd", around) == "'a'"
    assert trim("   \n  ", around) == ""


@given(prefix=CODE, suffix=CODE, answer=CODE, shape=st.sampled_from([None, "line", "block"]))
def test_filters_only_cut(prefix: str, suffix: str, answer: str, shape: Shape | None) -> None:
    text, _ = finished(prefix, suffix, answer, shape)
    assert answer.startswith(text)


@given(prefix=CODE, suffix=CODE, answer=CODE)
def test_a_line_in_the_middle_of_a_line_never_holds_a_newline(prefix: str, suffix: str, answer: str) -> None:
    text, _ = finished(prefix, "rest of line" + suffix, answer)
    assert "\n" not in text


@given(st.text("()[]{}ab", max_size=30))
def test_open_brackets_agrees_with_a_plain_count(text: str) -> None:
    depths, depth = [], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depths.append(depth)
    assert open_brackets(text) == (-1 if min(depths, default=0) < 0 else depth)


def test_brackets_in_quotes_do_not_count() -> None:
    assert open_brackets('x(\'(((\' , "[\\"[")') == 0
