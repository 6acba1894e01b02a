"""Reports as JSON files."""

import json
from pathlib import Path

from assistant import atomic
from evals.errors import HarnessError
from evals.report import repo
from evals.report.schema import Report, from_json, to_json

NAME = "report.json"


def write(report: Report, file: Path) -> None:
    """
    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Half of a surrogate pair, which a model may write, is no text that UTF-8 can hold.
    atomic.write_bytes(file, text.encode("utf-8", "replace"))


def read(file: Path) -> Report:
    """A report of this schema version, or one that `hone eval repo` wrote in version 1.

    Raises:
        HarnessError: there is none, or it is something else.
    """
    try:
        data = file.read_bytes()
        found = json.loads(data)
    except OSError as error:
        raise HarnessError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise HarnessError(f"{file} is no JSON") from error
    try:
        if isinstance(found, dict) and found.get("schema_version") == 1 and found.get("task") == "repo":
            return repo.report(found)
        return from_json(data)
    except HarnessError as error:
        raise HarnessError(f"{file}: {error}") from error
