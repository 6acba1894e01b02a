"""The proof of an export, run in a fresh process: each file that was written is loaded again and scored.

`python -m tuning.formats.proof` reads one JSON request on standard input and prints one JSON object. What each format
has to show, on the same passages, against the base with the unmerged adapter in transformers, in fp32:

- `peft`, `vllm` (the same files) and `safetensors`: the log-probabilities of all tokens.
- `gguf-lora`: llama.cpp's next tokens. They may differ as often as they do for the bare base, whose activations
  llama.cpp rounds.
- merged GGUF: its weights, as transformers reads them from the file (by its own names and its own order of q and k),
  against peft's merged weights rounded to the same types, so that rounding cannot hide a wrong merge; and the bits
  that llama.cpp needs for the text, within what the format's rounding may cost.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.children import end_with_parent
from assistant.errors import HoneError

TOLERANCE = 0.02
"""How far an agreement may lie below the bare base's: two standard errors at 500 places."""
DIFFERENCE_LIMITS = {"peft": 1e-4, "vllm": 1e-4, "safetensors": 1e-2}
"""Greatest difference of a log-probability, nats. A merge rounds each weight once in fp32."""
WEIGHTS_LIMIT = 1e-3
"""Greatest difference of a merged GGUF's tensor from the expected one, relative to its norm. The two are computed in
another order of fp32 operations, so now and then a weight falls on the other side of a rounding."""
BITS_LIMITS = {"gguf-f16": 0.01, "gguf-q8_0": 0.02, "gguf-q4_1": 0.15}
"""How many more bits, relative, a merged GGUF may need than the unmerged adapter; one in Q4_1 also more, as long as it
needs fewer than the bare base."""
# On a busy machine threads that spin for long while they wait for each other take the time that they wait for.
_SPIN_COUNT = "40000"
MERGED = {"gguf-f16": "F16", "gguf-q8_0": "Q8_0", "gguf-q4_1": "Q4_1"}


@dataclass(frozen=True)
class ExportProof:
    """What was measured of one export; None where it does not apply."""

    format: str
    positions: int
    """Tokens compared."""
    difference: float | None = None
    """Greatest absolute difference of a token's log-probability from the unmerged adapter's, nats."""
    agreement: float | None = None
    """Share of places at which llama.cpp picks the token that the unmerged adapter picks."""
    base_agreement: float | None = None
    """The same for the bare base: what llama.cpp's own rounding costs."""
    weights_difference: float | None = None
    """Greatest norm of a tensor's difference from the equally rounded merged weights, relative to the tensor's norm."""
    bits_per_byte: float | None = None
    """Of the export, by llama.cpp."""
    unmerged_bits_per_byte: float | None = None
    base_bits_per_byte: float | None = None
    """Of the bare base, by transformers."""

    @property
    def bits_difference(self) -> float | None:
        """Relative change of the bits per byte; positive is worse."""
        if self.bits_per_byte is None or self.unmerged_bits_per_byte is None:
            return None
        return self.bits_per_byte / self.unmerged_bits_per_byte - 1

    @property
    def computes_what_was_tuned(self) -> bool:
        """Whether the export is the adapter's, whatever the rounding of its format costs."""
        if self.format in DIFFERENCE_LIMITS:
            return self.difference is not None and self.difference <= DIFFERENCE_LIMITS[self.format]
        assert self.agreement is not None
        assert self.base_agreement is not None
        agrees = self.agreement >= self.base_agreement - TOLERANCE
        if self.format == "gguf-lora":
            return agrees
        assert self.weights_difference is not None
        # Rounded to few bits, a right merge may well pick other tokens.
        return self.weights_difference <= WEIGHTS_LIMIT and (agrees or self.format != "gguf-f16")

    @property
    def holds(self) -> bool:
        """Whether the export may be called done."""
        if self.format not in BITS_LIMITS:
            return self.computes_what_was_tuned
        assert self.bits_difference is not None
        useful = self.bits_difference <= BITS_LIMITS[self.format] or self._still_better_than_the_base
        return self.computes_what_was_tuned and useful

    @property
    def _still_better_than_the_base(self) -> bool:
        """Four bits take much of what was tuned from a small model; who asks for them may have the rest."""
        if self.format != "gguf-q4_1" or self.bits_per_byte is None or self.base_bits_per_byte is None:
            return False
        return self.bits_per_byte < self.base_bits_per_byte

    def describe(self) -> str:
        """The figures in one line."""
        if self.difference is not None:
            return f"greatest log-probability difference {self.difference:.2g} over {self.positions} tokens"
        text = (
            f"llama.cpp agrees on {self.agreement:.1%} of {self.positions} next tokens "
            f"(bare base {self.base_agreement:.1%})"
        )
        if self.bits_difference is None:
            return text
        return (
            f"{text}; {self.bits_per_byte:.3f} bits per byte, {self.bits_difference:+.2%} against the adapter "
            f"(bare base {self.base_bits_per_byte:.3f}); "
            f"weights differ by {self.weights_difference:.1g} from the merged ones in this type"
        )


def prove_exports(
    base_folder: Path,
    base_gguf: Path | None,
    adapter: Path,
    passages: Sequence[Sequence[int]],
    exports: Mapping[str, Path],
) -> list[ExportProof]:
    """Scores `exports` (by format) in a fresh process.

    Args:
        base_gguf: needed for the GGUF formats.
        adapter: the adapter's own folder.

    Raises:
        HoneError: the fresh process failed.
    """
    request = {
        "base_folder": str(base_folder),
        "base_gguf": None if base_gguf is None else str(base_gguf),
        "adapter": str(adapter),
        "passages": [list(passage) for passage in passages],
        "exports": {name: str(path) for name, path in exports.items()},
    }
    return [ExportProof(**proof) for proof in in_fresh_process("tuning.formats.proof", request)["proofs"]]


def in_fresh_process(module: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that `python -m module` answers to `request`.

    Raises:
        HoneError: it failed; its last line says why.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        env={**os.environ, "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", _SPIN_COUNT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, errors = child.communicate(json.dumps(request))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode:
        last = (errors.strip().splitlines() or ["no output"])[-1]
        raise HoneError(f"the proof of the export failed to run: {last}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def answer_one_request(answer: Any) -> None:
    """The other side of `in_fresh_process`: reads the request, prints `answer(request)` and ends the process."""
    from contextlib import redirect_stdout

    end_with_parent(signal.SIGKILL)
    with redirect_stdout(sys.stderr):
        answered = answer(json.load(sys.stdin))
    sys.stdout.write(json.dumps(answered) + "\n")
    sys.stdout.flush()
    # llama.cpp's threads can delay an orderly exit, and nothing is left to do.
    os._exit(0)


def _prove(request: dict[str, Any]) -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="hone-proof-") as folder:
        return {"proofs": [asdict(proof) for proof in _measure(request, Path(folder))]}


def _measure(request: dict[str, Any], folder: Path) -> list[ExportProof]:
    import torch
    from peft import PeftModel

    from tuning import scoring
    from tuning.model.load import load_base, load_tokenizer

    base_folder, adapter = Path(request["base_folder"]), Path(request["adapter"])
    passages: list[list[int]] = request["passages"]
    exports = {name: Path(path) for name, path in request["exports"].items()}
    tokenizer = load_tokenizer(base_folder)
    ends = frozenset(tokenizer.all_special_ids)
    tokens = sum(len(passage) - 1 for passage in passages)

    # peft's own forward in fp32: independent of the fast path that trained the adapter.
    base = load_base(base_folder, torch.float32).eval()
    base_picks, base_scores = scoring.picks_and_scores(base, passages, ends)
    tuned = PeftModel.from_pretrained(base, adapter).eval()
    picks, scores = scoring.picks_and_scores(tuned, passages, ends)
    proofs = []
    again = tuned
    for name in ("peft", "vllm"):
        if name in exports:
            again = PeftModel.from_pretrained(again.unload(), exports[name]).eval()
            _, copied = scoring.picks_and_scores(again, passages, ends)
            proofs.append(ExportProof(name, tokens, difference=scoring.greatest_difference(scores, copied)))
    del base, tuned, again
    if "safetensors" in exports:
        merged = load_base(exports["safetensors"], torch.float32).eval()
        _, loaded = scoring.picks_and_scores(merged, passages, ends)
        proofs.append(ExportProof("safetensors", tokens, difference=scoring.greatest_difference(scores, loaded)))
        del merged
    if not any(name.startswith("gguf") for name in exports):
        return proofs

    plain = scoring.LlamaCpp(Path(request["base_gguf"]), exports.get("gguf-lora"), passages, _fresh(folder, "base"))
    base_served = plain.read(ends, scale=0.0).picks
    at = sorted(base_served)
    base_agreement = scoring.agreement(base_picks, base_served, at)
    if "gguf-lora" in exports:
        agreement = scoring.agreement(picks, plain.read(ends).picks, at)
        proofs.append(ExportProof("gguf-lora", len(at), agreement=agreement, base_agreement=base_agreement))
    size = scoring.text_bytes(passages, at, tokenizer)
    for name, path in exports.items():
        if name not in MERGED:
            continue
        served = scoring.LlamaCpp(path, None, passages, _fresh(folder, name)).read(ends)
        proofs.append(
            ExportProof(
                name,
                len(at),
                agreement=scoring.agreement(picks, served.picks, at),
                base_agreement=base_agreement,
                weights_difference=_weights_difference(base_folder, adapter, Path(request["base_gguf"]), path),
                bits_per_byte=scoring.bits(served.scores, at) / size,
                unmerged_bits_per_byte=scoring.bits(scores, at) / size,
                base_bits_per_byte=scoring.bits(base_scores, at) / size,
            )
        )
    return proofs


def _fresh(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _weights_difference(base_folder: Path, adapter: Path, base_gguf: Path, export: Path) -> float:
    """Of the file's weights from peft's merged ones, each rounded to the type that the file stores it in.

    Blocks lie along a row, so rounding is the same in transformers' order of rows as in llama.cpp's.
    """
    import torch
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, GgufConfig

    from tuning.export import layout_of
    from tuning.formats.adapter import read_pairs
    from tuning.formats.merged_gguf import stored_types
    from tuning.model.load import load_base

    layout = layout_of(json.loads((base_folder / "config.json").read_text("utf-8")))
    changed = {layout.name(pair.module) for pair in read_pairs(adapter)}
    before, after = stored_types(base_gguf), stored_types(export)
    merged = PeftModel.from_pretrained(load_base(base_folder, torch.float32), adapter).merge_and_unload(safe_merge=True)
    read: Any = AutoModelForCausalLM.from_pretrained(
        export.parent, gguf_file=export.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    found = dict(read.named_parameters())
    greatest = 0.0
    for name, parameter in merged.named_parameters():
        tensor = f"{layout.find(name.removesuffix('.weight'))}.weight"
        expected = parameter.detach()
        kept = tensor.removesuffix(".weight") not in changed and before.get(tensor) == after.get(tensor)
        if tensor in after and parameter.dim() > 1 and not kept:
            kind = GGMLQuantizationType[after[tensor]]
            expected = torch.from_numpy(dequantize(quantize(expected.numpy(), kind), kind))
        distance = torch.linalg.vector_norm(found[name].detach() - expected) / torch.linalg.vector_norm(expected)
        greatest = max(greatest, float(distance))
    return greatest


def main() -> None:
    answer_one_request(_prove)


if __name__ == "__main__":
    main()
