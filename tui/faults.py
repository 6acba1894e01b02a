"""What nobody foresaw: the user gets one line, and the log that `--debug` writes gets the rest.

The log tells what the app did, without prompts, answers and the values of variables.
"""

import logging
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from assistant import paths
from assistant.errors import HoneError

LOG = logging.getLogger("hone")
# Without a log nothing is printed either: the terminal is the app's.
LOG.addHandler(logging.NullHandler())


def start_log() -> Path:
    """Writes from now on what happens to a new file that only the user can read; its path.

    Raises:
        HoneError: the file cannot be made.
    """
    path = paths.home() / "logs" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise HoneError(f"cannot write the log {path}: {error.strerror}") from error
    handler = logging.StreamHandler(os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace"))
    form = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(threadName)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    # Of other libraries only what went wrong: some tell headers, and the key is in one.
    logging.getLogger().addHandler(handler)
    LOG.setLevel(logging.DEBUG)
    threading.excepthook = _thread_ended
    return path


def line(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' + text if text else ''}"


def record(what: str, error: BaseException) -> None:
    """Keeps the error with where it came from, where there is a log."""
    LOG.error("%s: %s", what, line(error), exc_info=error)


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        record("a thread ended", arguments.exc_value)
