"""The proof of a tuning run's export, run in a fresh process: what was saved is loaded again and must compute what was
trained.

`python -m tuning.proof` reads one JSON request on standard input and prints one JSON object.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.formats.proof import TOLERANCE, answer_one_request, in_fresh_process
from tuning.scoring import (
    LlamaCpp,
    agreement,
    bits,
    greatest_difference,
    picks_and_scores,
    text_bytes,
)

if TYPE_CHECKING:
    from assistant.models.gguf_write import Kind
    from tuning.model.load import Quantize

__all__ = ["Proof", "picks_and_scores", "prove"]

RELOAD_TOLERANCE = 1e-2
"""Greatest difference in log-probability between the trained and the reloaded adapter; the same kernels on the same
machine give zero."""
MERGE_TOLERANCE = 1e-2
"""The same between the merged and the unmerged adapter: a merge rounds each weight once in fp32."""


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
    merged_difference: float = 0.0
    """Greatest absolute difference of log-probabilities, adapter merged into the weights against unmerged, fp32."""
    quantized_type: str | None = None
    """The type in which a merged GGUF was tried: the base's own where it can be written, else Q8_0."""
    quantized_bits_per_byte: float | None = None
    """Of that file, by llama.cpp."""
    unmerged_bits_per_byte: float | None = None
    """Of the unmerged adapter at the same positions, by transformers."""

    @property
    def holds(self) -> bool:
        return (
            self.agreement >= self.base_agreement - TOLERANCE
            and self.reload_difference <= RELOAD_TOLERANCE
            and self.merged_difference <= MERGE_TOLERANCE
        )

    @property
    def quantized_difference(self) -> float | None:
        """Relative change of the bits per byte by merging and rounding; positive is worse."""
        if self.quantized_bits_per_byte is None or self.unmerged_bits_per_byte is None:
            return None
        return self.quantized_bits_per_byte / self.unmerged_bits_per_byte - 1


def prove(
    base_folder: Path,
    base_gguf: Path,
    adapter: Path,
    passages: Sequence[Sequence[int]],
    expected: Sequence[Sequence[float]],
    dtype: str,
    device: str = "cpu",
    quantize: "Quantize" = "none",
) -> Proof:
    """Compares in a fresh process.

    Args:
        base_gguf: the base's own; the adapter is proven on the form of it that Hone serves.
        adapter: a folder with the PEFT adapter and `adapter.gguf`; a merged GGUF is tried in it and removed again.
        passages: token ids of held-out text.
        expected: per passage, the log-probability of each token but the first, from the trained model in memory.
        dtype: the number format that `expected` was computed in, `float32` or `bfloat16`.
        device: the kind of device that it was computed on, `cpu` or `cuda`: another one rounds otherwise.
        quantize: of the base that it was computed with, as `Plan.quantize`.

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
        "device": device,
        "quantize": quantize,
    }
    return Proof(**in_fresh_process("tuning.proof", request))


def _compare(request: dict[str, Any]) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="hone-proof-") as sockets,
        tempfile.TemporaryDirectory(dir=request["adapter"], prefix=".proof-", suffix=".part") as scratch,
    ):
        return asdict(_measure(request, Path(sockets), Path(scratch)))


def _measure(request: dict[str, Any], sockets: Path, scratch: Path) -> Proof:
    import torch
    from peft import PeftModel

    from assistant.models.serving_form import serving_gguf
    from tuning.formats.merged_gguf import pairs_by_tensor, write_merged
    from tuning.model import attention, fast
    from tuning.model.load import load_base, load_tokenizer

    base_folder, base_gguf, adapter = (Path(request[key]) for key in ("base_folder", "base_gguf", "adapter"))
    passages: list[list[int]] = request["passages"]
    tokenizer = load_tokenizer(base_folder)
    ends = frozenset(tokenizer.all_special_ids)

    # peft's own forward in fp32: independent of the fast path that trained the adapter.
    model = load_base(base_folder, torch.float32).eval()
    base_picks, _ = picks_and_scores(model, passages, ends)
    tuned = PeftModel.from_pretrained(model, adapter).eval()
    picks, unmerged = picks_and_scores(tuned, passages, ends)
    _, merged = picks_and_scores(tuned.merge_and_unload(safe_merge=True), passages, ends)
    del model, tuned

    attention.register()
    again = load_base(base_folder, getattr(torch, request["dtype"]), attention.NAME, request["quantize"])
    reloaded = PeftModel.from_pretrained(again, adapter, autocast_adapter_dtype=True).eval()
    if request["quantize"] == "none":
        reloaded = reloaded.to(request["device"])
    fast.speed_up(reloaded)
    _, scores = picks_and_scores(reloaded, passages, ends)
    del again, reloaded

    (sockets / "lora").mkdir()
    served = LlamaCpp(serving_gguf(base_gguf), adapter / "adapter.gguf", passages, sockets / "lora")
    # One adapter setting after the other: a change of scale throws the prompt cache away.
    base_gguf_picks, gguf_picks = served.read(ends, scale=0.0).picks, served.read(ends, scale=1.0).picks
    at = sorted(gguf_picks)

    kind = _kind_of(base_gguf)
    layout, pairs = pairs_by_tensor(adapter, base_folder)
    write_merged(base_gguf, pairs, layout, kind, scratch / "merged.gguf", "merged")
    (sockets / "merged").mkdir()
    quantized = LlamaCpp(scratch / "merged.gguf", None, passages, sockets / "merged").read(ends)
    size = text_bytes(passages, at, tokenizer)
    return Proof(
        positions=len(at),
        agreement=agreement(picks, gguf_picks, at),
        base_agreement=agreement(base_picks, base_gguf_picks, at),
        reload_difference=greatest_difference(scores, request["expected"]),
        changed=1 - agreement(picks, base_picks, at),
        merged_difference=greatest_difference(unmerged, merged),
        quantized_type=kind,
        quantized_bits_per_byte=bits(quantized.scores, at) / size,
        unmerged_bits_per_byte=bits(unmerged, at) / size,
    )


def _kind_of(base_gguf: Path) -> "Kind":
    """The type of most of a base's weights, where a merged GGUF can be written in it; else Q8_0."""
    from collections import Counter

    from tuning.formats.merged_gguf import stored_types

    types = Counter(kind for name, kind in stored_types(base_gguf).items() if name.startswith("blk."))
    return "Q4_1" if types["Q4_1"] > types["Q8_0"] else "Q8_0"


def main() -> None:
    answer_one_request(_compare)


if __name__ == "__main__":
    main()
