"""Whole runs of a small task against a server on a real socket."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant import prompts
from assistant.client import Client
from assistant.errors import HoneError, UsageError
from assistant.skills.complete import ModelForm
from evals.errors import HarnessError
from evals.harness import LostSamplesError, choose, run_task
from evals.sampled import Sampled
from evals.samples import Samples
from evals.subjects import Connected, Subject, connector, remote
from evals.tasks.base import Answer, Ask, Item, Message
from tests.assistant.gateway_fakes import CONTEXT, KEY, MODEL, ScriptedEngine, gateway, listening
from tests.conftest import ROOT
from tests.evals.eval_fixtures import samples_of
from tests.evals.fake_openai import FakeServer, question, serve
from tests.evals.words_task import Words

FAST = (0.01, 0.01, 0.01)


def run(server: FakeServer, task: Any, folder: Path | None, **options: Any) -> list[Sampled]:
    (subject,) = remote(server.url, None, [])
    with Samples(folder) as store:
        options = {"concurrency": 3, "show": False, "retry_seconds": FAST, "sandbox": None} | options
        sandbox = options.pop("sandbox")
        return run_task(task, subject, connector(3), store, sandbox, **options)


def table(sampled: list[Sampled]) -> list[tuple[str, int, str, float]]:
    return [(one.item.id, one.attempt, one.answer.text, one.verdict.value) for one in sampled]


def test_every_sample_is_there_in_order_and_on_disk(tmp_path: Path) -> None:
    with serve() as server:
        sampled = run(server, Words(), tmp_path)
    assert [(one.item.id, one.attempt) for one in sampled] == [(f"words/{n}", a) for n in range(6) for a in range(2)]
    assert {one.answer.text for one in sampled} == {"right", "wrong"}
    assert all(one.verdict.value == float(one.answer.text == "right") for one in sampled)
    rows = samples_of(tmp_path)
    assert {row["key"] for row in rows} == {one.key for one in sampled}
    (row,) = [row for row in rows if (row["item"], row["attempt"]) == ("words/3", 1)]
    assert row["task"] == "words@1"
    assert row["group"] == "group 1"
    assert row["name"] == "small"
    assert row["ask"]["prompt"] == "Question 3\n"
    assert row["ask"]["temperature"] == 0.8
    assert row["ask"]["max_tokens"] == 16
    assert row["extracted"] == row["text"] == sampled[7].answer.text
    assert row["verdict"]["value"] == sampled[7].verdict.value
    assert row["finish_reason"] == "stop"
    assert row["prompt_tokens"] == 2
    assert row["completion_tokens"] == 1
    assert row["seconds"] >= row["first_token_seconds"] > 0


def test_samples_of_one_item_have_seeds_of_their_own_that_do_not_depend_on_the_rest(tmp_path: Path) -> None:
    with serve() as server:
        run(server, Words(), tmp_path)
        seeds = {(row["item"], row["attempt"]): row["ask"]["seed"] for row in samples_of(tmp_path)}
        run(server, Words(count=2), tmp_path / "fewer", concurrency=1)
        fewer = {(row["item"], row["attempt"]): row["ask"]["seed"] for row in samples_of(tmp_path / "fewer")}
        run(server, Words(count=2), tmp_path / "other", seed=1)
        other = {row["ask"]["seed"] for row in samples_of(tmp_path / "other")}
    assert len(set(seeds.values())) == 12
    assert fewer.items() <= seeds.items()
    assert not other & set(seeds.values())


def test_equal_work_is_not_done_again_and_needs_no_model(tmp_path: Path) -> None:
    @contextmanager
    def nothing(subject: Subject) -> Iterator[Connected]:
        raise AssertionError("the model was asked for")
        yield

    with serve() as server:
        first = run(server, Words(), tmp_path)
        asked = len(server.asked())
        (subject,) = remote(server.url, None, [])
        with Samples(tmp_path) as store:
            again = run_task(Words(), subject, nothing, store, None, show=False)
            assert store.resumed == 12
        assert again == first
        assert len(server.asked()) == asked == 12
        more = run(server, Words(samples_per_item=3), tmp_path)
        assert len(server.asked()) == 18
        assert [one for one in more if one.attempt < 2] == first


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.7}, {"version": "words@2"}, {"stop": ("#",)}, {"chat": True}],
    ids=["temperature", "version", "stop", "form"],
)
def test_other_work_is_done_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    with serve() as server:
        run(server, Words(), tmp_path)
        run(server, Words(**change), tmp_path)
        assert len(server.asked()) == 24


def test_another_model_under_the_same_name_is_another_subject(tmp_path: Path) -> None:
    with serve(models=({"id": "small", "meta": {"n_params": 1}, "created": 5},)) as server:
        run(server, Words(), tmp_path)
        server.models = ({"id": "small", "meta": {"n_params": 1}, "created": 6},)
        run(server, Words(), tmp_path)
        assert len(server.asked()) == 12
        server.models = ({"id": "small", "meta": {"n_params": 2}, "created": 6},)
        run(server, Words(), tmp_path)
        assert len(server.asked()) == 24


def test_no_model_is_asked_when_a_known_good_answer_fails(tmp_path: Path) -> None:
    with serve() as server:
        with pytest.raises(HarnessError, match=r"6 of 12 reference answers .* known good answer to words/0") as caught:
            run(server, Words(good="left"), tmp_path)
        assert caught.value.exit_code == 3
        # All of them, so that a list of problems to leave out can be written at once.
        assert str(caught.value).endswith("the others are of words/1, words/2, words/3, words/4, words/5")
        with pytest.raises(HarnessError, match="a known bad answer to words/0 scores 1"):
            run(server, Words(value=lambda text: 1.0), tmp_path)
        assert server.asked() == []


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.1])
def test_a_verdict_that_is_none_ends_the_run(tmp_path: Path, value: float) -> None:
    task = Words(value=lambda text: {"right": 1.0, "nothing": 0.0}.get(text, value))
    with serve() as server, pytest.raises(HarnessError, match="no share of 1"):
        run(server, task, tmp_path)


def test_the_rendered_prompt_of_a_conversation_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(lambda request: "right", control=frozenset({"<|end|>"}))
    app = gateway(engine)

    @contextmanager
    def open_gateway(settings: Any, model: str) -> Iterator[Client]:
        headers = {"Authorization": f"Bearer {KEY}"}
        with listening(app) as url, httpx.Client(base_url=url, headers=headers) as http:
            yield Client(http, model)

    monkeypatch.setattr("assistant.client.connect", open_gateway)
    form = ModelForm(MODEL, None, None, CONTEXT)
    monkeypatch.setattr("assistant.skills.complete.model_form", lambda client, model: form)
    subject = Subject(MODEL, MODEL, "d" * 64, {"name": MODEL, "digest": "d" * 64})

    def measured() -> list[Sampled]:
        with Samples(tmp_path) as store:
            return run_task(
                Marked(count=2, samples_per_item=1, chat=True), subject, connector(1), store, None, show=False
            )

    first = measured()
    rows = samples_of(tmp_path)
    assert sorted(row["ask"]["rendered"]["prompt"] for row in rows) == sorted(str(r.prompt) for r in engine.requests)
    for row in rows:
        (message,) = row["ask"]["messages"]
        rendered = row["ask"]["rendered"]
        assert rendered["prompt"] == f"user: {message['content']}\n"
        assert [rendered["prompt"][start:end] for start, end in rendered["verbatim"]] == ["<|end|>"]
    assert measured() == first
    assert len(engine.requests) == 2


class Marked(Words):
    """Its questions spell a control token."""

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        return Ask(None, (Message("user", f"{item.id} <|end|>"),), (), 16)


def test_a_server_renders_conversations_itself_and_what_was_kept_before_it_was_told_still_counts(
    tmp_path: Path,
) -> None:
    with serve() as server:
        first = run(server, Words(chat=True), tmp_path)
        rows = samples_of(tmp_path)
        assert [row["ask"]["rendered"] for row in rows] == [None] * 12
        for row in rows:
            del row["ask"]["rendered"]
        (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert run(server, Words(chat=True), tmp_path) == first
        assert len(server.asked()) == 12


def test_a_judge_that_fails_is_no_wrong_answer(tmp_path: Path) -> None:
    def fail(text: str) -> float:
        if text == "wrong":
            raise KeyError("lost")
        return float(text == "right")

    with serve() as server, pytest.raises(HarnessError, match=r"words cannot judge words/.: KeyError") as caught:
        run(server, Words(value=fail), tmp_path)
    assert caught.value.exit_code == 3
    assert all(row["text"] == "right" for row in samples_of(tmp_path) if "verdict" in row)


def test_an_answer_whose_judge_failed_is_judged_anew_and_not_asked_for_again(tmp_path: Path) -> None:
    def fail(item: Item, answer: Answer) -> None:
        # Known answers took no time.
        if answer.seconds:
            raise KeyError("lost")

    folder = tmp_path / "failed"
    with serve() as server:
        unbroken = run(server, Words(), tmp_path / "unbroken")
        with pytest.raises(HarnessError, match="words cannot judge"):
            run(server, Words(before=fail), folder)
        kept = samples_of(folder)
        assert kept
        assert not any("verdict" in row for row in kept)
        before = len(server.asked())
        assert table(run(server, Words(), folder)) == table(unbroken)
        assert len(server.asked()) - before == 12 - len(kept)


def test_errors_that_pass_change_nothing(tmp_path: Path) -> None:
    statuses: dict[str, list[tuple[int, dict[str, str]]]] = {
        "Question 0\n": [(500, {}), (503, {})],
        "Question 1\n": [(429, {"Retry-After": "0.05"})],
        "Question 2\n": [(0, {}), (0, {})],
        "Question 3\n": [(502, {}), (0, {}), (500, {})],
    }

    def fail(body: dict[str, Any], number: int) -> tuple[int, dict[str, str]] | None:
        waiting = statuses.get(question(body))
        return waiting.pop() if waiting else None

    with serve() as server:
        clean = run(server, Words(), tmp_path / "clean")
        server.fail = fail
        troubled = run(server, Words(), tmp_path / "troubled")
        assert len(server.asked()) == 24 + 8
    assert table(troubled) == table(clean)


def test_lost_samples_are_no_wrong_answers_and_are_asked_for_again(tmp_path: Path) -> None:
    def fail(body: dict[str, Any], number: int) -> tuple[int, dict[str, str]] | None:
        return (500, {}) if question(body) == "Question 4\n" else None

    with serve() as server:
        server.fail = fail
        with pytest.raises(LostSamplesError, match=r"2 of 12 samples of small were lost, .*500: overloaded") as caught:
            run(server, Words(), tmp_path)
        assert caught.value.exit_code == 3
        assert len(samples_of(tmp_path)) == 10
        server.fail = lambda body, number: None
        before = len(server.asked())
        sampled = run(server, Words(), tmp_path)
        assert server.asked()[before:] == ["Question 4\n"] * 2
        assert table(sampled) == table(run(server, Words(), tmp_path / "clean"))


def test_a_refused_request_is_lost_at_once(tmp_path: Path) -> None:
    with serve() as server:
        server.fail = lambda body, number: (400, {}) if question(body) == "Question 4\n" else None
        with pytest.raises(LostSamplesError, match="2 of 12"):
            run(server, Words(), tmp_path)
        assert server.asked().count("Question 4\n") == 2


def test_a_server_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    with serve() as server:
        server.fail = lambda body, number: (500, {})
        with pytest.raises(HarnessError, match="8 samples in a row were lost"):
            run(server, Words(count=50), tmp_path)
        assert len(server.asked()) < 60
    assert samples_of(tmp_path) == []


def test_a_model_that_vanishes_ends_the_run(tmp_path: Path) -> None:
    with serve() as server:
        server.before = lambda body: setattr(server, "models", ({"id": "other"},))
        with pytest.raises(HoneError, match="'small' does not exist"):
            run(server, Words(count=50), tmp_path)
        assert len(server.asked()) < 10


def test_a_disk_that_is_full_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with serve() as server:
        (subject,) = remote(server.url, None, [])
        with Samples(tmp_path) as store:
            monkeypatch.setattr(os, "fsync", full)
            with pytest.raises(HoneError, match="No space left on device"):
                run_task(Words(count=50), subject, connector(3), store, None, show=False)
        assert len(server.asked()) < 50


def test_requests_are_sent_together_but_those_of_one_item_one_after_the_other(tmp_path: Path) -> None:
    with serve(seconds=0.03) as server:
        run(server, Words(count=8, samples_per_item=3), tmp_path, concurrency=2)
        requests = [request for request in server.requests if request.body["max_tokens"] != 1]
    assert len(requests) == 24

    def overlap(one: Any, other: Any) -> bool:
        return one is not other and one.began < other.ended and other.began < one.ended

    assert any(overlap(one, other) for one in requests for other in requests)
    # When no item is left, a worker helps with the last one of the other.
    last = {request.question for request in requests[-3:]}
    for name in {request.question for request in requests} - last:
        own = [request for request in requests if request.question == name]
        assert not any(overlap(one, other) for one in own for other in own)


def test_a_worker_without_work_helps_another(tmp_path: Path) -> None:
    meeting = threading.Barrier(3, timeout=120)
    with serve(before=lambda body: meeting.wait() if body["max_tokens"] != 1 else None) as server:
        # Three samples of the only item: they can be answered only while all three are asked.
        assert len(run(server, Words(count=1, samples_per_item=3), tmp_path, concurrency=3)) == 3


def test_answers_are_judged_while_others_are_generated(tmp_path: Path) -> None:
    second_asked = threading.Event()

    def note(body: dict[str, Any]) -> None:
        if question(body) == "Question 1\n":
            second_asked.set()

    def wait(item: Any, answer: Any) -> None:
        # Judging the first answer ends only when the second question has come.
        if item.id == "words/0" and answer.seconds:
            assert second_asked.wait(120)

    with serve(before=note) as server:
        task = Words(count=2, samples_per_item=1, before=wait)
        assert len(run(server, task, tmp_path, concurrency=1)) == 2


def test_a_kill_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    came: list[str] = []
    going_on, lock = threading.Event(), threading.Lock()

    def hold(body: dict[str, Any]) -> None:
        """Lets 16 of the 40 answers go before the kill."""
        if body["max_tokens"] != 1:
            with lock:
                came.append(question(body))
                number = len(came)
            if number > 16:
                going_on.wait(120)

    with serve() as server:
        unbroken = run(server, Words(count=20), tmp_path / "unbroken")
        before = len(server.asked())
        server.before = hold
        folder = tmp_path / "killed"
        command = [sys.executable, "-m", "tests.evals.run_words", server.url, str(folder)]
        process = subprocess.Popen(command, cwd=ROOT)
        # Its two workers wait for an answer each; all others are kept, and then their samples.
        wait_for(lambda: len(came) == 18 and len(lines(folder)) == 2 * 16)
        process.send_signal(signal.SIGKILL)
        process.wait()
        going_on.set()
        # The server ends the answers that nobody waits for any more.
        wait_for(lambda: len(server.asked()) - before == 18)
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
        assert len(server.asked()) - before == 40 + 2
        resumed = run(server, Words(count=20), folder)
        assert len(server.asked()) - before == 40 + 2
    assert table(resumed) == table(unbroken)


def test_a_kill_loses_no_answer_that_waits_for_its_verdict(tmp_path: Path) -> None:
    folder, held = tmp_path / "killed", tmp_path / "no verdicts"
    with serve() as server:
        unbroken = run(server, Words(count=20), tmp_path / "unbroken")
        before = len(server.asked())
        held.touch()
        command = [sys.executable, "-m", "tests.evals.run_words", server.url, str(folder), str(held)]
        process = subprocess.Popen(command, cwd=ROOT)
        # One is with the judge, three wait for it, and two workers wait to hand theirs on.
        wait_for(lambda: len(lines(folder)) == 6)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(server.asked()) - before == 6
        answers = [json.loads(line) for line in lines(folder)]
        assert not any("verdict" in answer for answer in answers)
        with (folder / "samples.jsonl").open("ab") as file:
            # A seventh was being written.
            file.write(lines(folder)[0][:40])
        held.unlink()
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
        again = {(request.question, request.body["seed"]) for request in server.requests[-34:]}
        assert len(server.asked()) - before == 40
        assert not again & {(answer["ask"]["prompt"], answer["ask"]["seed"]) for answer in answers}
        resumed = run(server, Words(count=20), folder)
        assert len(server.asked()) - before == 40
    assert table(resumed) == table(unbroken)
    # What the answers took is what they took before the kill.
    took = {answer["key"]: answer["seconds"] for answer in answers}
    assert {one.key: one.answer.seconds for one in resumed if one.key in took} == took
    assert all("verdict" in row for row in samples_of(folder))


def lines(folder: Path) -> list[bytes]:
    """That are written to their end."""
    file = folder / "samples.jsonl"
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class FakeSandbox:
    def __init__(self, rung: str) -> None:
        self.rung = rung


def test_a_verdict_of_another_sandbox_is_made_anew_from_the_same_answer(tmp_path: Path) -> None:
    with serve() as server:
        run(server, Words(needs_sandbox=True), tmp_path, sandbox=FakeSandbox("none"))
        task = Words(needs_sandbox=True)
        first = run(server, task, tmp_path, sandbox=FakeSandbox("bubblewrap"))
        # 12 references and 12 answers.
        assert len(task.judged) == 24
        again = Words(needs_sandbox=True)
        assert run(server, again, tmp_path, sandbox=FakeSandbox("bubblewrap")) == first
        assert len(again.judged) == 12
        assert len(server.asked()) == 12


def test_a_task_that_runs_code_is_not_run_without_a_sandbox(tmp_path: Path) -> None:
    with serve() as server, pytest.raises(HarnessError, match="got no sandbox"):
        run(server, Words(needs_sandbox=True), tmp_path)


def test_what_the_model_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    with serve(chat_only=True) as server:
        with pytest.raises(UsageError, match="use --style chat"):
            run(server, Words(), tmp_path)
        assert len(run(server, Words(chat=True), tmp_path)) == 12
        assert all(request.path == "/v1/chat/completions" for request in server.requests[2:])


def test_stop_strings_hold_where_the_server_ignores_them(tmp_path: Path) -> None:
    with serve(answer=lambda body: "right ## and more and more") as server:
        sampled = run(server, Words(stop=(" ##",)), tmp_path)
    assert {one.answer.text for one in sampled} == {"right"}
    assert {one.answer.finish_reason for one in sampled} == {"stop"}


def test_an_answer_ends_where_the_task_has_seen_enough(tmp_path: Path) -> None:
    class Impatient(Words):
        def finished(self, item: Any, text: str) -> bool:
            return "enough" in text

    with serve(answer=lambda body: "right " + "x" * 6 + "enough" + "y" * 60_000, piece=6) as server:
        sampled = run(server, Impatient(count=1), tmp_path)
    assert {one.answer.text[:18] for one in sampled} == {"right xxxxxxenough"}
    assert all(len(one.answer.text) < 100 for one in sampled)
    assert {one.answer.finish_reason for one in sampled} == {"stop"}


def test_the_token_limit_is_the_finish_reason(tmp_path: Path) -> None:
    with serve(answer=lambda body: " ".join(["word"] * 40)) as server:
        sampled = run(server, Words(count=1), tmp_path)
    assert sampled[0].answer.finish_reason == "length"
    assert sampled[0].answer.completion_tokens == 16


def test_infilling_tokens_of_a_gateway_reach_the_task(tmp_path: Path) -> None:
    tokens = {"prefix": "<P>", "suffix": "<S>", "middle": "<M>", "suffix_first": False}
    with serve(models=({"id": "small", "fim_tokens": tokens},)) as server:
        run(server, Words(uses_fim=True), tmp_path)
        assert set(server.asked()) == {f"<P>Question {number}\n" for number in range(6)}


def test_a_smaller_limit_asks_a_part_of_a_larger_one() -> None:
    items = Words(count=50).items()
    small, large = choose(items, 7, seed=3), choose(items, 20, seed=3)
    assert [item for item in large if item in small] == small
    assert len(small) == 7
    assert small != items[:7]
    assert choose(items, None, 3) == choose(items, 80, 3) == list(items)
    assert choose(items, 7, seed=4) != small


def test_two_items_of_one_name_are_refused() -> None:
    items = Words(count=2).items()
    with pytest.raises(HarnessError, match="two items called 'words/1'"):
        choose([*items, items[1]], None, 0)
    with pytest.raises(HarnessError, match="no items"):
        choose([], None, 0)


def test_a_sample_can_be_read_as_one_line_of_json(tmp_path: Path) -> None:
    with serve(answer=lambda body: "a\u2028b\ud83d\r\n", ascii=True) as server:
        run(server, Words(count=1, samples_per_item=1), tmp_path)
        # The answer and the sample.
        assert [json.loads(line)["text"] for line in lines(tmp_path)] == ["a\u2028b\ud83d\r\n"] * 2
        assert len(run(server, Words(count=1, samples_per_item=1), tmp_path)) == 1
        assert len(server.asked()) == 1
