"""The harness on the embedded model: through our gateway, and through llama.cpp's own server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evals.harness import run_task
from evals.samples import Samples
from evals.subjects import connector, local, remote
from tests.conftest import ROOT
from tests.evals.eval_fixtures import samples_of
from tests.evals.words_task import Words

pytestmark = pytest.mark.model

MODEL = "smollm2-135m"
HONE = Path(sys.executable).with_name("hone")
QUESTIONS = [
    {
        "id": "add",
        "prompt": "The capital of France is",
        "reference": "Paris",
        "stop": ["\n", ".", ","],
        "max_tokens": 6,
    },
    {"id": "two", "prompt": "1, 2, 3, 4, 5, 6, 7,", "reference": "8", "stop": ["\n", ","], "max_tokens": 6},
]


@contextmanager
def llama_server(gguf: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.evals.run_llama_server", str(gguf)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def test_greedy_samples_are_the_same_however_many_are_asked_together(embedded_home: Path, tmp_path: Path) -> None:
    subject = local(MODEL)
    task = Words(count=4, samples_per_item=1, temperature=0.0)
    texts = {}
    for together in (1, 4):
        with Samples(tmp_path / str(together)) as store:
            sampled = run_task(task, subject, connector(together), store, None, concurrency=together, show=False)
        texts[together] = [one.answer.text for one in sampled]
        assert all(one.answer.completion_tokens for one in sampled)
    assert texts[1] == texts[4]


def test_samples_of_one_prompt_compute_it_once(embedded_home: Path) -> None:
    subject = local(MODEL)
    with connector(2)(subject) as connected:
        words = "numbers = [" + ", ".join(map(str, range(60)))
        counted = [
            list(connected.client.complete(words, model=MODEL, max_tokens=2, temperature=0.8, seed=seed))[-1].details
            for seed in range(2)
        ]
    assert counted[0]["cached_tokens"] < 10
    assert counted[1]["cached_tokens"] >= counted[1]["prompt_tokens"] - 1


def test_our_gateway_and_the_servers_own_api_measure_the_same_model(embedded_home: Path, tmp_path: Path) -> None:
    """`hone eval` on a file of questions, on this machine and by --url on a server that is not ours."""
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    here = hone(embedded_home, tmp_path, "--model", MODEL, "--out", "here")
    gguf = next((embedded_home / "models" / MODEL).glob("*.gguf"))
    with llama_server(gguf) as url:
        there = hone(embedded_home, tmp_path, "--url", url, "--out", "there")
        (subject,) = remote(url, None, [])
        assert subject.asks == {"prompt", "messages"}
    for report in (here, there):
        (task,) = report["tasks"]
        assert task["settings"]["items"] == 2
        assert sum(task["models"][0]["classes"].values()) == 2
    answers = [{row["item"]: row["text"] for row in samples_of(tmp_path / name)} for name in ("here", "there")]
    assert answers[0] == answers[1]
    assert there["tasks"][0]["models"][0]["facts"]["server"] == f"{url}/v1"


def hone(home: Path, folder: Path, *arguments: str) -> dict:
    environment = {**os.environ, "HONE_HOME": str(home)}
    command = [HONE, "eval", "questions.jsonl", "--json", "--limit", "2", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
