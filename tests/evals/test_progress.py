"""What a long measurement says of itself in a log."""

import io
import re

from evals.progress import Progress


def test_a_log_has_each_count_once_and_a_slow_rate_is_no_zero() -> None:
    log = io.StringIO()
    progress = Progress("words, small", 3, "samples", log, interval=0.0)
    for _ in range(3):
        progress.add()
    progress.finish()
    assert [line.split(",")[1].split()[1] for line in log.getvalue().splitlines()] == ["1/3", "2/3", "3/3"]
    slow = Progress("words, small", 3, "samples", log, interval=1e9)
    slow._started -= 90
    slow.add()
    slow.finish()
    assert re.search(r"1/3 samples, 0\.7 samples/min, 3 min 0 s left", log.getvalue())


def test_a_measurement_without_work_ends_with_one_line() -> None:
    log = io.StringIO()
    progress = Progress("words, small", 2, "samples", log)
    progress.add(2, worked=False)
    progress.finish()
    assert log.getvalue() == "words, small: 2/2 samples\n"
