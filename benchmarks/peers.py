"""A peer in a process of its own: two libraries' threads in one process slow each other down."""

import multiprocessing
from collections.abc import Callable
from typing import Any


class Peer:
    """Calls to what `make(*arguments)` returns, answered by another process."""

    def __init__(self, make: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._mine, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._mine.recv()

    def __call__(self, *arguments: Any) -> Any:
        """
        Raises:
            EOFError: the process has died; what it said stands on standard error.
        """
        self._mine.send(arguments)
        return self._mine.recv()

    def close(self) -> None:
        """Ends the process in order: what it registered with `atexit` runs."""
        self._mine.close()
        self._process.join()


def _serve(pipe: Any, make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    run = make(*arguments)
    pipe.send("ready")
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        pipe.send(run(*asked))
