"""Recognises licence texts and the notices in file heads by phrases that only they have.

The phrases are from the texts at https://spdx.org/licenses/. The GNU texts do not say whether later versions may be
chosen, so a text alone gives the identifier without `-only` or `-or-later`.
"""

import re

_TITLE_CHARACTERS = 1_500
_BSD_CONDITIONS = "redistributions of source code must retain the above copyright notice"
_BSD_NAME = re.compile(
    r"neither the names? of .{1,300}? nor the names of|names? of .{1,300}? may not be used to endorse"
)
_GNU_TITLES = (
    ("AGPL-3.0", "gnu affero general public license version 3"),
    ("LGPL-3.0", "gnu lesser general public license version 3"),
    ("LGPL-2.1", "gnu lesser general public license version 2.1"),
    ("GPL-3.0", "gnu general public license version 3"),
    ("GPL-2.0", "gnu general public license version 2"),
)
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Apache-2.0", ("apache license version 2.0", "terms and conditions for use, reproduction, and distribution")),
    ("MPL-2.0", ("mozilla public license version 2.0", "incompatible with secondary licenses")),
    ("EPL-2.0", ("eclipse public license - v 2.0",)),
    ("CC0-1.0", ("cc0 1.0 universal", "affirmer")),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("BSL-1.0", ("boost software license - version 1.0",)),
    ("PSF-2.0", ("python software foundation license version 2", '("psf")')),
    (
        "Zlib",
        (
            "provided 'as-is', without any express or implied warranty",
            "this notice may not be removed or altered from any source distribution",
        ),
    ),
    (
        "ISC",
        (
            "permission to use, copy, modify, and distribute this software for any purpose with or without fee",
            "provided that the above copyright notice and this permission notice appear in all copies",
        ),
    ),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software", "appear in all copies")),
    ("0BSD", ("permission to use, copy, modify, and/or distribute this software for any purpose with or without fee",)),
    (
        "MIT",
        (
            "permission is hereby granted, free of charge, to any person obtaining a copy of this software",
            "the above copyright notice and this permission notice shall be included in all copies",
        ),
    ),
)
_NOTICES = (
    ("Apache-2.0", re.compile(r"licensed under the apache license,? version 2\.0|apache\.org/licenses/license-2\.0")),
    ("MPL-2.0", re.compile(r"subject to the terms of the mozilla public license, ?v\. ?2\.0")),
    ("EPL-2.0", re.compile(r"terms of the eclipse public license (?:v\. ?|version )?2\.0")),
    ("BSL-1.0", re.compile(r"distributed under the boost software license, version 1\.0")),
)
_GNU_NOTICE = re.compile(
    r"under the terms of (?:version (?P<before>[23](?:\.[01])?) of )?the gnu (?P<family>affero |lesser |library )?"
    r"general public license(?: version (?P<plain>[23](?:\.[01])?))?"
)
_GNU_VERSION = re.compile(r"version (?P<version>[23](?:\.[01])?)(?P<later>[^.]{0,80}any later version)?")


def recognised(text: str) -> str | None:
    """What a licence file grants; `A AND B` where it holds several texts, None where it holds no known one."""
    plain = _plain(text)
    found = _texts_in(plain)
    if not found and len(plain) <= _TITLE_CHARACTERS:
        return _notice_in(plain)
    return " AND ".join(found) or None


def recognised_notice(head: str) -> str | None:
    """The licence that a notice in a file's head names; None where it has none of the known ones."""
    plain = _plain(head)
    return _notice_in(plain) or " AND ".join(_texts_in(plain)) or None


def _texts_in(plain: str) -> list[str]:
    title = plain[:_TITLE_CHARACTERS]
    found = [name for name, phrases in _TEXTS if all(phrase in plain for phrase in phrases)]
    for name, phrase in _GNU_TITLES:
        # The GPL's text names the other GNU licences further down, so the title decides, and the first one in it.
        if phrase in title:
            found.append(name)
            break
    if _BSD_CONDITIONS in plain:
        found.append("BSD-3-Clause" if _BSD_NAME.search(plain) else "BSD-2-Clause")
    kinds = list(dict.fromkeys(found))
    # Python's own licence file ends with texts like these two; and the ISC text begins as the 0BSD text.
    parts = {"ISC", "0BSD"} if "PSF-2.0" in kinds else {"0BSD"} if "ISC" in kinds else set()
    return [name for name in kinds if name not in parts]


def _notice_in(plain: str) -> str | None:
    for name, pattern in _NOTICES:
        if pattern.search(plain):
            return name
    gnu = _GNU_NOTICE.search(plain)
    return _gnu(gnu, plain) if gnu else None


def _gnu(notice: re.Match[str], plain: str) -> str | None:
    after = _GNU_VERSION.search(plain, notice.start(), notice.end() + 300)
    version = notice["before"] or notice["plain"] or (after["version"] if after else None)
    if version is None:
        return None
    family = {None: "GPL", "affero ": "AGPL", "lesser ": "LGPL", "library ": "LGPL"}[notice["family"]]
    later = after is not None and after["later"] is not None
    return f"{family}-{version if '.' in version else version + '.0'}-{'or-later' if later else 'only'}"


def _plain(text: str) -> str:
    """Lower case, comment marks and quotes made alike, runs of white space as one blank."""
    text = text.lower().replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"').replace("``", '"')
    text = re.sub(r"^[ \t]*(?://+!?|#+|/?\*+/?|--|;+|%+|\"\"\"|\.\.|rem\b)", " ", text, flags=re.MULTILINE)
    return " ".join(text.replace("===", " ").split()).replace(", version", " version")
