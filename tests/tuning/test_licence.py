import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuning.licences import MIT
from tuning.corpus import licence, spdx
from tuning.corpus.collect import read
from tuning.corpus.document import Document, Dropped
from tuning.corpus.filters import Filters
from tuning.corpus.licence_texts import recognised
from tuning.corpus.sources import parse

BSD_2 = """Redistribution and use in source and binary forms, with or without modification, are permitted:
 * Redistributions of source code must retain the above copyright
   notice, this list of conditions and the following disclaimer.
 * Redistributions in binary form must reproduce the above copyright notice."""
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby
granted, provided that the above copyright notice and this permission notice appear in all copies."""
TEXTS = {
    "MIT": MIT,
    "Apache-2.0": "Apache License\n Version 2.0\nTERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION",
    "BSD-2-Clause": BSD_2,
    "BSD-3-Clause": BSD_2 + "\n * Neither the name of the holder nor the names of its contributors may be used",
    "ISC": ISC,
    "0BSD": ISC.split(", provided", maxsplit=1)[0] + ".",
    "MPL-2.0": "Mozilla Public License Version 2.0\n====\n1.5. \"Incompatible With Secondary Licenses\" means",
    "LGPL-2.1": "GNU LESSER GENERAL PUBLIC LICENSE\n  Version 2.1, February 1999\n the GNU General Public License v2",
    "LGPL-3.0": "GNU LESSER GENERAL PUBLIC LICENSE\n Version 3\n the GNU General Public License version 3",
    "GPL-2.0": "GNU GENERAL PUBLIC LICENSE\n  Version 2, June 1991\n use the GNU Lesser General Public License instead",
    "GPL-3.0": "GNU GENERAL PUBLIC LICENSE\n Version 3\n" + "x " * 999 + "GNU Affero General Public License version 3",
    "AGPL-3.0": "GNU AFFERO GENERAL PUBLIC LICENSE\n  Version 3\n the GNU General Public License version 3",
    "Unlicense": "This is free and unencumbered software released into the public domain.",
    "CC0-1.0": "CC0 1.0 Universal\n the person associating CC0 with a Work (the \"Affirmer\")",
    "EPL-2.0": "Eclipse Public License - v 2.0\n THE ACCOMPANYING PROGRAM",
    "BSL-1.0": "Boost Software License - Version 1.0 - August 17th, 2003",
    "Zlib": "This software is provided 'as-is', without any express or implied\nwarranty.\n3. This notice may not be "
    "removed or altered from any source distribution.",
    "PSF-2.0": "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2\n1. between the Python Software Foundation (\"PSF\"), and",
}  # fmt: skip


@pytest.mark.parametrize("identifier", TEXTS)
def test_a_text_is_recognised_also_as_a_comment(identifier: str):
    text = TEXTS[identifier]
    assert recognised(text) == identifier
    assert recognised("\n".join(f"// {line}" for line in text.split("\n"))) == identifier
    assert recognised("/*\n" + "\n".join(f" * {line}" for line in text.upper().split("\n")) + "\n */") == identifier


def test_several_texts_in_one_file_all_bind():
    assert recognised(MIT + "\n\n" + TEXTS["Apache-2.0"]) == "Apache-2.0 AND MIT"
    assert recognised("All rights reserved. Ask us before you use this.") is None


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("# SPDX-License-Identifier: MIT\nx = 1\n", "MIT"),
        ("/* spdx-license-identifier: (mit OR apache-2.0) */\n", "(MIT OR Apache-2.0)"),
        ("<!-- SPDX-License-Identifier: GPL-2.0+ -->\n", "GPL-2.0+"),
        ("// SPDX-License-Identifier: GPL-2.0-only WITH Classpath-exception-2.0\n",
         "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("# SPDX-License-Identifier: Our House Rules\n", "LicenseRef-Our-House-Rules"),
        ("# Licensed under the Apache License, Version 2.0 (the \"License\");\n", "Apache-2.0"),
        ("# This program is free software: you can redistribute it and/or modify it\n# under the terms of the GNU "
         "General Public License as published by the\n# Free Software Foundation, either version 3 of the License, or "
         "(at your\n# option) any later version.\n", "GPL-3.0-or-later"),
        (" * under the terms of version 2 of the GNU General Public License as published\n", "GPL-2.0-only"),
        ("// under the terms of the GNU Lesser General\n// Public License as published by the\n// Free Foundation;"
         " either\n// version 2.1 of the License, or (at your option) any later version.\n", "LGPL-2.1-or-later"),
        ("# License: see the file LICENSE\nimport os\n", None),
        ("import os\n", None),
        ("x = 1\n" * 2_000 + "# SPDX-License-Identifier: MIT\n", None),
    ],
)  # fmt: skip
def test_the_head_of_a_file(head: str, expected: str | None):
    assert licence.in_head(head) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("pyproject.toml", '[project]\nlicense = "MIT OR Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {text = "ISC"}\n', "ISC"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', None),
        ("pyproject.toml", '[tool.poetry]\nlicense = "BSD-3-Clause"\n', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n', "MIT"),
        ("pyproject.toml", '[project]\nlicense = "do what you like"\n', None),
        ("pyproject.toml", "[project\n", None),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[workspace.package]\nlicense = "MPL-2.0"\n', "MPL-2.0"),
        ("Cargo.toml", "[package]\nlicense.workspace = true\n", None),
        ("package.json", '{"license": "ISC"}', "ISC"),
        ("package.json", '{"license": {"type": "MIT"}}', "MIT"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "MIT OR GPL-2.0"),
        ("package.json", '{"license": "UNLICENSED"}', "LicenseRef-UNLICENSED"),
        ("package.json", '{"license": "SEE LICENSE IN x"}', None),
        ("package.json", "[1]", None),
        ("package.json", "{", None),
    ],
)  # fmt: skip
def test_the_field_of_a_package(name: str, text: str, expected: str | None):
    assert licence.declared_in(name, text) == expected


def nearest(files: dict[str, str], folder: str) -> str | None:
    def names(parent: str) -> list[str]:
        return [path.rpartition("/")[2] for path in files if path.rpartition("/")[0] == parent]

    return licence.FolderLicences(names, files.get).nearest(folder)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"LICENSE": MIT}, "MIT"),
        ({"a/COPYING.txt": TEXTS["GPL-3.0"], "LICENSE": MIT}, "GPL-3.0"),
        ({"a/package.json": '{"license": "ISC"}', "LICENSE": MIT}, "ISC"),
        ({"a/package.json": "{}", "LICENSE.md": MIT}, "MIT"),
        ({"a/LICENSE": MIT, "a/package.json": '{"license": "ISC"}'}, "MIT"),
        ({"a/LICENSE": "Ask us first.", "LICENSE": MIT}, None),
        ({"LICENSE-MIT": MIT, "LICENSE-APACHE": TEXTS["Apache-2.0"]}, "Apache-2.0 OR MIT"),
        ({"LICENSE": MIT, "LICENSE-APACHE": TEXTS["Apache-2.0"]}, "Apache-2.0 AND MIT"),
        ({"LICENSE": "Choose one.", "LICENSE.MIT": MIT, "pyproject.toml": '[project]\nlicense = "MIT"\n'}, "MIT"),
        ({"COPYING": TEXTS["GPL-3.0"], "COPYING.LESSER": TEXTS["LGPL-3.0"]}, "LGPL-3.0"),
        ({"LICENSE.txt": MIT, "LICENSE.third-party": "Much else."}, "MIT"),
        ({"a/licence.py": MIT}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_nearest_folder_decides(files: dict[str, str], expected: str | None):
    assert nearest(files, "a/b") == expected


@pytest.mark.parametrize(
    ("expression", "allowed", "expected"),
    [
        ("MIT", {"MIT"}, True),
        ("MIT", {"ISC"}, False),
        ("MIT OR GPL-3.0-only", {"MIT"}, True),
        ("MIT AND GPL-3.0-only", {"MIT"}, False),
        ("MIT AND GPL-3.0-only", {"MIT", "GPL-3.0-only"}, True),
        ("MIT AND (Apache-2.0 OR GPL-2.0)", {"MIT", "Apache-2.0"}, True),
        ("GPL-2.0 OR MIT AND ISC", {"MIT"}, False),
        ("(GPL-2.0 OR MIT) AND ISC", {"MIT", "ISC"}, True),
        ("GPL-2.0", {"GPL-2.0-only"}, True),
        ("GPL-2.0-or-later", {"GPL-3.0-only"}, True),
        ("GPL-2.0-only", {"GPL-3.0-only"}, False),
        ("GPL-3.0-or-later", {"GPL-2.0-only"}, False),
        ("LGPL-2.1", {"GPL-2.0"}, False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"GPL-2.0-only"}, True),
        ("LicenseRef-Ours", {"MIT"}, False),
        ("LicenseRef-Ours", {"LicenseRef-Ours"}, True),
    ],
)  # fmt: skip
def test_expressions_against_an_allow_list(expression: str, allowed: set[str], expected: bool):
    assert licence.allowed(expression, allowed) is expected


@pytest.mark.parametrize(
    ("expression", "unwanted", "expected"),
    [
        ("GPL-3.0", {"GPL-3.0-only"}, True),
        ("GPL-3.0-or-later", {"GPL-3.0"}, True),
        ("MIT OR GPL-3.0", {"GPL-3.0"}, False),
        ("MIT AND GPL-3.0", {"GPL-3.0"}, True),
        ("MIT", {"GPL-3.0"}, False),
    ],
)  # fmt: skip
def test_expressions_against_an_exclusion(expression: str, unwanted: set[str], expected: bool):
    assert licence.excluded(expression, unwanted) is expected


IDENTIFIERS = ["MIT", "ISC", "Apache-2.0", "Zlib"]
EXPRESSIONS = st.recursive(
    st.sampled_from(IDENTIFIERS).map(lambda name: (name, lambda allowed, name=name: name in allowed)),
    lambda parts: st.builds(
        lambda left, word, right: (
            f"({left[0]} {word} {right[0]})",
            lambda allowed: (any if word == "OR" else all)((left[1](allowed), right[1](allowed))),
        ),
        parts,
        st.sampled_from(["OR", "AND"]),
        parts,
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(EXPRESSIONS, st.sets(st.sampled_from(IDENTIFIERS)))
def test_any_expression_is_judged_by_its_logic(expression, allowed: set[str]):
    text, meaning = expression
    canonical = spdx.canonical(text.lower())
    assert canonical == text
    assert licence.allowed(canonical, allowed) == meaning(allowed)


def test_files_are_judged_by_their_own_licence(make_repository):
    repository = make_repository(
        {
            "LICENSE": MIT,
            "a.py": "a = 1\n",
            "b.py": "# SPDX-License-Identifier: GPL-3.0-only\n",
            "free/package.json": json.dumps({"license": "ISC"}),
            "free/c.js": "let c\n",
            "odd/LICENSE": "Ask us first.",
            "odd/d.py": "d = 1\n",
        }
    )

    def judged(**options: frozenset[str]) -> dict[str, str]:
        items = read([parse(str(repository))], Filters(**options))  # type: ignore[arg-type]
        found = {item.path: item.licence or "-" if isinstance(item, Document) else item.verdict for item in items}
        return {path: said for path, said in found.items() if path.endswith((".py", ".js"))}

    assert judged() == {"a.py": "MIT", "b.py": "GPL-3.0-only", "free/c.js": "ISC", "odd/d.py": "-"}
    assert judged(licences=frozenset({"MIT"})) == {
        "a.py": "MIT",
        "b.py": "excluded licence",
        "free/c.js": "excluded licence",
        "odd/d.py": "unknown licence",
    }
    assert judged(excluded_licences=frozenset({"GPL-3.0"})) == {
        "a.py": "MIT",
        "b.py": "excluded licence",
        "free/c.js": "ISC",
        "odd/d.py": "-",
    }


def test_reasons_name_the_licence(make_repository):
    repository = make_repository({"b.py": "# SPDX-License-Identifier: GPL-3.0-only\n", "c.py": "c = 1\n"})
    items = read([parse(str(repository))], Filters(licences=frozenset({"MIT"})))
    assert {item.path: item.reason for item in items if isinstance(item, Dropped)} == {
        "b.py": "GPL-3.0-only is not among the allowed licences",
        "c.py": "no licence was found",
    }


def test_the_licence_of_this_repository():
    assert recognised((Path(__file__).parents[2] / "LICENSE").read_text("utf-8")) == "Apache-2.0"
