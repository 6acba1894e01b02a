"""A corpus of any size from installed packages, with planted near-copies of known similarity."""

import ast
import hashlib
import json
import keyword
import random
import re
import site
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHINGLE = 5
PLANT_EVERY = 8
"""One file in this many gets a near-copy."""
SUFFIXES = "abcdefghijklmno"
"""What the second to the sixteenth copy of the corpus append to every identifier."""

_WORD = re.compile(rb"[0-9A-Za-z_\x80-\xff]+")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Planted:
    original: int
    """Line of the corpus file, from 0."""
    copy: int
    similarity: float
    """Exact Jaccard similarity of the sets of runs of `SHINGLE` words."""
    kind: str


def write(folder: Path, times: int, megabytes: float) -> tuple[Path, list[Planted], int]:
    """Writes `times` copies of about `megabytes` of Python files as JSON lines, each with its own identifiers.

    Returns:
        The folder that holds the one file, the planted near-copies and the bytes of text.
    """
    out = folder / f"{times}x"
    out.mkdir(parents=True, exist_ok=True)
    planted: list[Planted] = []
    written = lines = 0
    with (out / "corpus.jsonl").open("w", encoding="utf-8") as file:

        def put(path: str, text: str) -> int:
            nonlocal written, lines
            file.write(json.dumps({"id": path, "text": text}) + "\n")
            written += len(text.encode())
            lines += 1
            return lines - 1

        for time in range(times):
            suffix = SUFFIXES[time - 1] if time else ""
            waiting = []
            for number, (path, text) in enumerate(files(int(megabytes * 1e6))):
                renamed = _rename_all(text, suffix)
                place = put(f"{time}/{path}", renamed)
                if number % PLANT_EVERY == 0:
                    # A file's edits differ from copy to copy of the corpus.
                    edited, kind = _edit(text, random.Random(f"{path} {time}"))
                    waiting.append((place, f"{time}/near/{path}", renamed, _rename_all(edited, suffix), kind))
            for place, path, text, edited, kind in waiting:
                planted.append(Planted(place, put(path, edited), _jaccard(text, edited), kind))
    return out, planted, written


def files(limit: int) -> Iterator[tuple[str, str]]:
    """Python files of the installed packages in an order fixed by their paths, up to `limit` bytes in all."""
    root = Path(site.getsitepackages()[0])
    names = (str(path.relative_to(root)) for path in root.rglob("*.py"))
    taken, seen = 0, set()
    for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest()):
        try:
            text = (root / name).read_text("utf-8").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError):
            continue
        size = len(text.encode())
        digest = hashlib.sha256(text.encode()).digest()
        if digest in seen or size > 200_000 or len(text.split()) < 100:
            continue
        if taken + size > limit:
            return
        seen.add(digest)
        taken += size
        yield name, text


def _edit(text: str, chosen: random.Random) -> tuple[str, str]:
    kinds = [_rename_some, _insert_comments, _drop_functions, _reorder]
    chosen.shuffle(kinds)
    for kind in kinds:
        edited = kind(text, chosen)
        if edited != text:
            return edited, kind.__name__.lstrip("_").replace("_", " ")
    return text + "\n# edited\n", "one line"


def _rename_all(text: str, suffix: str) -> str:
    if not suffix:
        return text
    return _IDENTIFIER.sub(
        lambda found: found[0] if keyword.iskeyword(found[0]) or len(found[0]) == 1 else found[0] + suffix, text
    )


def _rename_some(text: str, chosen: random.Random) -> str:
    names = sorted({name for name in _IDENTIFIER.findall(text) if len(name) > 2 and not keyword.iskeyword(name)})
    picked = set(chosen.sample(names, max(1, int(len(names) * chosen.choice((0.01, 0.02, 0.05, 0.1))))))
    return _IDENTIFIER.sub(lambda found: f"{found[0]}_renamed" if found[0] in picked else found[0], text)


def _insert_comments(text: str, chosen: random.Random) -> str:
    every = chosen.choice((5, 10, 20, 40))
    lines = []
    for number, line in enumerate(text.split("\n")):
        lines.append(line)
        if number % every == every - 1:
            lines.append(f"# checked again in review {number}")
    return "\n".join(lines)


def _drop_functions(text: str, chosen: random.Random) -> str:
    lines = text.split("\n")
    for start, end in reversed(_spans(text, ast.FunctionDef)):
        if chosen.random() < 0.15:
            del lines[start:end]
    return "\n".join(lines)


def _reorder(text: str, chosen: random.Random) -> str:
    lines = text.split("\n")
    spans = [span for span in _spans(text, (ast.FunctionDef, ast.ClassDef)) if not lines[span[0]][:1].isspace()]
    order = spans.copy()
    chosen.shuffle(order)
    moved: list[str] = []
    position = 0
    for (start, end), (other, until) in zip(spans, order, strict=True):
        moved += lines[position:start] + lines[other:until]
        position = end
    return "\n".join(moved + lines[position:])


def _spans(text: str, kinds: type[ast.AST] | tuple[type[ast.AST], ...]) -> list[tuple[int, int]]:
    """Half-open line spans of definitions, in order; of nested ones the outermost."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    spans: list[tuple[int, int]] = []
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        start = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
        if not spans or start >= spans[-1][1]:
            spans.append((start, node.end_lineno))
    return spans


def _jaccard(first: str, second: str) -> float:
    one, other = _shingles(first), _shingles(second)
    return len(one & other) / len(one | other)


def _shingles(text: str) -> set[tuple[bytes, ...]]:
    words = _WORD.findall(text.encode())
    return set(zip(*(words[start:] for start in range(SHINGLE)), strict=False))
