"""What Ctrl-C and SIGTERM do while a run trains, and that they do what they did before and after."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

import pytest

from tui.commands.tune_progress import watcher
from tuning.train import Progress

STEP = Progress(
    step=1,
    epoch=0,
    share=0.5,
    loss=1.0,
    learning_rate=1e-3,
    tokens=8,
    seconds=1.0,
    tokens_per_second=8.0,
    eta_seconds=1.0,
)


@pytest.fixture(autouse=True)
def ended() -> Iterator[list[int]]:
    """The signals that would have ended the process."""
    told: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    yield told
    for number, handler in before.items():
        signal.signal(number, handler)


def tell(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_only_while_it_trains_a_signal_waits_for_the_end_of_the_step(ended: list[int]) -> None:
    run = watcher(None)
    run.progress(STEP)
    tell(signal.SIGTERM)
    with run.training(False):
        # Before the first step has been made.
        tell(signal.SIGTERM)
        run.progress(STEP)
        tell(signal.SIGINT)
        assert run.stopped()
        assert not run.leaving()
    assert ended == [signal.SIGTERM, signal.SIGTERM]
    tell(signal.SIGTERM)
    tell(signal.SIGINT)
    assert ended[2:] == [signal.SIGTERM, signal.SIGINT]


def test_each_trial_and_what_follows_can_be_told(ended: list[int]) -> None:
    run = watcher(None)
    with run.training(False):
        run.progress(STEP)
    with suppress(InterruptedError), run.training(True):
        tell(signal.SIGTERM)
        assert run.leaving()
        raise InterruptedError
    assert not ended


def test_who_is_told_after_the_last_step_ends_all_the_same(ended: list[int]) -> None:
    run = watcher(None)
    with run.training(False):
        run.progress(STEP)
        tell(signal.SIGTERM)
        assert not ended
    assert ended == [signal.SIGTERM]


def test_a_second_ctrl_c_discards(ended: list[int]) -> None:
    run = watcher(None)
    with run.training(True):
        tell(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            tell(signal.SIGINT)
    assert not ended
