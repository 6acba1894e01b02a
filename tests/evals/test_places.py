from hypothesis import given
from hypothesis import strategies as st

from evals.tasks.heldout import HeldOutFile
from evals.tasks.places import choose, eligible_lines, place

CODE = '''"""Module."""
import os
from a import b

# a comment
def f(x):
    """Doc."""

    y = x + 1  # note
    }
    return y
'''


def held(path: str, text: str) -> HeldOutFile:
    return HeldOutFile(path, text, "", len(text.encode()))


def test_imports_comments_blanks_and_brackets_are_no_places() -> None:
    assert eligible_lines("a.py", CODE) == [6, 9, 11]
    assert eligible_lines("a.ts", "// c\nimport x from 'y'\n/* d */\n * e\nconst a = 1\n") == [5]


def test_the_first_code_of_a_file_and_very_long_lines_are_no_places() -> None:
    assert eligible_lines("a.py", "x = 1\n" + "y" * 500 + "\nz = 1\n") == [3]


def test_a_place_is_before_the_first_character_of_its_line() -> None:
    found = place("a.py", CODE, 9)
    assert (found.line, found.column, found.expected) == (9, 5, "y = x + 1  # note")
    assert found.prefix.endswith('"""Doc."""\n\n    ')
    assert found.suffix == "\n    }\n    return y\n"
    assert found.prefix + found.expected + found.suffix == CODE


@given(
    texts=st.lists(st.text("ab =\n\t", max_size=80), min_size=1, max_size=4),
    limit=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_places_are_chosen_by_seed_in_order_and_a_smaller_limit_is_a_subset(
    texts: list[str], limit: int, seed: int
) -> None:
    files = [held(f"f{number}.py", text) for number, text in enumerate(texts)]
    chosen = choose(files, limit, seed)
    assert chosen == choose(files, limit, seed)
    assert [(p.path, p.line) for p in chosen] == sorted((p.path, p.line) for p in chosen)
    assert set(choose(files, limit - 1, seed) if limit > 1 else []) <= set(chosen)
    eligible = sum(len(eligible_lines(file.path, file.text)) for file in files)
    assert len(chosen) == min(limit, eligible)


def test_another_seed_chooses_other_places() -> None:
    files = [held("a.py", "".join(f"value_{number} = {number}\n" for number in range(200)))]
    assert choose(files, 10, 0) != choose(files, 10, 1)
