import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import prompts
from assistant.languages import Language, language_of
from assistant.skills import brackets
from assistant.skills.filters import (
    MAX_CONTINUATION_LINES,
    Shape,
    in_comment,
    open_brackets,
    shape_at,
    stop,
    surroundings,
    trim,
)
from tests.conftest import ROOT
from tests.tuning.samples import SAMPLES

CODE = st.text("ab() {}[]:\n'\"\t\r#=,/*", max_size=60)
PATHS = ["a.py", "a.js", "a.rs", "a.sh", "a.css", "a.html", "a.txt"]


def finished(
    prefix: str, suffix: str, answer: str, shape: Shape | None = None, language: Language | None = None
) -> tuple[str, str | None]:
    """What is left of an answer that arrives character by character, and which filter ended it."""
    around = surroundings(prefix, suffix, shape, language)
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
    assert finished("print(", ")\nx = 1\n", "value)\n") == ("value", "bracket")
    assert finished('print("', '")\nx = 1\n', 'value")\n') == ("value", "bracket")
    assert finished("x[", "]\n", "y[0]\n") == ("y[0]", "line")
    assert finished("x = a", " + b\n", "[1] + b\n") == ("[1]", "line")
    assert finished("f(a, ", ", z)\n", "b, \n") == ("b", "line")
    assert finished("print(", ")\nx = 1\n", "value\n") == ("value", "line")
    assert finished("f(a, ", ", other=1)\n", "b, other=1) + 2\n") == ("b", "bracket")
    assert finished("x = ", "width * 2\n", "height + width\n") == ("height + ", "line")
    assert finished("x = ", "width * 2\n", "max_width\n") == ("max_width", "line")
    assert finished("x = ", "a_1 * 2\n", "b + a_1\n") == ("b + a_1", "line")


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


@pytest.mark.parametrize(
    ("path", "prefix", "suffix", "answer", "kept"),
    [
        # Closed behind the cursor already.
        ("a.py", "foo(bar(", "))\n", "x, y)) + 1\n", "x, y"),
        ("a.py", "foo(bar(", ")\n", "x, y)) + 1\n", "x, y)"),
        # What was opened further up may be closed.
        ("a.py", "foo(\n    bar(", "\n", "x, y))\n", "x, y))"),
        ("a.py", "foo[", "\n", "x)\n", "x"),
        # A bracket alone on its line closes what is indented the same.
        ("a.js", "function f() {\n  if (x) {", "\n}\n", "\n    y();\n  }\n}\n", "\n    y();\n  }"),
        # Strings and comments close nothing.
        ("a.py", "x = ", "\n", "')' + \")\" + y\n", "')' + \")\" + y"),
        ("a.py", 'print("a', '")\n', ") b", ") b"),
        ("a.py", "x = call(a,  # see b)\n    ", "\n", "b)\n", "b)"),
        ("a.rs", "fn f<'a>(x: &'a str) { g(", ") }\n", "'(', x)\n", "'(', x"),
        ("a.js", "glob('src/*.py', [", "])\n", "1]\n", "1"),
        ("a.py", 'def f():\n    """As in a).\n    ', "\n", "1) first\n", "1) first"),
    ],
)
def test_a_bracket_that_closes_nothing_ends_the_completion(
    path: str, prefix: str, suffix: str, answer: str, kept: str
) -> None:
    assert finished(prefix, suffix, answer, language=language_of(path))[0] == kept


@pytest.mark.parametrize("language", SAMPLES)
def test_no_bracket_of_real_code_is_taken_for_one_too_many(language: str) -> None:
    suffixes = {
        "python": "a.py",
        "javascript": "a.js",
        "typescript": "a.ts",
        "go": "a.go",
        "rust": "a.rs",
        "java": "a.java",
    }
    path = suffixes.get(language, f"a.{language}")
    check_lines(SAMPLES[language], language_of(path), step=1)


@pytest.mark.parametrize("name", ["assistant/skills/complete.py", "tuning/examples/fim.py", "tests/conftest.py"])
def test_no_bracket_of_our_own_code_is_taken_for_one_too_many(name: str) -> None:
    check_lines((ROOT / name).read_text("utf-8"), language_of(name), step=5)


def check_lines(text: str, language: Language | None, step: int) -> None:
    lines = text.split("\n")
    for number in range(0, len(lines) - 1, step):
        prefix, suffix = "\n".join([*lines[:number], ""]), "\n" + "\n".join(lines[number + 1 :])
        _, reason = finished(prefix, suffix, lines[number] + "\n", "line", language)
        assert reason != "bracket", lines[number]


@pytest.mark.parametrize(
    ("path", "line", "inside"),
    [
        ("a.py", "x = 1  # the ", True),
        ("a.py", "x = '# no", False),
        ("a.py", "x = '#' + y", False),
        ("a.js", "// see (", True),
        ("a.js", "  * Returns ", True),
        ("a.js", "x = a /* why", True),
        ("a.js", "x = a /* why */ ", False),
        ("a.js", "url = 'http://", False),
        ("a.sh", "echo ${x#y", False),
        ("a.css", "/* red", True),
        ("a.html", "<!-- no ", True),
        ("a.html", "<p># ", False),
        ("a.txt", "# x", False),
    ],
)
def test_comments_are_told_from_code(path: str, line: str, inside: bool) -> None:
    assert in_comment("first = 1\n" + line, language_of(path)) == inside


def test_in_a_comment_one_line_is_completed() -> None:
    python = language_of("a.py")
    assert finished("# steps (see below):", "", "\n# one\n# two\n", language=python) == ("", "line")
    assert finished("x = 1  # as in (", "", "the paper\ny = 2)\n", language=python) == ("the paper", "line")
    assert finished("x = 1  # as in ", "", "the paper)\n", language=python) == ("the paper)", "line")


def test_the_line_above_is_not_written_again() -> None:
    prefix = "def f():\n    rows.append(first)\n    "
    assert finished(prefix, "", "rows.append(first)\n    rows.append(last)\n", "block") == ("", "repetition")
    assert finished("a = [\n    0,\n    ", "", "0,\n    1,\n", "block")[0] == "0,\n    1,"


def test_lines_that_take_turns_are_kept_once() -> None:
    answer = "    a()\n    b()\n    c()\n" * 5
    assert finished("def f():\n", "", answer, "body") == ("    a()\n    b()\n    c()", "repetition")


@given(
    prefix=CODE,
    suffix=CODE,
    answer=CODE,
    shape=st.sampled_from([None, "line", "block"]),
    language=st.sampled_from([language_of(path) for path in PATHS]),
)
def test_filters_only_cut(
    prefix: str, suffix: str, answer: str, shape: Shape | None, language: Language | None
) -> None:
    text, _ = finished(prefix, suffix, answer, shape, language)
    assert answer.startswith(text)


@given(prefix=CODE, suffix=CODE, answer=CODE, language=st.sampled_from([language_of(path) for path in PATHS]))
def test_nothing_is_left_that_closes_nothing(prefix: str, suffix: str, answer: str, language: Language | None) -> None:
    around = surroundings(prefix, suffix, None, language)
    text, _ = finished(prefix, suffix, answer, None, language)
    if not around.comment:
        assert brackets.unmatched(text, language, around.open, len(text)) is None


@given(prefix=CODE, suffix=CODE)
def test_without_quotes_brackets_behind_the_cursor_take_what_is_open(prefix: str, suffix: str) -> None:
    prefix, suffix = (text.translate({ord(sign): "" for sign in "'\"#/*"}) for text in (prefix, suffix))
    opened = brackets.available(prefix, "", None).closers
    left = brackets.available(prefix, suffix, None).closers
    assert len(left) <= len(opened)
    assert all(left.count(closer) <= opened.count(closer) for closer in ")]}")


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


@pytest.mark.parametrize("path", ["src/shop/cart.py", "web/cart.ts", "include/cart.h", "page/index.html"])
def test_it_ends_before_the_line_that_names_another_file(path: str) -> None:
    named = prompts.header(path)
    assert finished("def f(a):\n", "", named + "import os\n", shape="body") == ("", "next_file")
    assert finished("def f(a):\n", "", "    return a\n" + named, shape="body")[0] == "    return a"
    assert finished("x = 1\n", "", f"# see {path}\ny = 2\n")[0].startswith("# see")
