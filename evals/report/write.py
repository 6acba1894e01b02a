"""One report, written in every form."""

import os
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError
from evals.report import html, json, junit, markdown, sarif
from evals.report.schema import Report


def write(report: Report, folder: Path | None) -> list[Path]:
    """Writes report.json, report.md, report.html, junit.xml and, where a model reviewed code, review.sarif; appends the
    Markdown to `$GITHUB_STEP_SUMMARY` when that is set.

    Args:
        folder: None writes the summary alone.

    Returns:
        The files in `folder`.

    Raises:
        HoneError: a file cannot be written.
    """
    text = markdown.markdown(report)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    files: list[Path] = []
    try:
        if folder is not None:
            json.write(report, folder / json.NAME)
            files = [folder / json.NAME]
            texts = {"report.md": text, "report.html": html.html(report), "junit.xml": junit.junit(report)}
            if (found := sarif.sarif(report)) is not None:
                texts["review.sarif"] = found
            files += [_written(folder / name, content) for name, content in texts.items()]
        if summary:
            with open(summary, "a", encoding="utf-8", errors="replace") as file:
                file.write(text)
    except OSError as error:
        raise HoneError(f"cannot write the report: {error.filename or folder}: {error.strerror}") from error
    return files


def _written(file: Path, text: str) -> Path:
    # Half of a surrogate pair, which a model may write, is no text that UTF-8 can hold.
    atomic.write_bytes(file, text.encode("utf-8", "replace"))
    return file
