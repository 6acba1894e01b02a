"""Where names are defined, in each language that has a grammar."""

import pytest

from assistant.skills.definitions import in_repository, in_text

SOURCES = {
    "a.py": (
        "LIMIT = 3\n\n\n@cached\ndef outer():\n    def inner(): ...\n\n\nclass A:\n    @property\n    def b(self):\n"
        "        return 1\n",
        [("LIMIT", 1, 1), ("outer", 4, 6), ("inner", 6, 6), ("A", 9, 12), ("A.b", 10, 12)],
    ),
    "a.js": (
        "export const MAX = 1;\nexport default class Cart {\n  total() { return 0; }\n}\n"
        "const add = (a) => {\n  a;\n};\n",
        [("MAX", 1, 1), ("Cart", 2, 4), ("Cart.total", 3, 3), ("add", 5, 7)],
    ),
    "a.ts": (
        "interface Row { id: number }\ntype Name = string;\nenum Kind { A }\nabstract class Base { run(): void {} }\n"
        "export function load<T>(x: T): T { return x; }\n",
        [("Row", 1, 1), ("Name", 2, 2), ("Kind", 3, 3), ("Base", 4, 4), ("Base.run", 4, 4), ("load", 5, 5)],
    ),
    "a.tsx": ("export function View() {\n  return <b>x</b>;\n}\n", [("View", 1, 3)]),
    "a.go": (
        "package a\n\ntype Cart struct {\n\tn int\n}\n\nfunc (c *Cart) Total() int {\n\treturn c.n\n}\n"
        "\nfunc New() {}\n"
        "\nconst Max = 3\n",
        [("Cart", 3, 5), ("Cart.Total", 7, 9), ("New", 11, 11), ("Max", 13, 13)],
    ),
    "a.rs": (
        "pub struct Cart<T> { n: T }\nimpl<T> Cart<T> {\n    fn total(&self) {}\n}\ntrait Shape { }\n"
        "macro_rules! m { () => {} }\n",
        [("Cart", 1, 1), ("Cart.total", 3, 3), ("Shape", 5, 5), ("m", 6, 6)],
    ),
    "A.java": (
        "class A {\n  A() {}\n  int b() { return 1; }\n  enum K { X }\n}\n",
        [("A", 1, 5), ("A.A", 2, 2), ("A.b", 3, 3), ("A.K", 4, 4)],
    ),
    "a.c": (
        "#define MAX 3\nstruct point { int x; };\ntypedef struct { int y; } size;\n"
        "static char *name(void) {\n  return 0;\n}\n"
        "int f(int);\n",
        [("MAX", 1, 1), ("point", 2, 2), ("size", 3, 3), ("name", 4, 6)],
    ),
    "a.cpp": (
        "namespace shop {\nclass Cart {\n  int total() { return 1; }\n};\n}\nint shop::Cart::other() { return 2; }\n",
        [("shop", 1, 5), ("shop.Cart", 2, 4), ("shop.Cart.total", 3, 3), ("shop.Cart.other", 6, 6)],
    ),
    "a.unknown": ("def f(): ...", []),
}


@pytest.mark.parametrize("path", SOURCES)
def test_definitions_with_their_lines(path: str):
    text, expected = SOURCES[path]
    found = [(one.name, one.first, one.last) for one in in_text(path, text)]
    assert [one for one in found if one in expected] == expected
    assert {one[0] for one in found} == {one[0] for one in expected}


def test_broken_code_and_wide_characters_keep_their_lines():
    text = "# ümläut 日本\ndef a():\n    return 'é'\n\n\ndef b(:\n    pass\n\n\ndef c(): ...\n"
    found = {one.name: one.first for one in in_text("x.py", text)}
    assert found["a"] == 2
    assert found["c"] == 10


def test_a_name_is_found_by_its_end(make_repository):
    root = make_repository(
        {"a.py": "class A:\n    def go(self): ...\n", "b.py": "def go(): ...\n", "c.txt": "def go()"}
    )
    assert [(one.path, one.name) for one in in_repository(root, "go")] == [("a.py", "A.go"), ("b.py", "go")]
    assert [(one.path, one.name) for one in in_repository(root, "A.go")] == [("a.py", "A.go")]
    assert in_repository(root, "B.go") == []
    assert in_repository(root, "no name") == []
