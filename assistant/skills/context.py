"""What a prompt shows of the repository's other files: definitions of imported names that are used near the cursor,
then code that resembles the lines before it."""

import re
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from typing import Protocol

from assistant.languages import language_of
from assistant.prompts import Snippet
from assistant.review_context import imports_used
from assistant.skills import repository
from assistant.skills.chunks import words_of
from assistant.skills.index import Index

QUERY_LINES = 12
MAX_DEFINITIONS = 2
SHARED_WORDS = 3
_NAME = re.compile(r"[^\W\d]\w*")
_USED = re.compile(r"([^\W\d]\w*)(?:(?:\.|::)([^\W\d]\w*))?")
_IMPORT_LINE = re.compile(r"\s*(?:import|from|use|package)\b|#\s*include\b")
_RENAMED = re.compile(r"(\w+) as (\w+)")


class Retriever(Protocol):
    """What retrieval needs of `index.Index`."""

    def retrieve(self, query: str, k: int, exclude: Collection[str] = ()) -> list[Snippet]: ...

    def definitions(self, name: str, exclude: Collection[str] = ()) -> list[Snippet]: ...


def index(root: Path, files: Sequence[str] | None = None, exclude: AbstractSet[str] = frozenset()) -> Index:
    """An index in memory of source files below `root`.

    Args:
        root: the repository.
        files: repository paths; None takes all git-tracked source files, which are none outside a git repository.
        exclude: repository paths to leave out.
    """
    made = Index(root)
    names = repository.tracked_sources(root) if files is None else files
    made.update([name for name in names if name not in exclude])
    return made


def find(
    retriever: Retriever, path: str, prefix: str, k: int, exclude: Collection[str], recent: Sequence[Snippet] = ()
) -> list[Snippet]:
    """Snippets, best first: at most `MAX_DEFINITIONS` definitions, one of `recent`, then `k` chunks by BM25.

    Args:
        path: of the file that is completed; its ending tells how it imports.
        prefix: of that file.
        exclude: repository paths that must not appear.
        recent: places of other files that were edited, the last one last; the one that shares most words with the
            lines before the cursor is taken, if it shares `SHARED_WORDS`.
    """
    query = query_of(prefix)
    found = imported(retriever, path, prefix, query, exclude)[:MAX_DEFINITIONS]
    words = set(words_of(query))
    edited = [snippet for snippet in reversed(recent) if snippet.path not in exclude]
    shared = [len(words.intersection(words_of(snippet.text))) for snippet in edited]
    if shared and max(shared) >= SHARED_WORDS:
        found.append(edited[shared.index(max(shared))])
    known = tuple(found)
    for chunk in retriever.retrieve(query, k + len(known), exclude):
        shown = any(snippet.text in chunk.text or chunk.text in snippet.text for snippet in known)
        if not shown and len(found) < k + len(known):
            found.append(chunk)
    return found


def imported(retriever: Retriever, path: str, prefix: str, near: str, exclude: Collection[str] = ()) -> list[Snippet]:
    """Definitions of the imported names that `near`, the lines before the cursor, uses (`name`, or `module.name`); the
    name used last comes first.

    Of several definitions of one name the one whose path the import names best is taken.
    """
    language = language_of(path)
    if language is None:
        return []
    code = "\n".join(line for line in near.split("\n") if not _IMPORT_LINE.match(line))
    used = {(match[1], match[2]): place for place, match in enumerate(_USED.finditer(code))}
    found: list[tuple[int, Snippet]] = []
    for line in imports_used(prefix, language.name, " ".join(name for name, _ in used)):
        words = set(_NAME.findall(line))
        renamed = {match[2]: match[1] for match in _RENAMED.finditer(line)}
        for (name, member), place in used.items():
            if name not in words:
                continue
            original = renamed.get(name, name)
            candidates = retriever.definitions(original, exclude)
            if member:
                candidates += [one for one in retriever.definitions(member, exclude) if original in _parts(one.path)]
            best = max(candidates, key=lambda one: len(words & _parts(one.path)), default=None)
            if best is not None:
                found.append((place, best))
    return list(dict.fromkeys(snippet for _, snippet in sorted(found, key=lambda entry: -entry[0])))


def _parts(path: str) -> set[str]:
    return set(PurePosixPath(path).with_suffix("").parts)


def query_of(prefix: str) -> str:
    """The last `QUERY_LINES` non-blank lines before the cursor."""
    tail = prefix[-QUERY_LINES * 400 :]
    return "\n".join([line for line in tail.split("\n") if line.strip()][-QUERY_LINES:])
