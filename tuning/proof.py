"""The proof of an export, run in a fresh process: what was saved is loaded again and must compute what was trained.

`python -m tuning.proof` reads one JSON request on standard input and prints one JSON object.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError

POSITIONS = 500
"""Teacher-forced positions compared. At 95 % agreement their standard error is about one point."""
CONTEXT = 32
"""Tokens of each passage that are context only."""
TOLERANCE = 0.02
"""How far the adapter's agreement may lie below the bare base's, two standard errors."""
RELOAD_TOLERANCE = 1e-2
"""Greatest difference in log-probability between the trained and the reloaded adapter, computed in fp32."""


@dataclass(frozen=True)
class Proof:
    positions: int
    agreement: float
    """Share of positions at which llama.cpp with the GGUF LoRA picks the token that transformers with peft picks."""
    base_agreement: float
    """The same for the bare base: what quantized activations cost by themselves."""
    reload_difference: float
    """Greatest absolute difference of log-probabilities, trained model in memory against reloaded adapter."""
    changed: float
    """Share of positions at which the adapter changes the pick: shows that it is applied at all."""

    @property
    def holds(self) -> bool:
        return self.agreement >= self.base_agreement - TOLERANCE and self.reload_difference <= RELOAD_TOLERANCE


def prove(
    base_folder: Path, base_gguf: Path, adapter: Path, passages: Sequence[Sequence[int]], expected: Sequence[Sequence[float]]
) -> Proof:
    """Compares in a fresh process.

    Args:
        passages: token ids of held-out text.
        expected: per passage, the log-probability of each token but the first, from the trained model, in fp32.

    Raises:
        HoneError: the fresh process failed.
    """
    request = {
        "base_folder": str(base_folder),
        "base_gguf": str(base_gguf),
        "adapter": str(adapter),
        "passages": [list(passage) for passage in passages],
        "expected": [list(values) for values in expected],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tuning.proof"], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HoneError(f"the proof of the export failed to run: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return Proof(**json.loads(done.stdout.splitlines()[-1]))


def _compare(request: dict[str, Any]) -> Proof:
    base_folder, adapter = Path(request["base_folder"]), Path(request["adapter"])
    passages: list[list[int]] = request["passages"]
    base_picks, _ = _transformers(base_folder, None, passages)
    picks, scores = _transformers(base_folder, adapter, passages)
    base_gguf_picks, gguf_picks = _llamacpp(Path(request["base_gguf"]), adapter / "adapter.gguf", passages)
    compared = [(index, at) for index, passage in enumerate(passages) for at in range(CONTEXT, len(passage))][:POSITIONS]
    count = len(compared)
    return Proof(
        positions=count,
        agreement=sum(picks[i][at] == gguf_picks[i, at] for i, at in compared) / count,
        base_agreement=sum(base_picks[i][at] == base_gguf_picks[i, at] for i, at in compared) / count,
        reload_difference=max(
            abs(a - b) for mine, theirs in zip(scores, request["expected"], strict=True) for a, b in zip(mine, theirs, strict=True)
        ),
        changed=sum(picks[i][at] != base_picks[i][at] for i, at in compared) / count,
    )


def _transformers(
    folder: Path, adapter: Path | None, passages: Sequence[Sequence[int]]
) -> tuple[list[dict[int, int]], list[list[float]]]:
    """Greedy picks by position (`at` is the position picked for), and the log-probabilities of the passages' tokens."""
    import torch

    from tuning.model.load import load_base

    model = load_base(folder, torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    return picks_and_scores(model, passages)


def picks_and_scores(model: Any, passages: Sequence[Sequence[int]]) -> tuple[list[dict[int, int]], list[list[float]]]:
    import torch

    picks, scores = [], []
    for passage in passages:
        tokens = torch.tensor([list(passage)])
        with torch.no_grad():
            logits = model(input_ids=tokens).logits[0, :-1].float()
        picks.append({at + 1: int(pick) for at, pick in enumerate(logits.argmax(-1))})
        scores.append(torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0].tolist())
    return picks, scores


def _llamacpp(
    gguf: Path, lora: Path, passages: Sequence[Sequence[int]]
) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """Greedy next tokens of the bare base and of base and adapter, by (passage, position)."""
    import psutil
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = 1
    params.n_ctx = max(map(len, passages)) + 16
    threads = psutil.cpu_count(logical=False) or 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 0.0)]
    server = xllamacpp.Server(params)

    def picks(scale: float) -> dict[tuple[int, int], int]:
        found: dict[tuple[int, int], int] = {}
        for index, passage in enumerate(passages):
            for at in range(CONTEXT, len(passage)):
                if len(found) == POSITIONS:
                    return found
                answer = server.handle_completions(
                    {
                        "prompt": list(passage[:at]),
                        "n_predict": 1,
                        "temperature": 0,
                        "n_probs": 1,
                        "cache_prompt": True,
                        "lora": [{"id": 0, "scale": scale}],
                    }
                )
                found[index, at] = answer["choices"][0]["logprobs"]["content"][0]["id"]
        return found

    return picks(0.0), picks(1.0)


def main() -> None:
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        proof = _compare(json.load(sys.stdin))
    sys.stdout.write(json.dumps(asdict(proof)) + "\n")
    sys.stdout.flush()
    # llama.cpp's threads can delay an orderly exit, and nothing is left to do.
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
