import ast
import random
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.languages import language_of
from assistant.syntax import parse
from tuning.examples.mutate import BUG_CLASSES, OPERATORS, Program, mutations
from tuning.examples.mutate_edit import Mutation, changed_lines
from tuning.examples.mutate_syntax import errors

SAMPLES = {
    language.name: path
    for path in sorted((Path(__file__).parent / "bugs").iterdir())
    if (language := language_of(path.name))
}
CLAIMED = [(name, language) for name, operator in OPERATORS.items() for language in operator.languages]


def sample(language: str) -> str:
    return SAMPLES[language].read_text("utf-8")


def faults(text: str, language: str) -> int:
    syntax = parse(text, language)
    assert syntax
    return errors(syntax.root)


def restored(mutation: Mutation) -> str:
    """The seeded text with the labelled lines put back."""
    before, after = mutation.before.split("\n"), mutation.after.split("\n")
    low, high = mutation.original_lines
    return "\n".join([*after[: mutation.start_line - 1], *before[low - 1 : high], *after[mutation.end_line :]])


def check(mutation: Mutation, language: str) -> None:
    assert mutation.before != mutation.after
    assert 1 <= mutation.start_line <= mutation.end_line <= mutation.after.count("\n") + 1
    assert restored(mutation) == mutation.before
    assert mutation.description
    assert "\n" not in mutation.description
    if language == "python":
        assert ast.dump(ast.parse(mutation.after)) != ast.dump(ast.parse(mutation.before))
    else:
        assert faults(mutation.after, language) <= faults(mutation.before, language)


def test_the_samples_parse():
    for language in SAMPLES:
        assert faults(sample(language), language) == 0, language


@pytest.mark.parametrize(("name", "language"), CLAIMED)
def test_every_operator_seeds_one_bug_in_every_language_it_claims(name: str, language: str):
    found = mutations(sample(language), language, random.Random(0), operators=[name], most=50)
    assert found
    for mutation in found:
        assert mutation.operator == name
        check(mutation, language)


def test_operators_of_ten_classes_and_more():
    assert {
        "off-by-one", "wrong-operator", "swapped-arguments", "missing-check", "wrong-variable", "missing-return",
        "inverted-condition", "mutable-default", "resource-leak", "exception-swallowed",
    } <= set(BUG_CLASSES)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("comparison-boundary", "    if index >= limit and", "    if index > limit and"),
        ("missing-none-check", "        if limit is None:\n            return names\n", ""),
        ("missing-return", "        return sorted(names[1:limit], key=len)", "        sorted(names[1:limit], key=len)"),
        ("swapped-arguments", "fetch(count, flag)", "fetch(flag, count)"),
        ("missing-await", "await fetch(", "fetch("),
        ("separate-if", "elif result is None:", "if result is None:"),
        ("missing-guard-operand", "name is not None and name.strip()", "name.strip()"),
        ("missing-not", "while not result:", "while result:"),
        ("lost-update", "flag = flag.strip()", "flag.strip()"),
        ("early-return", "        return result\n", "            return result\n"),
        ("mutable-default",
         "seen=None):\n        super().__init__()\n        if seen is None:\n            seen = []\n",
         "seen=[]):\n        super().__init__()\n"),
        ("hoisted-container", "limit, default_limit):\n        names = []\n", "limit, default_limit, names=[]):\n"),
        ("unclosed-resource",
         "        with open(self.path) as file:\n            for line in file:\n                names.append(line)\n",
         "        file = open(self.path)\n        for line in file:\n            names.append(line)\n"),
        ("missing-lock",
         "        with self.lock:\n            count += 1\n            self.path = copy_file(options, user)\n",
         "        count += 1\n        self.path = copy_file(options, user)\n"),
        ("swallowed-exception", "            report(error)\n            raise\n", "            pass\n"),
        ("wrong-key", 'options["first"]', 'options["second"]'),
        ("missing-argument", "again(*values, width, end=self.path.resolve())", "again(*values, width)"),
        ("missing-argument", "load(width, str(head))", "load(width)"),
        ("missing-star", "again(*values,", "again(values,"),
        ("missing-conversion", "str(head)", "head"),
        ("missing-method", "self.path.resolve()", "self.path"),
        ("missing-parentheses", "self.lock.release()", "self.lock.release"),
        ("missing-subscript", "if self.seen_names[0] ==", "if self.seen_names =="),
        ("missing-operand", "-self.margin + max(rows)", "-self.margin"),
        ("missing-minus", "-self.margin", "self.margin"),
        ("missing-yield", "yield again(", "again("),
        ("missing-yield", "yield from self", "self"),
        ("missing-raise", 'raise ValueError("seen', 'ValueError("seen'),
        ("missing-prefix", 'f"{width}', '"{width}'),
    ],
)  # fmt: skip
def test_what_an_operator_writes(name: str, before: str, after: str):
    text = sample("python")
    expected = text.replace(before, after, 1)
    assert expected != text
    found = mutations(text, "python", random.Random(0), operators=[name], most=50)
    assert expected in [mutation.after for mutation in found]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (
            "wrong-constant",
            'def f(x):\n    """Takes 10 steps."""\n    print("in 10 steps", 10)\n    return f"{x}{10}"\n',
        ),
        ("wrong-variable", "def f(first: int, second: int):\n    return g(first) + 1\n"),
        ("swapped-arguments", "def f(a, b):\n    return max(a, b)\n"),
        ("comparison-boundary", "def f(a, best):\n    if a > best:\n        best = a\n    return best\n"),
        ("missing-none-check", "def f(a):\n    if a is None:\n        return 1\n"),
        ("missing-return", "def f(a):\n    yield a\n    return g(a)\n"),
        ("negated-comparison", "def f(a):\n    assert a == 1\n    return a\n"),
        ("swapped-boolean", "LIMITS = A and B\n\n\ndef f(a: X and Y):\n    raise E(a and 1)\n"),
        ("separate-if", "def f(a):\n    if a:\n        return 1\n    elif a.b:\n        c()\n    else:\n        d()\n"),
        ("identity-comparison", "def f(a):\n    return a == 1\n"),
        ("missing-guard", "def f(a):\n    return 1\n    if a:\n        return 2\n    return a\n"),
        ("swapped-arithmetic", 'def f(a, n):\n    return "x" * n + "y" + str(a)\n'),
        ("missing-argument", 'def f(a, *b):\n    log("%s", a)\n    g(a, *b)\n    return h(a)\n'),
        ("missing-conversion", "def f(a):\n    list(a)\n    return list(x for x in a)\n"),
        ("missing-yield", "def f(a):\n    yield None\n    b = yield a\n"),
        ("missing-operand", "def f(a):\n    return a - 1\n"),
        ("missing-raise", "def f(a):\n    raise E(a) from a\n"),
    ],
)
def test_places_where_a_change_would_be_no_bug_are_left_alone(name: str, code: str):
    assert mutations(code, "python", random.Random(0), operators=[name], most=50) == []


def test_text_that_does_not_parse_or_another_language_gives_none():
    assert mutations("def f(:\n", "python", random.Random(0)) == []
    assert mutations("x = 1\r\ndef f(a):\r\n    return a + 1\r\n", "python", random.Random(0)) == []
    assert mutations("select 1;\n", "sql", random.Random(0)) == []
    assert mutations("", "go", random.Random(0)) == []


def test_an_unknown_operator_is_an_error():
    with pytest.raises(ValueError, match="no-such"):
        mutations("def f(a):\n    return a + 1\n", "python", random.Random(0), operators=["no-such"])


def test_operators_that_are_held_out_seed_nothing():
    kept = sorted(set(OPERATORS) - {"wrong-variable", "missing-not"})
    used = {
        mutation.operator
        for seed in range(30)
        for mutation in mutations(sample("python"), "python", random.Random(seed), operators=kept, most=3)
    }
    assert len(used) > 10
    assert used <= set(kept)


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_the_same_generator_gives_the_same_bugs_and_another_gives_others(language: str):
    text = sample(language)
    one, again = (mutations(text, language, random.Random(7), most=5) for _ in range(2))
    assert one == again
    assert len({mutation.after for mutation in one}) == 5
    assert one != mutations(text, language, random.Random(8), most=5)


def library() -> list[Path]:
    """Source files of installed packages: the standard library's, of moderate size."""
    root = Path(sysconfig.get_path("stdlib"))
    files = [
        path for folder in ("", "json", "email", "asyncio", "http") for path in sorted((root / folder).glob("*.py"))
    ]
    return [path for path in files if 1_000 < path.stat().st_size < 40_000]


@settings(max_examples=40, deadline=None)
@given(path=st.sampled_from(library()), seed=st.integers(0, 2**32))
def test_mutations_of_real_code_parse_and_leave_every_other_line_alone(path: Path, seed: int):
    text = path.read_text("utf-8", errors="replace")
    for mutation in mutations(text, "python", random.Random(seed), most=3):
        check(mutation, "python")


@settings(max_examples=10, deadline=None)
@given(path=st.sampled_from(library()))
def test_every_place_in_real_code_can_be_seeded(path: Path):
    try:
        program = Program(path.read_text("utf-8", errors="replace"), "python")
    except ValueError:
        return
    for index in range(len(program.functions)):
        for sites in program.sites(index, frozenset(OPERATORS)).values():
            for site in sites[:3]:
                mutation = program.seeded(index, site)
                assert mutation is not None, site
                assert restored(mutation) == program.source.text


@given(
    before=st.lists(st.sampled_from(["a", "  b", "", "    c"]), min_size=1, max_size=8),
    after=st.lists(st.sampled_from(["a", "  b", "", "    c"]), min_size=1, max_size=8),
)
def test_changed_lines_are_outside_of_what_both_texts_share(before: list[str], after: list[str]):
    if before == after:
        return
    first, last = changed_lines(before, after)
    mutation = Mutation("wrong-index", "\n".join(before), "\n".join(after), first, last, "x")
    assert 1 <= first <= last <= len(after)
    assert restored(mutation) == mutation.before
