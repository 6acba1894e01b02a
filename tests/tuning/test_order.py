from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.languages import language_of
from tests.tuning.samples import SAMPLES
from tuning.examples.order import imports_first, imports_of


def ordered(files: dict[str, str]) -> list[str]:
    def imports() -> list[tuple[str, tuple[str, ...]]]:
        languages = {path: language_of(path) for path in files}
        return [(path, imports_of(text, languages[path].name)) for path, text in files.items() if languages[path]]  # type: ignore[union-attr]

    return imports_first(list(files), imports())


def test_what_each_language_imports_is_found():
    assert {language: imports_of(text, language) for language, text in SAMPLES.items()} == {
        "python": ("os", "pathlib/Path"),
        "javascript": ("./files", "path"),
        "typescript": ("../model/item",),
        "go": ("example.org/shop/internal/model/",),
        "rust": ("./helper", "src/model/Item", "src/model/parse/Parser"),
        "java": ("java/util/List", "org/example/model/Item", "org/example/util/Text/shorten"),
        "c": ("list.h",),
        "cpp": ("shape/box.hpp",),
    }


def test_python_packages_relative_imports_and_names():
    assert ordered(
        {
            "src/app/__init__.py": "from .main import run\n",
            "src/app/main.py": "from app.core.base import Base, helper\nfrom . import tools\n",
            "src/app/core/base.py": "import os\n",
            "src/app/tools.py": "from .core import base\n",
            "src/app/core/__init__.py": "",
            "tests/test_main.py": "from app.main import run\n",
        }
    ) == [
        "src/app/core/base.py",
        "src/app/tools.py",
        "src/app/main.py",
        "src/app/__init__.py",
        "tests/test_main.py",
        "src/app/core/__init__.py",
    ]


def test_broken_python_is_read_by_lines():
    text = "from .a.b import (c,\n    d)\nimport x.y as z, w\ndef broken(:\n"
    assert imports_of(text, "python") == ("./a/b/c", "x/y", "w")


def test_typescript_and_javascript_import_each_other():
    files = {
        "web/app.tsx": "import { a } from './lib';\nimport React from 'react';\n",
        "web/lib/index.ts": "export * from './deep/util.js'\n",
        "web/lib/deep/util.ts": "const fs = require('fs')\n",
        "web/z.js": "const app = await import('@/app')\n",
    }
    assert ordered(files) == ["web/lib/deep/util.ts", "web/lib/index.ts", "web/app.tsx", "web/z.js"]


def test_go_imports_folders():
    files = {
        "cmd/main.go": 'import (\n\t"fmt"\n\tm "example.org/shop/internal/model"\n)\n',
        "internal/model/item.go": "package model\n",
        "internal/model/store.go": 'package model\nimport "example.org/shop/z"\n',
        "z/z.go": "package z\n",
    }
    assert ordered(files) == ["internal/model/item.go", "z/z.go", "internal/model/store.go", "cmd/main.go"]


def test_rust_modules():
    files = {
        "a/src/lib.rs": "mod model;\nuse crate::view::{self, Window};\n",
        "a/src/model.rs": "mod parse;\n",
        "a/src/model/parse.rs": "use std::fmt;\n",
        "a/src/view/mod.rs": "use super::model::Item;\n",
        "b/src/model.rs": "use crate::model::X;\n",
    }
    assert ordered(files) == [
        "a/src/model/parse.rs",
        "a/src/model.rs",
        "a/src/view/mod.rs",
        "a/src/lib.rs",
        "b/src/model.rs",
    ]


def test_java_classes_and_packages():
    files = {
        "src/main/java/org/a/App.java": "import org.a.util.*;\nimport static org.a.model.Item.of;\n",
        "src/main/java/org/a/model/Item.java": "import java.util.List;\n",
        "src/main/java/org/a/util/Text.java": "import org.a.model.Item;\n",
        "src/test/java/org/a/AppTest.java": "import org.a.App;\n",
    }
    assert ordered(files) == [
        "src/main/java/org/a/model/Item.java",
        "src/main/java/org/a/util/Text.java",
        "src/main/java/org/a/App.java",
        "src/test/java/org/a/AppTest.java",
    ]


def test_c_includes_beside_above_and_unique():
    files = {
        "src/a.c": '#include "z.h"\n#include <proj/list.h>\n#include <stdio.h>\n',
        "src/z.h": "",
        "include/proj/list.h": '#include "types.h"\n',
        "include/proj/types.h": "",
        "other/stdio.h": "",
    }
    assert ordered(files) == ["include/proj/types.h", "include/proj/list.h", "src/z.h", "src/a.c", "other/stdio.h"]


def test_a_cycle_begins_with_the_file_that_needs_least():
    files = {
        "a.py": "import b\nimport c\n",
        "b.py": "import a\n",
        "c.py": "import d\n",
        "d.py": "import b\nimport e\n",
        "e.py": "",
    }
    # e first; then b and d wait for one file each, a for two: b by its name.
    assert ordered(files) == ["e.py", "b.py", "d.py", "c.py", "a.py"]


def test_unconnected_groups_are_not_mixed():
    files = {"a/z.py": "from . import b\n", "a/b.py": "", "c/z.py": "from . import b\n", "c/b.py": "", "notes.txt": ""}
    assert ordered(files) == ["a/b.py", "a/z.py", "c/b.py", "c/z.py", "notes.txt"]


@settings(deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40),
    acyclic=st.booleans(),
)
def test_every_file_once_and_imports_first_without_cycles(edges: list[tuple[int, int]], acyclic: bool):
    if acyclic:
        edges = [(a, b) for a, b in edges if b < a]
    needs: dict[str, list[str]] = {f"m{number}.py": [] for number in range(15)}
    for importer, imported in edges:
        needs[f"m{importer}.py"].append(f"m{imported}")
    result = imports_first(list(needs), needs.items())
    assert sorted(result) == sorted(needs)
    assert result == imports_first(list(reversed(needs)), list(reversed(needs.items())))
    if acyclic:
        place = {path: at for at, path in enumerate(result)}
        assert all(place[f"{name}.py"] < place[path] for path, names in needs.items() for name in names)


@settings(deadline=None)
@given(
    text=st.text(alphabet="ab./*{}(),;:\"'<> \nimportfusedcl#", max_size=200), language=st.sampled_from(list(SAMPLES))
)
def test_any_text_gives_imports(text: str, language: str):
    found = imports_of(text, language)
    assert all(found)
    assert imports_first(
        ["a/b.py", "x.rs", "c.h"], [("a/b.py", found), ("x.rs", found), ("c.h", found), ("no.py", found)]
    )
