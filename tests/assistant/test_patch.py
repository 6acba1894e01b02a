"""Patches from answers: what becomes one, and what must not."""

from pathlib import Path

import pytest

from assistant.skills import patch, tasks
from assistant.skills.material import Material
from assistant.skills.mentions import Place, read
from assistant.skills.patch import NoPatchError, from_answer
from tests.conftest import git

CART = """class Cart:
    def total(self):
        return sum(self.prices)

    def count(self):
        return len(self.prices)
"""


@pytest.fixture
def place(make_repository) -> Place:
    root = make_repository({"src/cart.py": CART, "crlf.py": b"a = 1\r\nb = 2", "notes.rb": "def a\nend\n"})
    return Place(root, root)


def change(place: Place, skill: str, target: str, answer: str) -> str:
    """Applies the patch of an answer with git; the file after."""
    made = from_answer(tasks.named(skill), answer, read(target, place)[0], place.root)
    (place.root.parent / "p.diff").write_bytes(made.diff.encode())
    git(place.root, "apply", "--whitespace=nowarn", str(place.root.parent / "p.diff"))
    text = (place.root / made.path).read_bytes().decode()
    assert text == made.after
    return text


def no_patch(place: Place, skill: str, target: str, answer: str) -> str:
    with pytest.raises(NoPatchError) as caught:
        from_answer(tasks.named(skill), answer, read(target, place)[0], place.root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fenced(code: str, language: str = "python") -> str:
    return f"Here it is:\n\n```{language}\n{code}```\nDone.\n"


def test_a_method_written_from_the_first_column_goes_back_to_its_place(place: Place):
    after = change(
        place, "refactor", "Cart.total", fenced("def total(self) -> float:\n    return float(sum(self.prices))\n")
    )
    assert after == CART.replace(
        "    def total(self):\n        return sum(", "    def total(self) -> float:\n        return float(sum("
    ).replace("prices)\n\n", "prices))\n\n")


def test_docstrings_alone_are_taken_and_changed_code_is_not(place: Place):
    documented = CART.replace("total(self):\n", 'total(self):\n        """The sum."""\n')
    assert '"""The sum."""' in change(place, "docstring", "src/cart.py", fenced(documented))
    git(place.root, "checkout", "-q", ".")
    changed = documented.replace("sum(self.prices)", "sum(self.prices) + 1")
    assert "changed the code" in no_patch(place, "docstring", "src/cart.py", fenced(changed))


def test_a_string_that_is_no_docstring_counts_as_code(place: Place):
    changed = CART.replace("return len(self.prices)", '"x"\n        return len(self.prices)\n        "y"')
    assert "changed the code" in no_patch(place, "docstring", "src/cart.py", fenced(changed))


def test_line_ends_and_a_missing_last_newline_stay(place: Place):
    assert change(place, "refactor", "crlf.py", fenced("a = 1\nb = 3\n")) == "a = 1\r\nb = 3"
    assert change(place, "refactor", "crlf.py:1", fenced("a = 9\n")) == "a = 9\r\nb = 3"


def test_tests_become_a_new_file_and_then_are_added_to_it(place: Place):
    first = change(place, "test", "src/cart.py", fenced("def test_a():\n    assert True\n"))
    assert first == "def test_a():\n    assert True\n"
    second = change(place, "test", "src/cart.py", fenced("def test_b():\n    assert True\n"))
    assert second == "def test_a():\n    assert True\n\n\ndef test_b():\n    assert True\n"
    assert (place.root / "tests/test_cart.py").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pkg/a.py", "pkg/test_a.py"),
        ("a.go", "a_test.go"),
        ("web/a.ts", "web/a.test.ts"),
        ("src/main/java/A.java", "src/test/java/ATest.java"),
    ],
)
def test_where_tests_go(tmp_path: Path, path: str, expected: str):
    assert patch.test_path(path, tmp_path) == expected


def test_a_diff_of_the_models_own_is_taken_when_it_fits(place: Place):
    good = (
        "--- a/src/cart.py\n+++ b/src/cart.py\n@@ -2,2 +2,2 @@\n     def total(self):\n"
        "-        return sum(self.prices)\n+        return 0\n"
    )
    assert "return 0" in change(place, "fix", "src/cart.py", fenced(good, "diff"))
    git(place.root, "checkout", "-q", ".")
    assert "does not fit" in no_patch(place, "fix", "src/cart.py", fenced(good.replace("sum", "max"), "diff"))
    other = good.replace("src/cart.py", "crlf.py")
    assert "does not change src/cart.py alone" in no_patch(place, "fix", "src/cart.py", fenced(other, "diff"))


@pytest.mark.parametrize(
    ("skill", "target", "answer", "line"),
    [
        ("refactor", "src/cart.py", "I would not change it.", "the model gave no code"),
        ("refactor", "src/cart.py", fenced(CART), "gave back the same code"),
        ("refactor", "src/cart.py", fenced("class Cart:\n    def total(self): ...\n"), "leaves out Cart.count"),
        ("refactor", "src/cart.py", fenced(CART + "def broken(:\n"), "has syntax errors"),
        ("refactor", "src", fenced(CART), "a patch needs one file"),
        ("explain", "src/cart.py", fenced(CART), "explain gives words"),
        ("test", "src/cart.py", fenced("def test_a(:\n"), "has syntax errors"),
        ("docstring", "notes.rb", fenced("# A.\ndef a\nend\n", "ruby"), "not only its documentation"),
    ],
)
def test_what_is_no_patch_says_why_in_one_line(place: Place, skill: str, target: str, answer: str, line: str):
    assert line in no_patch(place, skill, target, answer)


def test_code_that_the_model_saw_only_a_part_of_is_not_replaced(place: Place):
    [whole] = read("src/cart.py", place)
    cut = Material("file", whole.title, CART[:40], whole.path, 1, note="lines 3-6 left out for lack of room")
    with pytest.raises(NoPatchError, match=r"saw only a part of src/cart\.py"):
        from_answer(tasks.named("refactor"), fenced(CART + "x = 1\n"), cut, place.root)
    (place.root / "src/cart.py").write_text("# changed\n" + CART)
    with pytest.raises(NoPatchError, match="has changed since"):
        from_answer(tasks.named("refactor"), fenced(CART + "x = 1\n"), whole, place.root)


def test_a_file_outside_of_the_repository_is_never_patched(place: Place, tmp_path: Path):
    (tmp_path / "out.py").write_text("x = 1\n")
    assert "a patch needs a file of this repository" in no_patch(
        place, "refactor", str(tmp_path / "out.py"), fenced("x = 2\n")
    )


def test_the_nearest_skill_is_told():
    with pytest.raises(Exception, match="there is no skill 'docstrings'; did you mean 'docstring'"):
        tasks.named("docstrings")
