"""Which blocks and bodies are asked for, in every language that has a grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import UsageError
from evals.tasks.heldout import HeldOutFile
from evals.tasks.levels import LEVELS, MAX_CHARACTERS, choose, eligible_spans, parse
from evals.tasks.places import Level
from evals.tasks.places import choose as choose_lines

PYTHON = '''"""Module."""


class Box:
    """A box."""

    def area(self):
        """Width by height."""
        width = self.width

        return width * self.height

    def stub(self):
        """Nothing yet."""
        raise NotImplementedError


def run(rows):
    for row in rows:  # each
        print(row)
        count(row)  # counted
    if rows:
        return 1

    def inner(x):
        return x + 1

    return inner


def text():
    return """
less
"""


def one(): return 1
'''

BRACES = {
    "a.js": (
        "function f(a) {\n  // why\n  if (a) {\n    g(a);\n    h(a);\n  }\n  return a;\n}\n"
        "class C {\n  m() {\n    go();\n  }\n}\n",
        ["g(a);\n    h(a);"],
        ["if (a) {\n    g(a);\n    h(a);\n  }\n  return a;", "go();"],
    ),
    "a.ts": (
        "export function f(a: number): number {\n  while (a > 1) {\n    a = half(a);\n  }\n  return a;\n}\n",
        ["a = half(a);"],
        ["while (a > 1) {\n    a = half(a);\n  }\n  return a;"],
    ),
    "a.go": (
        "package a\n\nfunc F(a int) int {\n\tfor a > 1 {\n\t\ta = half(a)\n\t}\n\treturn a\n}\n",
        ["a = half(a)"],
        ["for a > 1 {\n\t\ta = half(a)\n\t}\n\treturn a"],
    ),
    "a.rs": (
        "fn f(a: i32) -> i32 {\n"
        "    if a > 1 {\n        g(a)\n    } else {\n        h(a)\n    }\n}\nfn todo() {\n    todo!()\n}\n",
        ["g(a)", "h(a)"],
        ["if a > 1 {\n        g(a)\n    } else {\n        h(a)\n    }"],
    ),
    "a.java": (
        "class A {\n  A() {\n    start();\n  }\n"
        "  int f(int a) {\n    while (a > 1) {\n      a = g(a);\n    }\n    return a;\n  }\n}\n",
        ["a = g(a);"],
        ["start();", "while (a > 1) {\n      a = g(a);\n    }\n    return a;"],
    ),
    "a.c": (
        "int f(int a) {\n  do {\n    a = g(a);\n  } while (a);\n  return a;\n}\n",
        ["a = g(a);"],
        ["do {\n    a = g(a);\n  } while (a);\n  return a;"],
    ),
    "a.cpp": (
        "struct A {\n  int f(int a) {\n    if (a) {\n      g(a);\n    }\n    return a;\n  }\n};\n",
        ["g(a);"],
        ["if (a) {\n      g(a);\n    }\n    return a;"],
    ),
}


def held(path: str, text: str) -> HeldOutFile:
    return HeldOutFile(path, text, "", len(text.encode()))


def found(path: str, text: str, level: Level) -> list[str]:
    return [text[start:end] for start, end in eligible_spans(path, text, level)]


def test_python_bodies_begin_after_the_docstring_and_leave_out_stubs_strings_and_inner_functions() -> None:
    bodies = found("a.py", PYTHON, "body")
    assert bodies[0] == "width = self.width\n\n        return width * self.height"
    assert bodies[1].startswith("for row in rows:")
    assert bodies[1].endswith("return inner")
    assert len(bodies) == 2


def test_python_blocks_are_those_of_statements_with_the_comment_of_the_last_line() -> None:
    assert found("a.py", PYTHON, "block") == ["print(row)\n        count(row)  # counted", "return 1"]


@pytest.mark.parametrize("path", BRACES)
def test_braces_are_left_out_and_only_what_is_inside_is_asked_for(path: str) -> None:
    text, blocks, bodies = BRACES[path]
    assert found(path, text, "block") == blocks
    assert found(path, text, "body") == bodies


def test_a_block_with_a_syntax_error_or_without_a_grammar_is_no_place() -> None:
    assert found("a.py", "def f(:\n    x = = 1\n    return x\n", "body") == []
    assert found("a.rb", "def f\n  x = 1\nend\n", "body") == []


def test_a_block_with_a_blank_line_is_no_block_since_completion_ends_there() -> None:
    assert found("a.py", "for a in b:\n    one(a)\n\n    two(a)\n", "block") == []


def test_what_is_longer_than_an_answer_may_be_is_no_place() -> None:
    body = "".join(f"    value_{n} = compute({n})\n" for n in range(60))
    assert len(body) > MAX_CHARACTERS["body"]
    assert found("a.py", f"def f():\n{body}", "body") == []


def test_text_that_is_not_ascii_is_counted_in_characters() -> None:
    text = '# äöü — ß\ndef f(x):\n    """Größe."""\n    y = "é"\n    return x + y\n'
    (place,) = choose([held("a.py", text)], "body", 5, 0)
    assert place.expected == 'y = "é"\n    return x + y'
    assert (place.line, place.column) == (4, 5)
    assert place.prefix + place.expected + place.suffix == text


def test_the_line_level_is_the_choice_of_places() -> None:
    files = [held("a.py", PYTHON)]
    assert choose(files, "line", 4, 1) == choose_lines(files, 4, 1)


@given(
    copies=st.integers(1, 5),
    limit=st.integers(1, 12),
    seed=st.integers(0, 3),
    level=st.sampled_from(LEVELS),
)
def test_places_are_chosen_by_seed_in_order_and_a_smaller_limit_is_a_subset(
    copies: int, limit: int, seed: int, level: Level
) -> None:
    files = [held(f"f{number}.py", PYTHON) for number in range(copies)]
    chosen = choose(files, level, limit, seed)
    assert chosen == choose(files, level, limit, seed)
    assert [(p.path, p.line) for p in chosen] == sorted((p.path, p.line) for p in chosen)
    assert set(choose(files, level, limit - 1, seed)) <= set(chosen)
    assert all(place.level == level for place in chosen)
    if level != "line":
        assert len(chosen) == min(limit, copies * len(eligible_spans("a.py", PYTHON, level)))


@given(
    st.text("ab():{}=\n\t \"'#é", max_size=120), st.sampled_from(["a.py", "a.js", "a.go", "a.rs", "a.java", "a.cpp"])
)
def test_any_text_gives_places_that_give_it_back(text: str, path: str) -> None:
    for level in ("block", "body"):
        for place in choose([held(path, text)], level, 50, 0):
            assert place.prefix + place.expected + place.suffix == text
            assert place.expected == place.expected.strip()
            assert text.split("\n")[place.line - 1][place.column - 1 :].startswith(place.expected.split("\n")[0])


def test_levels_are_read_from_the_command_line() -> None:
    assert parse("body, line") == ("line", "body")
    with pytest.raises(UsageError, match="there is no level 'file'; there are: line, block, body"):
        parse("line,file")
    with pytest.raises(UsageError, match="the line is always completed"):
        parse("body")
