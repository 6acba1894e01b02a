"""The files of a repository, ordered so that what is imported comes before what imports it."""

import ast
import heapq
import re
import warnings
from collections.abc import Iterable, Sequence
from posixpath import dirname, join, normpath

from assistant.languages import language_of

MAX_IMPORTS = 200
"""Of one file that are followed."""

_FAMILIES = {
    "python": "python",
    "javascript": "script",
    "typescript": "script",
    "go": "go",
    "rust": "rust",
    "java": "java",
    "kotlin": "java",
    "scala": "java",
    "c": "c",
    "cpp": "c",
}
"""Languages that import each other's files."""

_FOLDER_MODULES = {"__init__", "index", "mod"}
"""A file of this name is the module that its folder names."""

_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t(]+([\w, \t]*)|import[ \t]+([\w., \t]+))", re.MULTILINE
)
_SCRIPT = re.compile(r"""(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*['"]([^'"\n]+)['"]""")
_GO = re.compile(r'^\s*(?:import\s+)?(?:[\w.]+\s+)?"([\w.\-/~]+/[\w.\-/~]+)"\s*$', re.MULTILINE)
_RUST_USE = re.compile(r"\buse\s+((?:crate|super|self)\b[^;]*);")
_RUST_MOD = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", re.MULTILINE)
_JAVA = re.compile(r"^\s*import\s+(?:static\s+)?([\w.]+?)(\.[*_])?\s*;?\s*$", re.MULTILINE)
_INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"\n]+)"|<([^>\n]+/[^>\n]+)>)', re.MULTILINE)


def imports_of(text: str, language: str) -> tuple[str, ...]:
    """What a file imports, as it could be found among the paths of its repository.

    Parts are separated by `/` and carry no file ending, except C's; `./` and `../` are relative to the file's folder,
    a `/` at the end names a folder. Names of what is imported from a module follow it.
    """
    family = _FAMILIES.get(language)
    found: list[str] = []
    if family == "python":
        found = _python(text)
    elif family == "script":
        found = [_script(match) for match in _SCRIPT.findall(text)]
    elif family == "go":
        found = [f"{name}/" for name in _GO.findall(text)]
    elif family == "rust":
        found = [f"./{name}" for name in _RUST_MOD.findall(text)]
        for used in _RUST_USE.findall(text):
            found += [_rust(path) for path in _unbraced("".join(used.split()))]
    elif family == "java":
        found = [name.replace(".", "/") + ("/" if star else "") for name, star in _JAVA.findall(text)]
    elif family == "c":
        found = [quoted or angled for quoted, angled in _INCLUDE.findall(text)]
    return tuple(dict.fromkeys(name for name in found if name))[:MAX_IMPORTS]


def imports_first(paths: Sequence[str], imports: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """The paths of one repository, each after what it imports where that is possible.

    Again and again the file with the fewest imports not yet placed is taken (minimal in-degree, as in DeepSeek-Coder,
    2024, algorithm 1: cycles need no special care), the first by path among equals. Files that do not import each
    other, directly or through others, are not mixed: each connected group is ordered by itself, the groups by their
    first paths. Memory grows with the paths and the imports found among them, not with the texts.

    Args:
        imports: of each path (`imports_of`), in any order; read once. Those of unknown paths are left out.
    """
    ordered = sorted(set(paths))
    number = {path: index for index, path in enumerate(ordered)}
    known = _index(ordered)
    needs: list[set[int]] = [set() for _ in ordered]
    for path, names in imports:
        if path in number:
            found = {other for name in names for other in _resolve(name, path, ordered, known)}
            needs[number[path]] |= found - {number[path]}
    needed_by: list[list[int]] = [[] for _ in ordered]
    for index, others in enumerate(needs):
        for other in sorted(others):
            needed_by[other].append(index)
    placed = [False] * len(ordered)
    result: list[str] = []
    for first in range(len(ordered)):
        if placed[first]:
            continue
        left = {index: len(needs[index]) for index in _group(first, needs, needed_by)}
        heap = [(count, index) for index, count in left.items()]
        heapq.heapify(heap)
        while heap:
            count, index = heapq.heappop(heap)
            if placed[index] or count != left[index]:
                continue
            placed[index] = True
            result.append(ordered[index])
            for other in needed_by[index]:
                if not placed[other]:
                    left[other] -= 1
                    heapq.heappush(heap, (left[other], other))
    return result


def _group(first: int, needs: Sequence[set[int]], needed_by: Sequence[list[int]]) -> set[int]:
    group, pending = {first}, [first]
    while pending:
        index = pending.pop()
        for other in (*needs[index], *needed_by[index]):
            if other not in group:
                group.add(other)
                pending.append(other)
    return group


_Index = dict[tuple[str, str], list[int]]
"""(language family, name) to files; a file is known by its whole module path with a `/` before it and by the last part
of that; a folder's files by its last part with a `/` behind it."""

_MAX_NAMESAKES = 200
"""Files with the same last part that are looked through for an import that says more."""


def _index(paths: Sequence[str]) -> _Index:
    known: _Index = {}
    for index, path in enumerate(paths):
        family = _family(path)
        if family:
            module = _module(path)
            for name in (f"/{module}", module.rsplit("/", 1)[-1], dirname(path).rsplit("/", 1)[-1] + "/"):
                known.setdefault((family, name), []).append(index)
    return known


def _family(path: str) -> str | None:
    language = language_of(path)
    return _FAMILIES.get(language.name) if language else None


def _module(path: str) -> str:
    """A path as an import names it: without its ending (C keeps it), a folder's own module as the folder."""
    if _family(path) == "c":
        return path
    stem = path[: path.rindex(".")]
    name = stem.rsplit("/", 1)[-1]
    return dirname(stem) if name in _FOLDER_MODULES and "/" in stem else stem


def _resolve(name: str, importer: str, paths: Sequence[str], known: _Index) -> list[int]:
    """The files that an import means. What is imported from a module may be a name in it, so up to two last parts may
    go before a file is found."""
    family = _family(importer) or ""
    if name.endswith("/") and not name.startswith("."):
        return _folder(name.rstrip("/"), family, paths, known)
    for shorter in _without_names(name, family):
        if name.startswith("."):
            found = _relative(shorter, importer, family, known)
        else:
            found = _nearest(shorter, importer, family, paths, known)
        if found:
            return found
    return []


def _without_names(name: str, family: str) -> list[str]:
    names = [name]
    while family != "c" and len(names) < 3 and dirname(names[-1]) not in ("", ".", ".."):
        names.append(dirname(names[-1]))
    return names


def _relative(name: str, importer: str, family: str, known: _Index) -> list[int]:
    folders = [dirname(importer)]
    if family == "rust":
        # `mod x;` in a.rs is a/x.rs.
        folders.append(_module(importer))
    for folder in folders:
        found = known.get((family, "/" + normpath(join(folder, name))))
        if found:
            return found[:1]
    return []


def _nearest(name: str, importer: str, family: str, paths: Sequence[str], known: _Index) -> list[int]:
    """The file in the nearest folder above the importer; else the only one anywhere, where the import says more than a
    single word."""
    folder = dirname(importer)
    while True:
        found = known.get((family, "/" + normpath(join(folder, name))))
        if found:
            return found[:1]
        if not folder:
            break
        folder = dirname(folder)
    namesakes = known.get((family, name.rsplit("/", 1)[-1]), []) if "/" in name else []
    if len(namesakes) > _MAX_NAMESAKES:
        return []
    found = [index for index in namesakes if _ends(_module(paths[index]), name)]
    return found if len(found) == 1 else []


def _folder(name: str, family: str, paths: Sequence[str], known: _Index) -> list[int]:
    """The files of the folder that the longest end of the name is."""
    parts = name.split("/")
    there = known.get((family, parts[-1] + "/"), [])
    for start in range(len(parts)):
        found = [index for index in there if _ends(dirname(paths[index]), "/".join(parts[start:]))]
        if found:
            return found
    return []


def _ends(path: str, tail: str) -> bool:
    return path == tail or path.endswith("/" + tail)


def _python(text: str) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _python_by_lines(text)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name.replace(".", "/") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [_python_name("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return found


def _python_by_lines(text: str) -> list[str]:
    found = []
    for module, names, modules in _PYTHON.findall(text):
        if module:
            words = [name.split()[0] for name in names.split(",") if name.split()]
            found += [_python_name(module, word) for word in words or [""]]
        found += [name.split()[0].replace(".", "/") for name in modules.split(",") if name.split()]
    return found


def _python_name(module: str, name: str) -> str:
    """`..a.b` and `c` as `../a/b/c`."""
    bare = module.lstrip(".")
    level = len(module) - len(bare)
    parts = [part for part in (*bare.split("."), name) if part and part != "*"]
    start = "" if level == 0 else "./" if level == 1 else "../" * (level - 1)
    return start + "/".join(parts)


def _script(name: str) -> str:
    bare = re.sub(r"\.(?:[cm]?[jt]s|[jt]sx)$", "", name)
    return bare.removeprefix("@/").removeprefix("~/")


def _rust(path: str) -> str:
    parts = [part for part in path.split("::") if part and part != "*"]
    if parts and parts[0] == "crate":
        # A crate's root is its folder `src`.
        return "/".join(["src", *parts[1:]])
    return "./" + "/".join(part for part in parts if part not in ("self", "super"))


def _unbraced(path: str) -> list[str]:
    """`a::{b,c::{d,e}}` as `a::b`, `a::c::d`, `a::c::e`."""
    opened = path.find("{")
    if opened < 0:
        return [path]
    closed = path.rfind("}")
    inner, depth, start = path[opened + 1 : closed if closed > opened else len(path)], 0, 0
    pieces = []
    for at, letter in enumerate(inner):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            pieces.append(inner[start:at])
            start = at + 1
    pieces.append(inner[start:])
    return [path[:opened] + rest for piece in pieces if piece for rest in _unbraced(piece)]
