"""Token counts of lines, remembered, so that typing in a file asks the gateway for new lines only."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

_KNOWN = 20_000
_TYPED_CHARACTERS = 120


class Tokenizer(Protocol):
    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]: ...


class LineCounts:
    """Token counts of one model, each text asked for once. Not thread-safe."""

    def __init__(self, client: Tokenizer, model: str) -> None:
        self._client = client
        self.model = model
        self._known: OrderedDict[str, int] = OrderedDict()

    def exact(self, texts: Sequence[str]) -> list[int]:
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
        if unknown:
            counts = [len(tokens) for tokens in self._client.tokenize(unknown, self.model)]
            self._known.update(zip(unknown, counts, strict=True))
        found = [self._known[text] for text in texts]
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return found

    def bounded(self, texts: Sequence[str]) -> list[int]:
        """As `exact`, but a short text without its newline gets an upper bound: it is the line that is being typed, and
        asking for it at each key would cost more than a few tokens of the budget.
        """
        counts = iter(self.exact([text for text in texts if not _is_typed(text)]))
        # Every token but a leading space holds a byte at least.
        return [len(text.encode()) + 1 if _is_typed(text) else next(counts) for text in texts]


def _is_typed(text: str) -> bool:
    return not text.endswith("\n") and len(text) <= _TYPED_CHARACTERS
