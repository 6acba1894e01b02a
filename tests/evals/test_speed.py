"""The speed task against a server whose speed is known."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evals.errors import HarnessError
from evals.subjects import Connected, Subject, connector, remote
from evals.tasks import speed
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

        told = "The peak memory of m is that since its running gateway was started."
        assert told in speed.measure([subject], connect, plan).notes
        monkeypatch.setattr(speed, "_own_engines", lambda: [object()])
        assert told not in speed.measure([subject], connect, plan).notes


def test_energy_is_summed_over_processors_and_absent_where_it_cannot_be_read(tmp_path: Path) -> None:
    assert speed.energy(tmp_path) is None
    for number, value in enumerate((1_500_000, 2_500_000)):
        (tmp_path / f"intel-rapl:{number}").mkdir()
        (tmp_path / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n")
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("9000000\n")
    assert speed.energy(tmp_path) == 4.0
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("soon\n")
    assert speed.energy(tmp_path) is None


def test_energy_is_told_for_each_token_of_an_answer(tmp_path: Path) -> None:
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("1000000\n")

    def burn(body: object) -> None:
        counter.write_text(f"{int(counter.read_text()) + 5_000_000}\n")

    plan = speed.Plan(levels=(1,), requests=2, powercap=tmp_path)
    with serve(answer=words, before=burn) as server:
        report = speed.measure(remote(server.url, None, []), connector(1), plan)
    (model,) = report.models
    # 2 answers of 20 tokens for 5 joules each.
    assert model.figures["energy per answer token at 1"].value == 0.25
    assert not any("energy" in note for note in report.notes)


def test_prompts_are_programs_that_differ_from_their_first_line_on() -> None:
    one, other = speed.prompt("a", 1, 2), speed.prompt("b", 1, 2)
    assert one.splitlines()[0] != other.splitlines()[0]
    assert len(one) == len(other)
    compile(one, "prompt", "exec")
