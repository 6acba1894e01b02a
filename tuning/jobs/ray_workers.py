"""The corpus steps of a run across nodes of Ray: what one machine does in processes of its own is done in processes
on all of the run's nodes, `ordered.mapped` giving the batches out and taking the results back in order.

Actors that ask Ray for nothing, on the nodes that the run holds anyway, and not Ray Data: that would ask Ray for
processors besides those that this very run has reserved and leaves idle meanwhile, and wait for them for ever where
there are no others. Actors also keep what they were sent, such as a tokenizer.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from assistant.errors import HoneError
from tuning.corpus.ordered import Workers

VARIABLE = "HONE_RAY_NODES"
"""Environment variable by which the first process of a run knows its nodes: a JSON object of how many processes may
work on each, by Ray's names of the nodes."""
_DECIDING = ("detect-secrets", "tokenizers", "transformers", "tree-sitter")
"""Packages whose version decides what a document becomes."""


def places() -> dict[str, int]:
    """The nodes of this run; empty where it is not one across nodes of Ray."""
    found = json.loads(os.environ.get(VARIABLE) or "{}")
    return {str(node): int(count) for node, count in found.items()}


@contextmanager
def on_nodes(found: Mapping[str, int]) -> Iterator[Workers]:
    """Processes on these nodes, started when there is work for them.

    A process or node that is lost fails what it was asked for, and with that the run, which would have lost a part of
    its own there too.
    """
    executor = Actors(found)
    try:
        yield Workers(executor, 2 * sum(found.values()))
    finally:
        executor.end()


class _Worker:
    """A process on a node; an actor of Ray."""

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)


@dataclass
class _Actor:
    handle: Any
    wanted: int = 0
    """Answers that nobody has taken yet."""


@dataclass(frozen=True)
class _Answer:
    """What an actor was asked for; it stays in Ray's memory until it is wanted."""

    reference: Any
    actor: _Actor

    def result(self) -> Any:
        """To be asked once.

        Raises:
            HoneError: the work failed, or the process or its node was lost.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            # `get` alone looks but once a second for what lies on another node (Ray 2.60); `wait` has it brought.
            ray.wait([self.reference])
            return ray.get(self.reference)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, HoneError):
                raise cause from None
            raise _failed(f"{type(cause).__name__}: {_line(cause)}") from error
        except RayError as error:
            raise _failed(_line(error)) from error
        finally:
            self.actor.wanted -= 1


class Actors:
    """An `ordered.Executor`: each batch goes to the actor with the fewest."""

    def __init__(self, found: Mapping[str, int]) -> None:
        self._places = dict(found)
        self._actors: list[_Actor] = []

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> _Answer:
        if not self._actors:
            self._begin()
        actor = min(self._actors, key=lambda one: one.wanted)
        actor.wanted += 1
        return _Answer(actor.handle.run.remote(work, *arguments), actor)

    def end(self) -> None:
        if self._actors:
            import ray

            # They end with the connection, and what Ray holds of this process is free for the training.
            ray.shutdown()
            self._actors = []

    def _begin(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        try:
            with _own_signals():
                ray.init(address="auto", log_to_driver=False, logging_level="warning")
        except (ConnectionError, RuntimeError) as error:
            raise HoneError(f"the run finds no Ray to work on the corpus: {_line(error)}") from error
        worker = ray.remote(_Worker)
        self._actors = [
            _Actor(worker.options(num_cpus=0, scheduling_strategy=On(node, soft=False)).remote())
            for node, count in self._places.items()
            for _ in range(count)
        ]
        sys.stderr.write(f"{len(self._actors)} processes on {len(self._places)} nodes of Ray work on the corpus\n")
        own = _versions()
        # All of them begin before the first one is waited for.
        for asked in [self.submit(_versions) for _ in self._actors]:
            theirs = asked.result()
            if theirs != own:
                name = next(one for one in _DECIDING if theirs[one] != own[one])
                raise HoneError(
                    f"the nodes of Ray would not make one corpus: {name} is {own[name]} on the first and "
                    f"{theirs[name]} on another; give all of them one environment"
                )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, by which a run is told to leave."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in _DECIDING}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _failed(why: str) -> HoneError:
    return HoneError(f"a process that worked on the corpus failed on a node of Ray: {why}")


def _line(error: BaseException) -> str:
    """In one line, without the indented ones, which are Ray's numbers of things."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    return " ".join(lines)[:400] or type(error).__name__
