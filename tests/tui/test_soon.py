"""What is done a moment after the last change."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import soon

QUIET, LATEST = 1.0, 5.0


@dataclass
class Clock:
    """Time that passes when the test says so, and the timers of a widget."""

    now: float = 100.0
    due: list[tuple[float, "Set"]] = field(default_factory=list)

    def set_timer(self, delay: float, run: Callable[[], None]) -> "Set":
        made = Set(run)
        self.due.append((self.now + delay, made))
        return made

    def monotonic(self) -> float:
        return self.now

    def until(self, end: float) -> None:
        while ready := [one for one in self.due if one[0] <= end]:
            one = min(ready, key=lambda each: each[0])
            self.due.remove(one)
            self.now = max(self.now, one[0])
            if not one[1].stopped:
                one[1].run()
        self.now = end


@dataclass
class Set:
    run: Callable[[], None]
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=80))
def test_no_change_waits_longer_than_the_latest_and_none_is_forgotten(pauses: list[float]):
    clock = Clock()
    changed: list[float] = []
    seen_to: list[tuple[float, list[float]]] = []

    def run() -> None:
        seen_to.append((clock.now, changed.copy()))
        changed.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soon.time, "monotonic", clock.monotonic)
        later = soon.Soon(clock, run, QUIET, LATEST)  # type: ignore[arg-type]
        for pause in pauses:
            clock.until(clock.now + pause)
            changed.append(clock.now)
            later.changed()
        clock.until(clock.now + QUIET)
    assert changed == []
    assert sum(len(kept) for _, kept in seen_to) == len(pauses)
    assert all(at - min(kept) <= LATEST + 1e-9 for at, kept in seen_to)
    assert all(at - max(kept) <= QUIET + 1e-9 for at, kept in seen_to)


def test_what_is_dropped_does_not_run():
    clock = Clock()
    ran: list[float] = []
    later = soon.Soon(clock, lambda: ran.append(clock.now), QUIET, LATEST)  # type: ignore[arg-type]
    later.changed()
    later.drop()
    clock.until(200.0)
    assert ran == []
    later.changed()
    clock.until(300.0)
    assert len(ran) == 1
