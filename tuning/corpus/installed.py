"""General code that every machine has: the sources of the Python packages that are installed beside Hone, where their
licence is permissive.

Written `installed:all`, `installed:NAME,NAME` for some packages alone, `installed:all,-NAME` for all but some. The same
packages give the same files: those of the smallest hashes, within the bounds below.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from assistant.attributes import Marks
from assistant.errors import HoneError
from tuning.corpus import filters, licence, spdx
from tuning.corpus.document import Document, Dropped
from tuning.corpus.filters import Filters
from tuning.corpus.licence_texts import recognised

PREFIX = "installed:"
ALL = "all"

PERMISSIVE = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU"),
        *("PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
    }
)
"""SPDX identifiers of the licences that ask for no more than a notice."""
MOST_BYTES = 4_000_000
MOST_OF_PACKAGE = 200_000
"""Bytes, so that a few large packages do not decide."""

_OWN = "hone-assistant"
_TEST = re.compile(r"(^|/)(tests?|testing|_tests?|conftest|fixtures)(/|\.py$)|(^|/)test_[^/]*$|_test\.py$")


@dataclass(frozen=True)
class Package:
    name: str
    """As PEP 503 writes it."""
    version: str
    licence: str | None
    """An SPDX expression, None where it cannot be told."""
    files: tuple[tuple[str, Path], ...]
    """(path below the folder of packages, where it lies), Python sources only, ordered by path."""


def check(spec: str) -> None:
    """
    Raises:
        HoneError: what follows `installed:` is no list of packages.
    """
    _asked(spec)


def packages(spec: str) -> list[Package]:
    """The packages that a spec names, by name; without Hone itself and those that have no Python sources.

    Raises:
        HoneError: one that is asked for by name is not installed.
    """
    wanted, unwanted = _asked(spec)
    found: dict[str, Package] = {}
    for distribution in metadata.distributions():
        name = _normal(distribution.metadata["Name"] or "")
        if not name or name in found or name in unwanted or name == _OWN or (wanted and name not in wanted):
            continue
        files = _sources(distribution)
        if files:
            found[name] = Package(name, distribution.version, licence_of(distribution), files)
    missing = sorted(wanted - set(found))
    if missing:
        raise HoneError(f"no package {missing[0]} with Python sources is installed; `pip list` names those that are")
    return [found[name] for name in sorted(found)]


def state(spec: str) -> list[list[str]]:
    """JSON values that change when what a spec names does: a released package does not change under its version."""
    return [[package.name, package.version] for package in packages(spec)]


def read(number: int, spec: str, options: Filters) -> Iterator[Document | Dropped]:
    """The files of the packages, as a source of that number.

    Raises:
        HoneError: as for `packages`.
    """
    taken = 0
    # By hash, so that the bound on all of them does not cut off the end of the alphabet.
    for package in sorted(packages(spec), key=lambda one: _digest(one.name)):
        unwanted = _unwanted(number, package)
        if unwanted is not None:
            yield unwanted
            continue
        left = min(MOST_OF_PACKAGE, MOST_BYTES - taken)
        for path, file in sorted(package.files, key=lambda one: _digest(one[0])):
            item = _judged(number, path, file, package, options)
            if isinstance(item, Document):
                if item.bytes > left:
                    continue
                left -= item.bytes
                taken += item.bytes
            yield item


def licence_of(distribution: metadata.Distribution) -> str | None:
    """What a package's metadata say: its SPDX expression, else its licence texts where they agree, else its
    classifiers."""
    said = distribution.metadata.get_all("License-Expression")
    if said:
        return spdx.canonical(said[0])
    texts = {recognised(text) for text in _licence_texts(distribution)}
    if len(texts) == 1 and (only := texts.pop()) is not None:
        return only
    return licence.classified(distribution.metadata.get_all("Classifier") or [])


def _unwanted(number: int, package: Package) -> Dropped | None:
    if package.licence is None:
        return Dropped(number, package.name, "unknown licence", "the package does not say its licence")
    if not licence.allowed(package.licence, PERMISSIVE):
        return Dropped(number, package.name, "excluded licence", f"{package.licence} is not permissive")
    return None


def _judged(number: int, path: str, file: Path, package: Package, options: Filters) -> Document | Dropped:
    unwanted = filters.by_path(options, number, path) or filters.by_marks(number, path, Marks())
    if unwanted is not None:
        return unwanted
    if _TEST.search(path):
        return Dropped(number, path, "not source", "a test")
    try:
        raw = file.read_bytes()
    except OSError as error:
        return Dropped(number, path, "unreadable", f"cannot be read: {error.strerror or error}")
    unwanted = filters.by_size(options, number, path, len(raw))
    if unwanted is not None:
        return unwanted
    item = filters.decode(options, number, path, raw)
    if isinstance(item, Dropped):
        return item
    # The head of a file may name another licence than its package's.
    found = licence.in_head(item.text) or package.licence
    if found is None or not licence.allowed(found, PERMISSIVE):
        return Dropped(number, path, "excluded licence", f"{found} is not permissive")
    return filters.by_licence(options, number, path, found) or Document(
        item.source, item.path, item.text, item.language, found, item.sha256, item.bytes
    )


def _sources(distribution: metadata.Distribution) -> tuple[tuple[str, Path], ...]:
    """What was installed below the folder of packages; nothing of an editable install, which is somebody's own work."""
    found = {
        file.as_posix(): Path(str(distribution.locate_file(file)))
        for file in distribution.files or ()
        if file.suffix == ".py" and ".." not in file.parts and not file.name.startswith("__editable__")
    }
    return tuple(sorted(found.items()))


def _licence_texts(distribution: metadata.Distribution) -> Iterator[str]:
    for file in distribution.files or ():
        inside = ".dist-info" in file.parts[0] and len(file.parts) > 1
        if inside and re.match(r"(un)?licen[cs]e|copying", file.name, re.IGNORECASE):
            try:
                yield Path(str(distribution.locate_file(file))).read_text("utf-8", "replace")
            except OSError:
                continue


def _asked(spec: str) -> tuple[frozenset[str], frozenset[str]]:
    """(packages wanted, none for all; packages left out)."""
    names: Sequence[str] = [name.strip() for name in spec.removeprefix(PREFIX).split(",") if name.strip()]
    unwanted = {_normal(name[1:]) for name in names if name.startswith("-")}
    wanted = {_normal(name) for name in names if not name.startswith("-")}
    bad = next((name for name in wanted | unwanted if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)), None)
    if bad is not None:
        raise HoneError(f"{spec} is no list of packages; write {PREFIX}{ALL}, {PREFIX}NAME,NAME or {PREFIX}{ALL},-NAME")
    if not wanted:
        raise HoneError(f"{spec} names no package; write {PREFIX}{ALL}, or {PREFIX}NAME,NAME")
    return (frozenset() if ALL in wanted else frozenset(wanted)), frozenset(unwanted)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(text: str) -> bytes:
    # Not the hash of the path alone, by which the split holds files out: those of the smallest hashes would all be.
    return hashlib.sha256(b"installed\0" + text.encode("utf-8", "surrogatepass")).digest()
