"""The text on which an export is compared with what was trained.

Held-out files of the adapter's own corpus where they are still there, unchanged; else modules of Python's standard
library. No text of the corpus is kept with an adapter: adapters are shared by teams that do not share their code.
"""

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import prompts
from assistant.errors import HoneError
from assistant.redaction.redact import redact

PASSAGE_TOKENS = 160
PASSAGES = 6
_LEAST_TOKENS = 300
"""In all passages together; with fewer, the comparison says too little."""
_STANDARD_LIBRARY = ("textwrap", "heapq", "shlex", "fnmatch", "calendar", "configparser")


@dataclass(frozen=True)
class Passages:
    tokens: tuple[tuple[int, ...], ...]
    source: str
    """`held-out files` or `standard library`."""


def passages(manifest: Mapping[str, Any], tokenizer: Any) -> Passages:
    """Up to `PASSAGES` passages of `PASSAGE_TOKENS` tokens, always the same ones for the same files.

    Args:
        manifest: an adapter's manifest; an empty one has no held-out files.
    """
    return of_documents(_held_out(manifest), tokenizer)


def of_documents(documents: Iterator[tuple[str, str]], tokenizer: Any) -> Passages:
    """The passages of held-out (path, text), redacted; of the standard library where those are too short."""
    found = _longest(documents, tokenizer)
    if sum(map(len, found)) >= _LEAST_TOKENS:
        return Passages(found, "held-out files")
    return Passages(standard_library(tokenizer), "standard library")


def standard_library(tokenizer: Any) -> tuple[tuple[int, ...], ...]:
    """Passages of Python's own modules.

    Raises:
        HoneError: this Python came without its sources.
    """
    found = _longest(_modules(), tokenizer)
    if not found:
        raise HoneError("this Python has no sources of its standard library, so there is no text to compare on")
    return found


def _longest(documents: Iterator[tuple[str, str]], tokenizer: Any) -> tuple[tuple[int, ...], ...]:
    """The beginning and, where that is not enough, later parts of some documents."""
    first: list[tuple[int, ...]] = []
    later: list[tuple[int, ...]] = []
    for path, text in documents:
        tokens = tokenizer(
            prompts.document(path, text[: PASSAGE_TOKENS * 100]), add_special_tokens=False, split_special_tokens=True
        ).input_ids
        parts = [tuple(tokens[at : at + PASSAGE_TOKENS]) for at in range(0, len(tokens), PASSAGE_TOKENS)]
        first += parts[:1]
        later += parts[1:PASSAGES]
        if len(first) >= 4 * PASSAGES:
            break
    # Sorting is stable, so equally long parts keep the order of the files, beginnings first.
    return tuple(sorted([*first, *later], key=len, reverse=True)[:PASSAGES])


def _held_out(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    corpus = manifest.get("corpus", {})
    sources = corpus.get("sources", [])
    for file in corpus.get("files", []):
        if file.get("split") != "test":
            continue
        raw = _read(Path(sources[file["source"]].get("path", "")), file["path"], file["sha256"])
        if raw is None:
            continue
        try:
            text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        yield file["path"], redact(text)[0]


def _read(source: Path, path: str, sha256: str) -> bytes | None:
    """The file as it was tuned on; its path is from the root of the repository that `source` is in."""
    for root in (source, *source.parents):
        try:
            raw = (root / path).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(raw).hexdigest() == sha256:
            return raw
    return None


def _modules() -> Iterator[tuple[str, str]]:
    for name in _STANDARD_LIBRARY:
        specification = importlib.util.find_spec(name)
        loader: Any = specification.loader if specification else None
        text = loader.get_source(name) if hasattr(loader, "get_source") else None
        if text:
            yield f"{name}.py", text
