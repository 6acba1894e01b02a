"""What CI shows of a run that gave no score or no decision: a fault is told where the report would have been, so that
an earlier one is not taken for this one's."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError, UsageError
from evals.report import junit, markdown

_NAME = "junit.xml"


@contextmanager
def told(what: str, folder: Path | None) -> Iterator[None]:
    """Writes down what ends the block before it is scored, and lets it end so; a command line that cannot be read is no
    fault of a run."""
    try:
        yield
    except UsageError:
        raise
    except HoneError as error:
        if problem := write(what, str(error), folder):
            error.args = (f"{error}; {problem}",)
        raise


def write(what: str, line: str, folder: Path | None, replaces: Sequence[str] = ()) -> str | None:
    """`junit.xml` with one error, and a line for `$GITHUB_STEP_SUMMARY` when that is set.

    Args:
        what: gave nothing: `hone eval humaneval`.
        line: why.
        folder: None writes the summary alone.
        replaces: files of an earlier run in `folder` that would be taken for this one's.

    Returns:
        What could not be written, None when all was.
    """
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if folder is not None:
            for name in replaces:
                (folder / name).unlink(missing_ok=True)
            atomic.write_bytes(folder / _NAME, junit.fault(what, line).encode())
        if summary:
            with open(summary, "a", encoding="utf-8", errors="replace") as file:
                file.write(markdown.fault(what, line))
    except OSError as error:
        return f"nor can this be written to {error.filename or folder}: {error.strerror}"
    return None


def read(folder: Path) -> str | None:
    """Why the run that wrote to `folder` gave nothing; None where it does not say."""
    try:
        error = ET.parse(folder / _NAME).find("testsuite/testcase/error")
    except (OSError, ET.ParseError):
        return None
    return None if error is None else error.get("message")


def forget(folder: Path) -> None:
    """Takes away what an earlier run wrote, so that it is not read as another's."""
    # Where it cannot be taken away, the next run cannot write either, and says so.
    with suppress(OSError):
        (folder / _NAME).unlink()
