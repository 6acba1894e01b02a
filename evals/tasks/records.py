"""Files of benchmark problems: JSON lines, plain or gzipped, or one JSON list."""

import gzip
import json
from pathlib import Path
from typing import Any

from assistant.errors import HoneError

ENDINGS = (".jsonl", ".jsonl.gz", ".json")


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file, in order.

    Raises:
        HoneError: the file cannot be read, has no records, or holds something else; names the line.
    """
    try:
        raw = path.read_bytes()
        # Some editors begin a file with a mark of its encoding.
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise HoneError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix == ".json":
        records = _parsed(text, str(path))
        if not isinstance(records, list):
            raise HoneError(f"{path} holds no JSON list of problems")
        numbered = list(enumerate(records, 1))
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        numbered = [(number, _parsed(line, f"{path}, line {number}")) for number, line in lines]
    for number, record in numbered:
        if not isinstance(record, dict):
            raise HoneError(f"{path}: record {number} is no JSON object; every problem is one")
    if not numbered:
        raise HoneError(f"{path} holds no problems")
    return [record for _, record in numbered]


def text_of(record: dict[str, Any], field: str, place: str) -> str:
    """A field that has to be text.

    Raises:
        HoneError: it is missing or something else.
    """
    value = record.get(field)
    if not isinstance(value, str):
        raise HoneError(f"{place}: the field {field!r} is missing or no text")
    return value


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HoneError(f"{place}: no JSON ({error})") from error
