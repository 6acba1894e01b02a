"""Records of text, of prompt and completion, or of messages, and JSON Lines files of them."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, cast

from assistant.errors import HoneError
from tuning.corpus import filters, spdx
from tuning.corpus.document import Document, Dropped, Turn
from tuning.corpus.filters import Filters

Form = Literal["messages", "prompt/completion", "text"]

_COLUMNS: dict[Form, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt/completion": ("prompt", "completion"),
    "text": ("text",),
}
"""Most telling first: a record with messages and a text is of the form messages."""
_ROLES = ("system", "user", "assistant")
_LONGEST_LINE = 64 << 20
"""Bytes; more is no JSON Lines file, and would be read into memory whole."""


def read_file(source: int, file: Path, options: Filters) -> Iterator[Document | Dropped]:
    """The records of a JSON Lines file, gzipped or not, one at a time; blank lines are skipped.

    Paths are `NAME:LINE`. The first record decides the form, and all others must be of it.

    Raises:
        HoneError: the file cannot be read, or a line is no record of that form; names the file and the line.
    """
    form: Form | None = None
    number = 0
    try:
        with _opened(file) as lines:
            while raw := lines.readline(_LONGEST_LINE + 1):
                number += 1
                if len(raw) > _LONGEST_LINE:
                    raise HoneError(
                        f"{file}:{number} is longer than {_LONGEST_LINE >> 20} MiB; JSON Lines has one record a line"
                    )
                if not raw.strip():
                    continue
                where = f"{file}:{number}"
                record = _parsed(raw, where, first=number == 1)
                form = form or form_of(record, where)
                yield to_document(source, f"{file.name}:{number}", where, record, form, raw.rstrip(b"\r\n"), options)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise HoneError(f"{file} cannot be read after line {number}: {reason}") from error


def form_of(record: Mapping[str, Any], where: str) -> Form:
    """
    Raises:
        HoneError: the record is of none of the three forms; names the columns it has.
    """
    for form, columns in _COLUMNS.items():
        if all(column in record for column in columns):
            return form
    has = ", ".join(map(str, record)) or "none"
    raise HoneError(f"{where} has no text: wanted is text, prompt and completion, or messages; its columns are {has}")


def to_document(
    source: int, path: str, where: str, record: Mapping[str, Any], form: Form, raw: bytes, options: Filters
) -> Document | Dropped:
    """One record as a document, or why it is dropped. Its `license` column, where it is SPDX, is its licence.

    Raises:
        HoneError: a column of the form is missing or of a wrong type; begins with `where`.
    """
    missing = [column for column in _COLUMNS[form] if column not in record]
    if missing:
        other = next((name for name, columns in _COLUMNS.items() if all(column in record for column in columns)), None)
        if other:
            raise HoneError(
                f"{where} is of the form {other}, the first record of the form {form}; keep the forms in separate files"
            )
        raise HoneError(f"{where} has no {missing[0]}, as the first record has")
    text, turns = _content(record, form, where)
    if "\0" in text:
        return Dropped(source, path, "binary", "binary")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return Dropped(source, path, "not UTF-8", "half of a surrogate pair, which UTF-8 cannot write")
    learnt = [turn.content for turn in turns if turn.role in ("completion", "assistant")] if turns else [text]
    if not any(content.strip() for content in learnt):
        return Dropped(source, path, "empty", "nothing to learn from" if turns else "empty")
    said = record.get("license")
    found = spdx.canonical(said) if isinstance(said, str) else None
    document = Document(source, path, text, "text", found, hashlib.sha256(raw).hexdigest(), len(raw), None, turns)
    return filters.by_size(options, source, path, size) or filters.by_licence(options, source, path, found) or document


def _content(record: Mapping[str, Any], form: Form, where: str) -> tuple[str, tuple[Turn, ...]]:
    if form == "text":
        return _string(record["text"], where, "text"), ()
    if form == "prompt/completion":
        turns = tuple(Turn(column, _string(record[column], where, column)) for column in _COLUMNS[form])
    else:
        turns = _messages(record["messages"], where)
    return "\n".join(turn.content for turn in turns), turns


def _messages(messages: Any, where: str) -> tuple[Turn, ...]:
    if not isinstance(messages, list) or not messages:
        raise HoneError(f"{where}: messages is {_kind(messages)}; wanted is a list of messages, and not an empty one")
    turns = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise HoneError(f"{where}: messages[{index}] is {_kind(message)}, not an object with role and content")
        role = message.get("role")
        if role not in _ROLES:
            raise HoneError(f"{where}: messages[{index}] has the role {role!r}; known are {', '.join(_ROLES)}")
        turns.append(Turn(role, _string(message.get("content"), where, f"messages[{index}].content")))
    return tuple(turns)


def _string(value: Any, where: str, column: str) -> str:
    if not isinstance(value, str):
        raise HoneError(f"{where}: {column} is {_kind(value)}, not a string")
    return value.replace("\r\n", "\n")


def _parsed(raw: bytes, where: str, first: bool) -> Mapping[str, Any]:
    try:
        record = json.loads(raw.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        raise HoneError(f"{where} is not UTF-8 (byte {error.start} of the line)") from error
    except json.JSONDecodeError as error:
        raise HoneError(f"{where} is not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise HoneError(f"{where} is not JSON that can be read: {error}") from error
    if not isinstance(record, dict):
        raise HoneError(f"{where} is {_kind(record)}, not an object; JSON Lines has one object a line")
    return record


def _kind(value: Any) -> str:
    if value is None:
        return "missing or null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _opened(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "rb")) if file.name.endswith(".gz") else file.open("rb")
