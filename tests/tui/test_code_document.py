"""The editor's document: gives back what it was made of, and after any edits is as if made anew."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tui.code.document import SourceDocument
from tui.code.drawing import class_of
from tui.code.grammars import grammar, grammar_name

TEXT = st.text(st.sampled_from("ab (){}:\"'\n\r\t\x0c\x1b\u2028é😀#"), max_size=60)
EDITS = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70), TEXT), max_size=8)


@given(TEXT)
@settings(deadline=None)
def test_the_text_is_what_it_was_made_of(text: str):
    assert SourceDocument(text).text == text


@given(TEXT, EDITS)
@example(":::::\r\n", [(0, 6, "")])
@settings(deadline=None)
def test_edits_do_what_they_do_to_a_string(text: str, edits: list[tuple[int, int, str]]):
    document = SourceDocument(text, grammar("python"))
    for start, end, put in edits:
        text = document.text
        first, last = sorted((min(start, len(text)), min(end, len(text))))
        places = document.location_of(first), document.location_of(last)
        first, last = (document.offset_of(place) for place in places)
        fitting = document.fitting(put)
        result = document.replace_range(*places, fitting)
        assert document.text == text[:first] + fitting + text[last:]
        assert result.replaced_text == text[first:last]
        assert document.offset_of(result.end_location) == first + len(fitting)
    document.parse()
    fresh = SourceDocument(document.text, grammar("python"))
    if fresh.newline == document.newline:
        assert document.get_size(4) == fresh.get_size(4)
        last = document.line_count - 1
        assert document.spans(0, last) == fresh.spans(0, last)


def test_an_undone_edit_of_a_mixed_file_leaves_every_line_end():
    text = "one\r\ntwo\nthree\r\n"
    document = SourceDocument(text)
    result = document.replace_range((0, 0), (2, 1), "")
    document.replace_range((0, 0), result.end_location, result.replaced_text)
    assert document.text == text


@pytest.mark.parametrize(
    ("path", "code", "word", "kind"),
    [
        ("a.py", "def f():\n    return 1\n", "def", "keyword"),
        ("a.ts", "interface A { b: number }\n", "interface", "keyword"),
        ("a.tsx", "const a = <b>c</b>;\n", "const", "keyword"),
        ("a.js", "const a = 'x';\n", "'x'", "string"),
        ("a.c", "int main(void) { return 0; }\n", "return", "keyword"),
        ("a.cpp", "class A { public: int b; };\n", "class", "keyword"),
        ("a.go", "package main\n\nfunc main() { f() }\n", "func", "keyword"),
        ("a.rs", "fn main() { let a = 1; }\n", "fn", "keyword"),
        ("a.java", "class A { int b = 1; }\n", "class", "keyword"),
        ("a.sh", "if true; then echo 'x'; fi\n", "if", "keyword"),
        ("a.json", '{"a": [1, true]}\n', '"a"', "property"),
        ("a.toml", "[a]\nb = 1\n", "1", "number"),
        ("a.yaml", "a: 'x'\n", "'x'", "string"),
        ("a.md", "# Title\n", "Title", "heading"),
        ("a.html", "<p>x</p>\n", "p", "tag"),
        ("a.css", "p { color: red }\n", "color", "property"),
        ("a.sql", "SELECT a FROM b;\n", "SELECT", "keyword"),
        ("a.cs", "class A { int b = 1; }\n", "class", "keyword"),
        ("a.cs", 'class A { string b = "x"; }\n', '"x"', "string"),
        ("a.php", "<?php function f() { return 1; }\n", "function", "keyword"),
        ("a.kt", "fun f(): Int { return 1 }\n", "fun", "keyword"),
        ("a.kt", 'val a = "x" // y\n', "// y", "comment"),
        ("a.rb", "def f\n  1\nend\n", "def", "keyword"),
        ("a.xml", "<a b='c'/>\n", "a", "tag"),
    ],
)
def test_every_grammar_colours_its_language(path: str, code: str, word: str, kind: str):
    name = grammar_name(path)
    assert name is not None
    found = grammar(name)
    assert found is not None
    document = SourceDocument(code, found)
    row = next(row for row, line in enumerate(document.lines) if word in line)
    start = document.lines[row].index(word)
    last = ""
    for first, end, capture in document.spans(row, row)[row]:
        if first <= start and start + len(word) <= end:
            last = class_of(capture) or last
    assert last == kind


def test_a_language_whose_wheel_is_missing_stays_plain():
    assert grammar_name("notes.txt") is None
    assert SourceDocument("a = 1").spans(0, 0) == {0: []}
