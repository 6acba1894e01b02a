"""Small tokenizers of the kinds that code models come with."""

import json
from typing import Any

from tests.tuning.tiny import SAMPLE, make_tokenizer

METASPACE = ("first", "always", "never", "normalizer")
"""Where a sentencepiece tokenizer writes its space before a text."""


def with_tokens(*names: str, special: bool = True) -> Any:
    """The byte-level tokenizer with control tokens."""
    from tokenizers import AddedToken

    tokenizer = make_tokenizer()
    tokenizer.add_tokens(
        [AddedToken(name, special=special, normalized=False) for name in names], special_tokens=special
    )
    return tokenizer


def sentencepiece(scheme: str, *names: str) -> Any:
    """BPE with byte fallback on text whose spaces are `▁`, as CodeLlama's; begins every text with `<s>`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if scheme == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", "</s>", *names, *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator([SAMPLE] * 4, trainer)
    # Byte tokens are no control tokens; the trainer can only make them as such.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] not in bytes_]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.bos_token_id)]
    )
    return made
