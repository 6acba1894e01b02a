"""Splitting Markdown that is still being written."""

from hypothesis import given
from hypothesis import strategies as st

from assistant.skills.blocks import Code, Prose, Splitter, code_of, split
from tui.chat.highlighting import highlighted, piece_end

ANSWER = """Intro with `code`.

```python
def f():
    return "```"
```
Then:

1. step
   ~~~sh
   ls
     -l
   ~~~
2. step
"""
LINES = st.sampled_from(
    ["```", "```python", "~~~", "- item", "text", "", "    code", "   ```", "`x` y", "| a |", "````"]
)


def shape(text: str) -> list[tuple[str, str]]:
    return [(block.language if isinstance(block, Code) else "prose", block.text) for block in split(text)]


def test_fences_become_code_and_the_rest_prose():
    assert shape(ANSWER) == [
        ("prose", "Intro with `code`.\n\n"),
        ("python", 'def f():\n    return "```"\n'),
        ("prose", "Then:\n\n1. step\n"),
        ("sh", "ls\n  -l\n"),
        ("prose", "2. step\n"),
    ]


def test_a_fence_that_is_never_closed_is_code_to_the_end():
    assert shape("```js\nlet a;\nlet b") == [("js", "let a;\nlet b")]


def test_a_longer_fence_holds_a_shorter_one():
    assert shape("````md\n```\nx\n```\n````\n") == [("md", "```\nx\n```\n")]


def test_inline_code_at_a_line_start_is_no_fence():
    assert shape("```inline``` is shown\n") == [("prose", "```inline``` is shown\n")]


def test_code_of_an_answer_is_its_source_without_fences():
    assert code_of(ANSWER) == ['def f():\n    return "```"\n', "ls\n  -l\n"]
    assert code_of("no code here") == []


@given(st.lists(LINES, max_size=40).map("\n".join), st.lists(st.integers(1, 12), min_size=1))
def test_pieces_give_the_same_blocks_as_the_whole(text: str, sizes: list[int]):
    splitter = Splitter()
    position, turn = 0, 0
    while position < len(text):
        size = sizes[turn % len(sizes)]
        splitter.feed(text[position : position + size])
        position, turn = position + size, turn + 1
    splitter.finish()
    assert splitter.blocks == split(text)


@given(st.lists(LINES, max_size=60).map("\n".join), st.integers(0, 400))
def test_only_the_last_block_changes(text: str, cut: int):
    splitter = Splitter()
    splitter.feed(text[:cut])
    before = [block.text for block in splitter.blocks]
    splitter.feed(text[cut:])
    splitter.finish()
    after = [block.text for block in splitter.blocks]
    assert after[: max(0, len(before) - 1)] == before[:-1]
    if before:
        assert after[len(before) - 1].startswith(before[-1])


def test_no_prose_text_is_lost():
    text = "".join(f"- item {number}\n" for number in range(200)) + "\nafter **all**"
    blocks = split(text)
    assert all(isinstance(block, Prose) for block in blocks)
    assert len(blocks) > 4
    assert "".join(block.text for block in blocks) == text


def test_a_table_is_never_split():
    table = "| a |\n|---|\n" + "| 1 |\n" * 100
    assert len(split(table)) == 1


def test_code_is_cut_into_pieces_outside_of_strings():
    docstring = 'def f():\n    """' + "line\n" * 45 + '"""\n' + "x = 1\n" * 10
    end = piece_end(docstring, "python")
    assert docstring[:end].count('"""') in (0, 2)
    assert end > 0
    assert docstring[end - 1] == "\n"


def test_a_string_longer_than_any_piece_is_cut_all_the_same():
    assert piece_end('"""' + "line\n" * 130, "python") > 0


def test_highlighting_changes_no_character():
    for language in ("python", "no-such-language", "", "json"):
        code = "def f(a):\n\treturn [b]a[/b] # ü\n"
        assert highlighted(code, language).plain.replace("\t", " ").split() == code.split()
    assert highlighted("x" * 100_000, "python").plain == "x" * 100_000
