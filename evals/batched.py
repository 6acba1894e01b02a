"""A completion client that makes all its completions at once by transformers and then hands them out."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from assistant import prompts
from assistant.client import Delta
from assistant.engines.torch_batch import Ahead, TorchBatch
from assistant.models.resolve import resolve
from assistant.models.store import tuning_form
from evals.errors import HarnessError

CONTEXT = 4096
"""Tokens, as served."""


class BatchedClient:
    """Answers only what `ahead` was told of.

    Args:
        name: of the model, as the gateway names it.
    """

    def __init__(self, name: str, adapter: str | None, engine: TorchBatch) -> None:
        self._name, self._adapter, self._engine = name, adapter, engine
        vocabulary = engine.tokenizer.get_vocab()
        self._fim = prompts.find_fim_tokens(vocabulary)
        self._done: dict[tuple[str, bool], Ahead] = {}

    def models(self) -> list[dict[str, Any]]:
        return [
            {
                "id": self._name,
                "name": self._name,
                "adapter": self._adapter,
                "completion_mode": "fim" if self._fim else "prefix",
                "fim_tokens": asdict(self._fim) if self._fim else None,
                "context_length": min(CONTEXT, self._engine.context_length),
            }
        ]

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        return [self._encode(text, parse_special=False) for text in texts]

    def ahead(
        self, asked: Sequence[tuple[str, bool]], max_tokens: int, stop: Sequence[str], wanted: Collection[int]
    ) -> Iterator[list[int]]:
        """Completes prompts greedily; yields the indices that are done, batch by batch.

        Args:
            asked: prompts, and whether special tokens spelled in them are meant.
            wanted: which of them are needed; the others only decide which prompts share a batch.
        """
        ids = [self._encode(prompt, special, begin=True) for prompt, special in asked]
        for batch in self._engine.complete_all(ids, max_tokens, stop, wanted):
            for one in batch:
                self._done[asked[one.index]] = one
            yield [one.index for one in batch]

    def complete(
        self,
        prompt: str,
        model: str | None = None,
        max_tokens: int = 64,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        parse_special: bool = False,
        verbatim: Sequence[tuple[int, int]] = (),
    ) -> Iterator[Delta]:
        """What `ahead` found for this prompt, which was encoded without `verbatim`.

        Raises:
            HarnessError: it was not told of it.
        """
        found = self._done.get((prompt, parse_special))
        if found is None or temperature:
            raise HarnessError("a completion was asked for that was not made ahead; nothing was measured")
        for piece in found.pieces:
            yield Delta(piece)
        counts = {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
        yield Delta("", found.finish_reason, counts)

    def _encode(self, text: str, parse_special: bool, begin: bool = False) -> list[int]:
        tokenizer = self._engine.tokenizer
        begun = parse_special and tokenizer.bos_token and text.startswith(tokenizer.bos_token)
        add = begin and not begun
        return list(tokenizer(text, add_special_tokens=add, split_special_tokens=not parse_special)["input_ids"])


@contextmanager
def open_batched(name: str, dtype: str) -> Iterator[BatchedClient]:
    """A client of the model of this name, loaded in this process.

    Raises:
        HoneError: it cannot be resolved or loaded.
    """
    served = resolve(name)
    folder = served.adapter.folder if served.adapter else None
    engine = TorchBatch(tuning_form(served.base), folder, dtype)
    yield BatchedClient(served.name, served.adapter.id if served.adapter else None, engine)
