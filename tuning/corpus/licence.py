"""The licence of a file as an SPDX expression: what its head says, else what the nearest folder above it says."""

import json
import re
import tomllib
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from assistant.errors import HoneError
from assistant.languages import language_of
from tuning.corpus import spdx
from tuning.corpus.licence_texts import recognised, recognised_notice

_HEAD_CHARACTERS = 4_000
_SPDX_LINE = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]+)", re.IGNORECASE)
_COMMENT_END = re.compile(r"\s*(?:\*/|-->|--}}|\*\)|\"\"\"|'''|#}|%>)?\s*$")
_FILE_NAME = re.compile(
    r"(?:un)?licen[cs]es?|copying(?:v?[23])?|(?:licen[cs]e|copying)[.\-_].*|.*[.\-_]licen[cs]e", re.IGNORECASE
)
_SUFFIX = re.compile(r"\.(?:txt|md|rst|markdown|html)$", re.IGNORECASE)
_CHOICE_NAME = re.compile(r"licen[cs]e[.\-_]\w+", re.IGNORECASE)
_METADATA = ("pyproject.toml", "Cargo.toml", "package.json")
_FOLDERS_KEPT = 10_000
_CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": None,
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""Of the Python package index's trove classifiers, those that name one licence."""


def in_head(text: str) -> str | None:
    """The licence that the head of a file names, by an SPDX line or by a known notice; None where it names none.

    An SPDX line that cannot be read gives a `LicenseRef`, so that it is never taken for the repository's licence.
    """
    head = text[:_HEAD_CHARACTERS]
    if "icen" not in head and "ICEN" not in head:
        return None
    line = _SPDX_LINE.search(head)
    if line:
        said = _COMMENT_END.sub("", line[1]).strip().strip("\"'")
        return spdx.canonical(said) or _reference(said)
    return recognised_notice(head)


class FolderLicences:
    """Answers for folders of one tree; an answer is kept, since most files share a few folders."""

    def __init__(self, names: Callable[[str], Collection[str]], read: Callable[[str], str | None]) -> None:
        self._names = names
        self._read = read
        self.nearest = lru_cache(_FOLDERS_KEPT)(self._nearest)

    def _nearest(self, folder: str) -> str | None:
        """The licence of the nearest folder that has one, upwards to the root; None where that is not recognised."""
        has_licence, found = self._of(folder)
        if has_licence or not folder:
            return found
        return self.nearest(folder.rpartition("/")[0])

    def _of(self, folder: str) -> tuple[bool, str | None]:
        """Whether the folder says anything, and what. A text says more than a package's field, often a default."""
        names = self._names(folder)
        files = [name for name in sorted(names) if _is_licence_file(name)]
        texts = {name: text for name in files if (text := self._read(_join(folder, name))) is not None}
        declared = self._declared(folder, names)
        found = {name: spdx_id for name, text in texts.items() if (spdx_id := recognised(text)) is not None}
        different = sorted(set(found.values()))
        if len(different) == 1 and len(found) == len(texts):
            return True, different[0]
        if declared is not None:
            return True, declared
        if not texts:
            return False, None
        if len(found) < len(texts):
            # One text is known and another is not: the whole cannot be told.
            return True, different[0] if len(different) == 1 and _main_file(found) else None
        if set(different) in ({"GPL-3.0", "LGPL-3.0"}, {"GPL-2.0", "LGPL-2.1"}):
            # The lesser licence is written as additions to the general one, so both texts are there.
            return True, next(name for name in different if name.startswith("LGPL"))
        choice = all(_CHOICE_NAME.fullmatch(_SUFFIX.sub("", name)) for name in found)
        return True, spdx.canonical(
            (" OR " if choice else " AND ").join(f"({name})" if " " in name else name for name in different)
        )

    def _declared(self, folder: str, names: Collection[str]) -> str | None:
        for name in _METADATA:
            if name in names and (text := self._read(_join(folder, name))) is not None:
                said = declared_in(name, text)
                if said is not None:
                    return said
        return None


def declared_in(name: str, text: str) -> str | None:
    """The licence field of a pyproject.toml, Cargo.toml or package.json; None where there is none that says one."""
    try:
        content = json.loads(text) if name.endswith(".json") else tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    if name == "package.json":
        said = _at(content, "license")
        listed = _at(content, "licenses")
        if isinstance(listed, list) and said is None:
            types = [_at(entry, "type") for entry in listed]
            said = " OR ".join(entry for entry in types if isinstance(entry, str))
        return _expression(_at(said, "type") if isinstance(said, dict) else said)
    if name == "Cargo.toml":
        said = _at(content, "package", "license") or _at(content, "workspace", "package", "license")
        # Cargo's old form of a choice.
        return _expression(said.replace("/", " OR ") if isinstance(said, str) else None)
    said = _at(content, "project", "license")
    said = _at(said, "text") if isinstance(said, dict) else said
    return _expression(said) or _expression(_at(content, "tool", "poetry", "license")) or _classified(content)


def check_identifier(identifier: str) -> None:
    """
    Raises:
        HoneError: it is no single SPDX identifier.
    """
    if spdx.canonical(identifier) is None or any(character in identifier for character in " ()"):
        raise HoneError(
            f"{identifier} is no SPDX licence identifier; write one such as MIT, Apache-2.0 or GPL-3.0-only"
        )


def allowed(expression: str, identifiers: Collection[str]) -> bool:
    """Whether an expression can be met by these licences alone: one side of an OR is enough, an AND needs both."""
    wanted = [spdx.terms(identifier) for identifier in identifiers]
    return spdx.judge(expression, lambda term: any(spdx.covers(allowance, term) for allowance in wanted))


def excluded(expression: str, identifiers: Collection[str]) -> bool:
    """Whether no choice is left without one of these licences."""
    unwanted = [spdx.terms(identifier) for identifier in identifiers]
    return not spdx.judge(expression, lambda term: not any(spdx.same(exclusion, term) for exclusion in unwanted))


def _classified(content: Any) -> str | None:
    listed = _at(content, "project", "classifiers") or _at(content, "tool", "poetry", "classifiers")
    return classified(listed) if isinstance(listed, list) else None


def classified(classifiers: Sequence[Any]) -> str | None:
    """The licence that trove classifiers name; None where they name none or several."""
    entries = [
        entry.rpartition(" :: ")[2] for entry in classifiers if isinstance(entry, str) and entry.startswith("License")
    ]
    known = sorted({name for entry in entries if (name := _CLASSIFIERS.get(entry))})
    return known[0] if len(known) == 1 else None


def _expression(said: Any) -> str | None:
    if not isinstance(said, str) or not said.strip() or "\n" in said.strip():
        return None
    said = said.strip()
    if said.upper() in ("UNLICENSED", "PROPRIETARY"):
        return _reference(said)
    return spdx.canonical(said)


def _reference(said: str) -> str:
    return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", said).strip("-")[:64] or "unreadable")


def _is_licence_file(name: str) -> bool:
    return language_of(name) in (None, language_of("a.html")) and bool(_FILE_NAME.fullmatch(_SUFFIX.sub("", name)))


def _main_file(found: Collection[str]) -> bool:
    return any(re.fullmatch(r"licen[cs]e|copying|unlicense", _SUFFIX.sub("", name), re.IGNORECASE) for name in found)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
