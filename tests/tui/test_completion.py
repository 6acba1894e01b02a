"""What the input box offers while something is typed."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from assistant.skills.mentions import Place
from tui.chat.completion import MOST_ROWS, Names, offer, read_paths, read_symbols
from tui.chat.fuzzy import ranked

PATHS = ("README.md", "src/", "src/cart.py", "src/card.py", "src/deep/recart.py", "tests/test_cart.py", "my file.txt")
NAMES = Names(PATHS, {"Cart.total": "src/cart.py:4", "discount": "src/cart.py:9"})


def labels(before: str, text: str | None = None) -> list[str]:
    found = offer(before, before if text is None else text, NAMES)
    return [row.label for row in found.rows] if found else []


def test_the_end_of_a_path_counts_most():
    assert ranked("cart", PATHS, 3) == ["src/cart.py", "tests/test_cart.py", "src/deep/recart.py"]
    assert ranked("srcart", PATHS, 1) == ["src/cart.py"]
    assert ranked("CARD", PATHS, 5) == ["src/card.py"]
    assert ranked("xyz", PATHS, 5) == []


@given(st.text(max_size=6), st.lists(st.text(max_size=12), max_size=20), st.integers(0, 8))
def test_what_is_ranked_holds_the_letters_in_order(query: str, names: list[str], limit: int):
    found = ranked(query, names, limit)
    assert len(found) <= limit
    for name in found:
        rest = iter(name.lower())
        assert all(letter in rest for letter in query.lower())


def test_a_mention_offers_paths_diffs_and_definitions():
    assert labels("see @car")[:3] == ["@src/cart.py", "@src/card.py", "@tests/test_cart.py"]
    assert "@Cart.total" in labels("see @car")
    assert labels("@di")[0] == "@diff"
    assert labels("(@disc") == ["@discount"]
    assert len(labels("@")) <= MOST_ROWS


def test_what_a_row_puts_into_the_box():
    found = offer("see @my", "see @my", NAMES)
    assert found is not None
    assert (found.typed, found.rows[0].insert) == (3, '@"my file.txt" ')
    folder = offer("@src", "@src", NAMES)
    assert folder is not None
    assert folder.rows[0].insert == "@src/"


def test_nothing_is_offered_where_nothing_is_mentioned():
    for before in ("me@exa", "text", "@src/cart.py ", "`@x`", "", "/"):
        assert labels(before, before + "rest" if before == "/" else before) == []


def test_commands_are_offered_with_what_they_do():
    found = offer("/co", "/co", NAMES)
    assert found is not None
    assert [row.label.split()[0] for row in found.rows] == ["/compare", "/copy", "/context", "/code"]
    assert all(row.note for row in found.rows)
    assert labels("/model x", "/model x") == []


def test_names_of_a_real_repository(make_repository):
    root: Path = make_repository({"a/b.py": "class Cart:\n    def total(self): ...\n", ".env": "X=1\n"})
    place = Place(root, root)
    names = read_paths(place)
    assert names.paths == ("a/", "a/b.py")
    assert read_symbols(place, names).symbols == {"Cart": "a/b.py:1", "Cart.total": "a/b.py:2"}
