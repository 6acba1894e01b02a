"""The examples of batches of documents, made in any process."""

import pickle
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

from tuning.corpus.document import Document
from tuning.examples.make import Maker
from tuning.rows import Kept, kept

Asked = tuple[Document, int]
"""A document, and how often it is seen in an epoch."""


class Making:
    """What a process does with a batch; the maker, tokenizer and all, reaches another process pickled."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker

    def __call__(self, batch: list[Asked]) -> list[list[Kept]]:
        """For each document its examples.

        Raises:
            HoneError: as `Maker.examples`.
        """
        return [[*self._of(document, times)] for document, times in batch]

    def _of(self, document: Document, times: int) -> Iterator[Kept]:
        for kind, example in self._maker.examples(document):
            # Where a document is seen again, other bugs are seeded into it.
            yield kept(example, kind, 1 if kind == "review" else times)
        for again in range(1, times):
            for example in self._maker.reviewed(document, again):
                yield kept(example, "review")

    @cached_property
    def _pickled(self) -> bytes:
        return pickle.dumps(self._maker)

    def __reduce__(self) -> tuple[Callable[[bytes], "Making"], tuple[Any, ...]]:
        # It goes along with each batch, and to pickle a tokenizer or read it takes as long as to use it on some files.
        return _unpickled, (self._pickled,)


@lru_cache(maxsize=1)
def _unpickled(maker: bytes) -> Making:
    return Making(pickle.loads(maker))


def text_bytes(asked: Asked) -> int:
    return len(asked[0].text)
