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
"""Greatest difference in log-probability between the trained and the reloaded adapter; the same kernels on the same
machine give zero."""


@dataclass(frozen=True)
class Proof:
    positions: int
    agreement: float
    """Share of positions at which llama.cpp with the GGUF LoRA picks the token that transformers with peft picks."""
    base_agreement: float
    """The same for the bare base: what quantized activations cost by themselves."""
    reload_difference: float
    """Greatest absolute difference of log-probabilities, trained model in memory against reloaded adapter, computed in
    the number format of the training."""
    changed: float
    """Share of positions at which the adapter changes the pick: shows that it is applied at all."""

    @property
    def holds(self) -> bool:
        return self.agreement >= self.base_agreement - TOLERANCE and self.reload_difference <= RELOAD_TOLERANCE


def prove(
    base_folder: Path,
    base_gguf: Path,
    adapter: Path,
    passages: Sequence[Sequence[int]],
    expected: Sequence[Sequence[float]],
    dtype: str,
) -> Proof:
    """Compares in a fresh process.

    Args:
        adapter: a folder with the PEFT adapter and `adapter.gguf`.
        passages: token ids of held-out text.
        expected: per passage, the log-probability of each token but the first, from the trained model in memory.
        dtype: the number format that `expected` was computed in, `float32` or `bfloat16`.

    Raises:
        HoneError: the fresh process failed.
    """
    request = {
        "base_folder": str(base_folder),
        "base_gguf": str(base_gguf),
        "adapter": str(adapter),
        "passages": [list(passage) for passage in passages],
        "expected": [list(values) for values in expected],
        "dtype": dtype,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuning.proof"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise HoneError(f"the proof of the export failed to run: {last}")
    return Proof(**json.loads(done.stdout.splitlines()[-1]))


def _compare(request: dict[str, Any]) -> Proof:
    import torch
    from peft import PeftModel

    from tuning.model import attention, fast
    from tuning.model.load import load_base, load_tokenizer

    base_folder, adapter = Path(request["base_folder"]), Path(request["adapter"])
    passages: list[list[int]] = request["passages"]
    ends = frozenset(load_tokenizer(base_folder).all_special_ids)

    # peft's own forward in fp32: independent of the fast path that trained the adapter.
    model = load_base(base_folder, torch.float32).eval()
    base_picks, _ = picks_and_scores(model, passages, ends)
    picks, _ = picks_and_scores(PeftModel.from_pretrained(model, adapter).eval(), passages, ends)
    del model

    attention.register()
    again = load_base(base_folder, getattr(torch, request["dtype"]), attention.NAME)
    reloaded = PeftModel.from_pretrained(again, adapter, autocast_adapter_dtype=True).eval()
    fast.speed_up(reloaded)
    _, scores = picks_and_scores(reloaded, passages, ends)
    del again, reloaded

    base_gguf_picks, gguf_picks = _llamacpp(Path(request["base_gguf"]), adapter / "adapter.gguf", passages, ends)
    compared = sorted(gguf_picks)
    count = len(compared)
    return Proof(
        positions=count,
        agreement=sum(picks[at] == gguf_picks[at] for at in compared) / count,
        base_agreement=sum(base_picks[at] == base_gguf_picks[at] for at in compared) / count,
        reload_difference=max(
            abs(a - b)
            for mine, theirs in zip(scores, request["expected"], strict=True)
            for a, b in zip(mine, theirs, strict=True)
        ),
        changed=sum(picks[at] != base_picks[at] for at in compared) / count,
    )


Picks = dict[tuple[int, int], int]
"""The greedy token for (passage, position); `END` for any token that ends a text."""

END = -1


def picks_and_scores(
    model: Any, passages: Sequence[Sequence[int]], ends: frozenset[int]
) -> tuple[Picks, list[list[float]]]:
    """Greedy picks, and the log-probability of each token but the first, by transformers."""
    import torch

    picks: Picks = {}
    scores = []
    for index, passage in enumerate(passages):
        tokens = torch.tensor([list(passage)])
        with torch.no_grad():
            logits = model(input_ids=tokens, document_lengths=(len(passage),), use_cache=False).logits[0, :-1].float()
        for at, pick in enumerate(logits.argmax(-1).tolist(), start=1):
            picks[index, at] = END if pick in ends else pick
        scores.append(torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0].tolist())
    return picks, scores


def _llamacpp(gguf: Path, lora: Path, passages: Sequence[Sequence[int]], ends: frozenset[int]) -> tuple[Picks, Picks]:
    """Greedy picks of the bare base, and of base and adapter, by llama.cpp."""
    import secrets
    import tempfile

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
    # Its listener cannot be switched off, so it listens where nobody else can reach it.
    params.hostnames = [str(Path(tempfile.mkdtemp()) / "proof.sock")]
    params.api_keys = [secrets.token_urlsafe(24)]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 0.0)]
    server = xllamacpp.Server(params)

    def pick(prompt: Sequence[int], scale: float) -> int:
        answer = server.handle_completions(
            {
                "prompt": list(prompt),
                "n_predict": 1,
                "temperature": 0,
                "n_probs": 1,
                "cache_prompt": True,
                "lora": [{"id": 0, "scale": scale}],
            }
        )
        content = answer["choices"][0]["logprobs"]["content"]
        return END if not content or content[0]["id"] in ends else int(content[0]["id"])

    places = [(index, at) for index, passage in enumerate(passages) for at in range(CONTEXT, len(passage))][:POSITIONS]
    # One adapter setting after the other: a change of scale throws the prompt cache away.
    first, second = ({(index, at): pick(passages[index][:at], scale) for index, at in places} for scale in (0.0, 1.0))
    return first, second


def main() -> None:
    import os
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        proof = _compare(json.load(sys.stdin))
    sys.stdout.write(json.dumps(asdict(proof)) + "\n")
    sys.stdout.flush()
    # llama.cpp's threads can delay an orderly exit, and nothing is left to do.
    os._exit(0)


if __name__ == "__main__":
    main()
