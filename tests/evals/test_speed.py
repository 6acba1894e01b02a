"""The speed task against a server whose speed is known."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evals.errors import HarnessError
from evals.subjects import Connected, Subject, connector, remote
from evals.tasks import energy, speed
from tests.evals.fake_openai import question, serve


def words(body: object) -> str:
    return " ".join(["word"] * 20)


def test_each_level_has_its_figures_and_no_prompt_comes_twice() -> None:
    with serve(answer=words, seconds=0.05) as server:
        subjects = remote(server.url, None, [])
        report = speed.measure(subjects, connector(4), speed.Plan(levels=(1, 3), requests=4))
        prompts = [question(request.body) for request in server.requests if request.body["max_tokens"] != 1]
    assert len(prompts) == len(set(prompts)) == 4 + 12 + 2
    assert len({prompt.splitlines()[0] for prompt in prompts}) == len(prompts)
    (model,) = report.models
    for together, count in ((1, 4), (3, 12)):
        first = model.figures[f"time to first token at {together}"]
        assert (first.n, first.unit, first.better) == (count, "seconds", "lower")
        assert first.value >= 0.05
        assert first.low is not None
        assert first.high is not None
        assert first.low <= first.value <= first.high
        assert model.figures[f"prompt tokens per second at {together}"].value > 0
        assert model.figures[f"answer tokens per second at {together}"].value > 0
        assert model.figures[f"answer tokens per second together at {together}"].value < 20 * together / 0.05
    assert "peak memory" not in model.figures
    assert any("memory" in note for note in report.notes)
    # Of the requests that came alone.
    assert len(model.latency_seconds) == 4
    assert "Latencies are those of requests that came alone." in report.notes
    assert report.details is not None
    assert len(report.details["requests"]) == 16


def test_a_server_with_chat_only_is_timed_by_chat() -> None:
    with serve(answer=words, chat_only=True) as server:
        subjects = remote(server.url, None, [])
        report = speed.measure(subjects, connector(1), speed.Plan(levels=(1,), requests=2, chat=True))
    assert report.settings["style"] == "chat"
    assert report.models[0].figures["time to first token at 1"].n == 2


def test_no_speed_is_made_up() -> None:
    plan = speed.Plan(levels=(1,), requests=2)
    with serve(answer=words, usage=False) as server, pytest.raises(HarnessError, match="does not count tokens"):
        speed.measure(remote(server.url, None, []), connector(1), plan)
    with serve(answer=lambda body: "x") as server, pytest.raises(HarnessError, match="ended an answer at once"):
        speed.measure(remote(server.url, None, []), connector(1), plan)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_memory_is_that_of_the_engine_and_not_of_other_children() -> None:
    assert speed.peak_memory() is None
    hold = "import sys, time; held = bytearray(200 << 20); print(1, flush=True); del held; time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    engine = subprocess.Popen([sys.executable, "-c", hold, "assistant.engines.llamacpp_child"], stdout=subprocess.PIPE)
    try:
        for process in (other, engine):
            assert process.stdout is not None
            process.stdout.readline()
        found = speed.peak_memory()
    finally:
        for process in (other, engine):
            process.kill()
            process.wait()
    assert found is not None
    assert 200 << 20 <= found < 300 << 20


def test_the_peak_of_a_gateway_that_runs_for_long_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "peak_memory", lambda: 5 << 20)
    subject = Subject("m", "m", "d", {"name": "m", "digest": "d"})
    plan = speed.Plan(levels=(1,), requests=2)
    with serve(answer=words) as server:
        (behind,) = remote(server.url, None, [])

        @contextmanager
        def connect(asked: Subject) -> Iterator[Connected]:
            with connector(1)(behind) as connected:
                yield connected

        told = "m answered from its running gateway: "
        assert any(told in note for note in speed.measure([subject], connect, plan).notes)
        monkeypatch.setattr(speed, "_own_engines", lambda: [object()])
        assert not any(told in note for note in speed.measure([subject], connect, plan).notes)


def test_energy_is_told_for_each_token_of_an_answer() -> None:
    used = [1.0]
    plan = speed.Plan(levels=(1,), requests=2, read_energy=lambda: reading(used[0]))

    def burn(body: object) -> None:
        used[0] += 5

    with serve(answer=words, before=burn) as server:
        report = speed.measure(remote(server.url, None, []), connector(1), plan)
    (model,) = report.models
    # 2 answers of 20 tokens for 5 joules each.
    figure = model.figures["energy per answer token at 1"]
    assert (figure.value, figure.unit, figure.better) == (0.25, "joules", "lower")
    assert figure.method == "processor packages (RAPL), idle power included"
    assert not any("energy" in note for note in report.notes)


def reading(joules: float) -> energy.Reading:
    return energy.Reading({"intel-rapl:0": energy.Counter(joules, 100.0)}, {})


def test_another_machines_energy_is_not_this_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter(range(100))
    plan = speed.Plan(levels=(1,), requests=2, read_energy=lambda: reading(float(next(used))))
    monkeypatch.setattr(speed, "is_local", lambda url: False)
    with serve(answer=words) as server:
        report = speed.measure(remote(server.url, None, []), connector(1), plan)
    assert "energy per answer token at 1" not in report.models[0].figures
    assert "The energy that small's machine uses cannot be seen from here." in report.notes


def test_requests_of_a_level_come_together() -> None:
    meeting = threading.Barrier(3, timeout=120)
    came = itertools.count()

    def wait(body: dict[str, object]) -> None:
        # Before a level one request comes alone.
        if body["max_tokens"] != 1 and next(came):
            meeting.wait()

    with serve(answer=words, before=wait) as server:
        plan = speed.Plan(levels=(3,), requests=1)
        report = speed.measure(remote(server.url, None, []), connector(3), plan)
    assert report.models[0].figures["time to first token at 3"].n == 3
    assert speed.Plan().levels == (1, 2, 4)


def test_prompts_are_programs_that_differ_from_their_first_line_on() -> None:
    one, other = speed.prompt("a", 1, 2), speed.prompt("b", 1, 2)
    assert one.splitlines()[0] != other.splitlines()[0]
    assert len(one) == len(other)
    compile(one, "prompt", "exec")
