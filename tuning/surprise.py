"""How little a base model expects a file: bits per byte, for leaving out what is data or noise."""

import math
from collections.abc import Callable
from pathlib import Path

from tuning.corpus.document import Document

MOST_ROWS = 4
"""Rows of a file that are scored, from its beginning: a file of noise is noise from there on."""


def scorer(folder: Path, row_length: int) -> Callable[[Document], float]:
    """Bits per byte of a document under the base in `folder`, which is loaded when the first is asked for."""
    import torch

    from assistant import prompts
    from tuning.data import collate, to_device
    from tuning.examples.plain import windows
    from tuning.model import attention
    from tuning.model.load import best_device, load_base, load_tokenizer
    from tuning.model.packed import PackedModel

    loaded: list[PackedModel] = []
    device = best_device()
    tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    end_token = vocabulary[prompts.document_end(vocabulary, tokenizer.eos_token)]

    def bits_per_byte(document: Document) -> float:
        if not loaded:
            attention.register()
            loaded.append(PackedModel(load_base(folder, torch.float32, attention.NAME)).eval().to(device))
        examples = windows(document.path, document.text, tokenizer, row_length, end_token)[:MOST_ROWS]
        if not examples:
            return 0.0
        with torch.no_grad():
            nats = sum(loaded[0](to_device(collate([(example,)]), device)).item() for example in examples)
        return nats / math.log(2) / max(1, sum(example.text_bytes for example in examples))

    return bits_per_byte
