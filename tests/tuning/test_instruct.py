import ast
import json
from pathlib import Path

import pytest

from tests.tuning.samples import PYTHON, SAMPLES
from tuning.examples import functions, instruct
from tuning.examples.functions import Function

EXPECTED = {
    "python": ("Box.area", "def area(self, scale: float=1.0) -> float", "The area of this box in square units"),
    "javascript": ("total", "export function total(items)", "Adds up the prices"),
    "typescript": ("find", "export function find<T extends Named>(items: T[], name: string): T | undefined", "Finds"),
    "go": ("Put", "func (s *Store) Put(item model.Item) (model.Item, bool)", "Put writes the item under its key"),
    "rust": ("long_words", "pub fn long_words(text: &str, limit: usize) -> usize", "Counts the words"),
    "java": ("Shop.sell", "@Override public int sell(Item item, int count)", "Sells an item to a customer"),
    "c": ("insert", "static struct node *insert(struct node *head, int value)", "Inserts a value into the list"),
    "cpp": ("total", "template <typename T> double total(const std::vector<Box<T>>& boxes)", "Adds up the areas"),
}


@pytest.mark.parametrize("language", EXPECTED)
def test_documented_functions_of_each_language(language: str):
    name, signature, documentation = EXPECTED[language]
    found = {function.name: function for function in functions.find(SAMPLES[language], language)}
    function = found[name]
    assert function.signature == signature
    assert function.documentation.startswith(documentation)
    assert not any(mark in function.documentation for mark in ("*/", "/*", "//", "'''", '"""'))
    assert function.code.strip() in "\n".join(line.removeprefix("    ") for line in SAMPLES[language].split("\n")) or (
        function.code.strip() in SAMPLES[language]
    )
    ((user, assistant),) = instruct.pairs("src/a.x", SAMPLES[language], language, seed=0, explain_rate=0)[:1]
    assert (user.role, assistant.role) == ("user", "assistant")
    assert f"`{name}`" in user.content
    assert function.signature in user.content
    assert function.documentation in user.content
    assert assistant.content == f"```{language}\n{function.code.rstrip()}\n```"


def test_methods_and_comments_that_stand_apart():
    found = functions.find(SAMPLES["javascript"], "javascript")
    assert [function.name for function in found] == ["total", "Cart.add"]
    assert found[1].documentation == "Puts one more item into the cart and says how many there are."
    assert found[1].code.startswith("add(item) {\n  this")
    apart = "// A comment about something else, far above.\n\nfunction alone(x) {\n  return x;\n}\n"
    assert functions.find(apart, "javascript") == []


def test_the_reverse_shows_the_code_without_its_documentation():
    turns = instruct.pairs("src/a.py", PYTHON, "python", seed=0, explain_rate=1)
    assert len(turns) == 2
    user, assistant = turns[1]
    assert user.content.startswith("Explain what this Python method does.")
    assert "square units" not in user.content
    assert (
        assistant.content
        == "The area of this box in square units, multiplied by a scale.\n\nNegative sizes are refused."
    )
    code = user.content.split("```python\n")[1].removesuffix("\n```")
    assert ast.parse(code).body[0].body[0].lineno == 2  # type: ignore[attr-defined]


def test_every_pair_of_real_python_files_parses_and_says_what_it_is():
    count = 0
    for file in sorted(Path(json.__file__).parent.parent.glob("[a-d]*.py")):
        text = file.read_text(encoding="utf-8")
        for user, assistant in instruct.pairs(f"lib/{file.name}", text, "python", 1, explain_rate=0):
            fence = assistant.content.split("python\n")[0]
            code = assistant.content.removeprefix(f"{fence}python\n").removesuffix(f"\n{fence}")
            (node,) = ast.parse(code).body
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            assert node.name in user.content
            assert 3 <= code.count("\n") + 1 <= 60
            count += 1
    assert count > 100


def test_poor_functions_are_left_out():
    good = Function("area", "def area(w)", "The area of a wide box.", "def area(w):\n    x = w\n    return x\n", "")
    assert instruct.good(good)

    def changed(**fields: str) -> bool:
        return instruct.good(Function(**{**good.__dict__, **fields}))

    assert not changed(documentation="The area.")
    assert not changed(documentation="x = 1 2 3 4 5 6 - - -")
    assert not changed(documentation="TODO: say here what this function should really do")
    assert not changed(code="def area(w):\n    return w\n")
    assert not changed(code="def area(w):\n" + "    x = 1\n" * 60)
    assert not changed(name="test_area")
    assert not changed(name="Shape.testArea")
    assert changed(name="testimony")
    assert changed(name="contest_area")


@pytest.mark.parametrize(
    "path", ["tests/a.py", "pkg/test_a.py", "a_test.go", "web/__tests__/a.js", "a.spec.ts", "x/ShopTest.java"]
)
def test_test_files_give_none(path: str):
    assert instruct.pairs(path, PYTHON, "python", 0) == []
    assert instruct.pairs("pkg/latest.py", PYTHON, "python", 0)


def test_stubs_one_liners_and_odd_strings_give_none():
    text = '''
def stub(x):
    """What this function would do, if somebody wrote it."""
    raise NotImplementedError


def one(): """All of it stands on a single line here."""; return 1


class A:
    def odd(self):
        """Holds a string whose lines are not indented at all."""
        return """
not indented
"""
'''
    assert functions.find(text, "python") == []
    assert functions.find("def broken(:\n", "python") == []
    assert functions.find(PYTHON, "ruby") == []


def test_a_fence_is_longer_than_any_in_the_code():
    assert instruct.fenced('x = "````"\n', "python") == '`````python\nx = "````"\n`````'


def test_which_are_explained_is_a_function_of_text_and_seed():
    text = PYTHON * 20
    counts = [len(instruct.pairs("a.py", text, "python", seed)) for seed in (1, 1, 2, 3, 4)]
    assert counts[0] == counts[1]
    assert len(set(counts)) > 1
    assert all(20 < count < 35 for count in counts)
