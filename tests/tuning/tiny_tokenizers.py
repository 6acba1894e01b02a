"""Small tokenizers of the kinds that code models come with."""

import json
from pathlib import Path
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


def trained_sentencepiece(folder: Path, *names: str) -> Any:
    """A sentencepiece model with Code Llama's settings, trained here by sentencepiece itself and loaded from its
    `tokenizer.model`, as a base's is."""
    import sentencepiece

    from assistant.engines.torch_load import load_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE.split("\n") * 8),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=420,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        user_defined_symbols=list(names),
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    configuration = {
        "tokenizer_class": "CodeLlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    return load_tokenizer(folder)
