"""Bits per byte: how well a model predicts held-out files, independent of its tokenizer."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assistant import prompts
from evals.errors import HarnessError
from evals.tasks.heldout import HeldOutFile
from tuning.examples import encode
from tuning.examples.plain import Example, windows

VERSION = "bits-per-byte@1"
WINDOW_TOKENS = 1024


@dataclass(frozen=True)
class Text:
    path: str
    text: str
    """A file, or its beginning up to a line end where the byte limit falls."""


@dataclass(frozen=True)
class FileBits:
    path: str
    bits: float
    bytes: int
    tokens: int


class Scorer(Protocol):
    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Natural log-probabilities of `token_ids[1:]`, each given what stands before it."""


def sample(files: Sequence[HeldOutFile], max_bytes: int, seed: int) -> list[Text]:
    """Files in a seeded order until `max_bytes` (UTF-8) are reached; the last one is cut at a line end."""
    ordered = sorted(files, key=lambda file: hashlib.sha256(f"{seed}:{file.path}".encode()).digest())
    taken: list[Text] = []
    left = max_bytes
    for file in ordered:
        text = _first_bytes(file.text, left)
        if text:
            taken.append(Text(file.path, text))
            left -= len(text.encode())
        if text != file.text:
            break
    return sorted(taken, key=lambda text: text.path)


def file_bits(text: Text, scorer: Scorer, tokenizer: Any, end_token: int) -> FileBits | None:
    """Scores a text in the windows it would be trained in; the path header and the end token are not counted.

    None when the path alone fills half a window, so that training would leave the file out too.

    Raises:
        HarnessError: the windows do not hold every byte once.
    """
    parts = windows(text.path, text.text, tokenizer, WINDOW_TOKENS, end_token)
    if not parts:
        return None
    size = len(text.text.encode())
    if sum(part.text_bytes for part in parts) != size:
        raise HarnessError(f"the windows of {text.path} do not hold each of its {size} bytes once; nothing was scored")
    (named,) = encode.plain(tokenizer, [prompts.header(text.path)])
    header = [*encode.opening(tokenizer), *named]
    scored = [
        _window_bits(part, len(header), list(part.tokens[: len(header)]) == header, scorer, end_token) for part in parts
    ]
    return FileBits(text.path, sum(bits for bits, _ in scored), size, sum(tokens for _, tokens in scored))


def load(folder: Path, adapter: Path | None) -> tuple[Scorer, Any, int]:
    """The scorer in fp32, the tokenizer and the end token of a base's tuning form."""
    from assistant.engines.torch import TorchScorer
    from tuning.model.load import load_tokenizer

    tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    end_token = vocabulary[prompts.document_end(vocabulary, tokenizer.eos_token)]
    return TorchScorer(folder, adapter), tokenizer, end_token


def _window_bits(part: Example, header: int, apart: bool, scorer: Scorer, end_token: int) -> tuple[float, int]:
    """Bits and tokens of one window's own text.

    Args:
        header: tokens of the beginning and of the path header alone.
        apart: those tokens open the window. Otherwise the header's newline shares a token with the indentation that
            follows it; that token holds bytes of the text, so it is counted whole.
    """
    ids = part.tokens[:-1] if part.tokens[-1] == end_token else part.tokens
    first = header if apart else header - 1
    log_probabilities = scorer.score(ids)[first - 1 :]
    if len(log_probabilities) != len(ids) - first or not all(map(math.isfinite, log_probabilities)):
        raise HarnessError("the scorer did not give one finite log-probability for each token; nothing was scored")
    return -math.fsum(log_probabilities) / math.log(2), len(log_probabilities)


def _first_bytes(text: str, limit: int) -> str:
    if len(text.encode()) <= limit:
        return text
    cut = text.encode()[: max(limit, 0)].decode("utf-8", "ignore")
    return cut[: cut.rfind("\n") + 1]
