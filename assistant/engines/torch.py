"""The torch engine: transformers and peft in this process, for scoring and for models without a GGUF."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.engines.base import Cancel, Chunk, Emit, FinishReason, InvalidRequestError, Request, Usage, check_request
from assistant.engines.indent import IndentStop
from assistant.engines.likelihoods import Span, assemble, check, check_room, opening_of
from assistant.engines.torch_load import load_model, load_tokenizer
from assistant.engines.torch_sample import SAMPLERS, StopText, logprob_of, sample
from assistant.engines.verbatim import encode
from assistant.errors import EngineError, HoneError

_SCORE_ROWS = 256
"""Positions whose logits over the whole vocabulary are in memory at once."""


class TorchScorer:
    """Log-probabilities of given tokens in fp32.

    Args:
        folder: safetensors and tokenizer.
        adapter: a PEFT adapter's folder.

    Raises:
        HoneError: the model or the adapter cannot be loaded.
    """

    def __init__(self, folder: Path, adapter: Path | None = None, threads: int | None = None) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._model = load_model(folder, {} if adapter is None else {"scored": adapter}, threads)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Natural logarithms of the probabilities of `token_ids[1:]`, each given all tokens before it.

        Raises:
            InvalidRequestError: an id is outside of the vocabulary, or there are more tokens than the model's context.
        """
        return self.score_all([token_ids])[0]

    def score_all(self, sequences: Sequence[Sequence[int]], batch: int = 8) -> list[list[float]]:
        """`score` for each sequence, `batch` of similar length at a time."""
        import torch

        for sequence in sequences:
            self._check(sequence)
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        scores: list[list[float]] = [[] for _ in sequences]
        for start in range(0, len(order), batch):
            chosen = [index for index in order[start : start + batch] if len(sequences[index]) > 1]
            if not chosen:
                continue
            longest = max(len(sequences[index]) for index in chosen)
            # Padded on the right: under a causal mask no real position sees the padding.
            ids = torch.zeros(len(chosen), longest, dtype=torch.long, device=self._model.device)
            for row, index in enumerate(chosen):
                ids[row, : len(sequences[index])] = torch.tensor(sequences[index], device=ids.device)
            with torch.inference_mode():
                hidden = _backbone(self._model)(input_ids=ids, use_cache=False).last_hidden_state
                for row, index in enumerate(chosen):
                    scores[index] = self._row(hidden[row], ids[row], len(sequences[index]))
        return scores

    def score_spans(self, token_ids: Sequence[int], spans: Sequence[Span]) -> list[list[float]]:
        """Natural logarithms of the probabilities of the tokens of each span, each given all tokens before it; one pass
        for all of them.

        Args:
            spans: half-open, in `token_ids`, from 1.

        Raises:
            InvalidRequestError: as `score`, or a span is outside of the tokens or begins with the first of them.
        """
        self._check(token_ids)
        if any(not 1 <= start <= end <= len(token_ids) for start, end in spans):
            raise InvalidRequestError(f"a span is outside of 1 to {len(token_ids)}")
        return _read_spans(self._model, token_ids, spans)

    def score_text(self, text: str) -> list[float]:
        """`score` of a text's tokens without a beginning token."""
        return self.score(self.tokenize(text))

    def tokenize(self, text: str) -> list[int]:
        return _encode(self._tokenizer, text, parse_special=False)

    def _row(self, hidden: Any, ids: Any, length: int) -> list[float]:
        import torch

        head = self._model.get_output_embeddings()
        found: list[float] = []
        for start in range(0, length - 1, _SCORE_ROWS):
            end = min(start + _SCORE_ROWS, length - 1)
            logits = head(hidden[start:end]).float()
            targets = ids[start + 1 : end + 1]
            found += (-torch.nn.functional.cross_entropy(logits, targets, reduction="none")).tolist()
        return found

    def _check(self, sequence: Sequence[int]) -> None:
        config = self._model.config
        if len(sequence) > config.max_position_embeddings:
            raise InvalidRequestError(
                f"{len(sequence)} tokens do not fit the model's context of {config.max_position_embeddings}"
            )
        if any(not 0 <= token < config.vocab_size for token in sequence):
            raise InvalidRequestError(f"a token id is outside of the vocabulary of {config.vocab_size}")


class Torch:
    """A whole engine on a safetensors folder; one generation at a time, others wait.

    Args:
        folder: safetensors and tokenizer.
        adapters: PEFT adapter folders by name.
        context_length: tokens, cut to what the model was trained for.

    Raises:
        HoneError: the model or an adapter cannot be loaded.
    """

    def __init__(
        self,
        folder: Path,
        adapters: Mapping[str, Path] | None = None,
        context_length: int = 4096,
        threads: int | None = None,
    ) -> None:
        self._adapters = dict(adapters or {})
        self._tokenizer = load_tokenizer(folder)
        self._model = load_model(folder, self._adapters, threads)
        self._context_length = min(context_length, self._model.config.max_position_embeddings)
        self._turn = threading.Lock()
        self._closed = False

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def chat_template(self) -> str | None:
        template = self._tokenizer.chat_template
        return template if isinstance(template, str) else None

    @property
    def special_tokens(self) -> Mapping[str, str]:
        return {name: getattr(self._tokenizer, name) or "" for name in ("bos_token", "eos_token")}

    @property
    def samplers(self) -> frozenset[str]:
        return SAMPLERS

    @property
    def enforces_schemas(self) -> bool:
        return False

    def start(self, request: Request, emit: Emit) -> Cancel:
        self._check(request)
        cancelled = threading.Event()

        def run() -> None:
            try:
                with self._turn:
                    for chunk in self._generate(request, cancelled):
                        emit(chunk)
            except HoneError as error:
                emit(error)
            except Exception as error:
                emit(EngineError(f"generation failed: {error}"))

        threading.Thread(target=run, daemon=True).start()
        return cancelled.set

    def stream(self, request: Request) -> Iterator[Chunk]:
        self._check(request)
        cancelled = threading.Event()
        with self._turn:
            yield from self._generate(request, cancelled)

    def tokenize(self, text: str, parse_special: bool = False) -> list[int]:
        return _encode(self._tokenizer, text, parse_special)

    def tokenize_all(self, texts: Sequence[str], parse_special: bool = False) -> list[list[int]]:
        return [self.tokenize(text, parse_special) for text in texts]

    def find_token(self, text: str) -> int | None:
        number = self._tokenizer.get_added_vocab().get(text)
        return number if isinstance(number, int) else None

    def likelihoods(
        self,
        texts: Sequence[str],
        answers: Sequence[str],
        adapter: str | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[list[float]]:
        check(texts, answers)
        if self._closed:
            raise EngineError("the engine is closed")
        if adapter is not None and adapter not in self._adapters:
            raise InvalidRequestError(f"the engine has no adapter {adapter}")
        opening = opening_of(
            self.tokenize, lambda text: _encode(self._tokenizer, text, parse_special=False, add_special=True)
        )
        reading = assemble(self.tokenize, opening, texts, answers)
        check_room(reading, self._context_length)
        with self._turn, self._using(adapter):
            # One pass, which cannot be ended in its middle.
            if cancelled():
                raise EngineError("the question was cancelled")
            return _read_spans(self._model, reading.tokens, reading.spans)

    def close(self) -> None:
        self._closed = True

    def _check(self, request: Request) -> None:
        if self._closed:
            raise EngineError("the engine is closed")
        check_request(request, tuple(self._adapters))
        if request.json_schema is not None:
            raise InvalidRequestError(
                "this model is served from safetensors, where no JSON schema can be enforced; serve a GGUF of it"
            )

    def _prompt(self, request: Request) -> list[int]:
        if isinstance(request.prompt, str):
            begun = request.parse_special and self.special_tokens["bos_token"]
            add = not (begun and request.prompt.startswith(begun))
            if request.parse_special and request.verbatim:
                ids = encode(request.prompt, request.verbatim, add, partial(_encode, self._tokenizer))
            else:
                ids = _encode(self._tokenizer, request.prompt, request.parse_special, add_special=add)
        else:
            ids = list(request.prompt)
            if any(not 0 <= token < self._model.config.vocab_size for token in ids):
                raise InvalidRequestError("the prompt contains token ids that the model does not have")
        if len(ids) >= self._context_length:
            raise InvalidRequestError(
                f"the prompt has {len(ids)} tokens and the context of this model holds {self._context_length}; "
                "shorten the prompt or raise context_length"
            )
        return ids

    def _generate(self, request: Request, cancelled: threading.Event) -> Iterator[Chunk]:
        import torch

        ids = self._prompt(request)
        limit = min(request.max_tokens, self._context_length - len(ids))
        generator = torch.Generator()
        if request.seed is None:
            generator.seed()
        else:
            generator.manual_seed(request.seed % 2**63)
        ends = end_tokens(self._model, self._tokenizer)
        text = StopText(self._tokenizer, request.stop)
        indent = IndentStop(request.min_indent)
        reason: FinishReason = "length"
        made: list[int] = []
        began = first = time.perf_counter()
        cache: Any = None
        step = torch.tensor([ids], device=self._model.device)
        while True:
            if cancelled.is_set() or self._closed:
                reason = "cancelled"
                break
            with torch.inference_mode(), self._using(request.adapter):
                output = self._model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            if not made:
                first = time.perf_counter()
            if request.max_tokens == 0:
                break
            # Sampling draws from a generator on the CPU.
            logits = output.logits[0, -1].float().cpu()
            token = sample(logits, request, ids, made, generator)
            made.append(token)
            if token in ends:
                reason = "stop"
                break
            piece = indent.add(text.add(token))
            told = () if request.logprobs is None else (request.logprobs,)
            logprobs = tuple(logprob_of(logits, token, top, self._tokenizer) for top in told)
            if piece or logprobs:
                yield Chunk(piece, logprobs)
            if text.stopped or indent.stopped:
                reason = "stop"
                break
            late = request.line_seconds is not None and time.perf_counter() - first > request.line_seconds
            if len(made) >= limit or (late and text.lines > 0):
                break
            step = torch.tensor([[token]], device=self._model.device)
        rest = "" if indent.stopped else indent.add(text.rest()) + indent.rest()
        if rest:
            yield Chunk(rest)
        usage = Usage(len(ids), 0, len(made), first - began, time.perf_counter() - first)
        yield Chunk(finish_reason=reason, usage=usage)

    def _using(self, adapter: str | None) -> AbstractContextManager[Any]:
        if not self._adapters:
            return nullcontext()
        if adapter is None:
            return self._model.disable_adapter()
        self._model.set_adapter(adapter)
        return nullcontext()


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The ids that end an answer."""
    ends = model.generation_config.eos_token_id if model.generation_config else None
    numbers = ends if isinstance(ends, list) else [ends]
    return frozenset(number for number in (*numbers, tokenizer.eos_token_id) if number is not None)


def _backbone(model: Any) -> Any:
    """The model without its head, with the adapter's layers in place."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def _read_spans(model: Any, token_ids: Sequence[int], spans: Sequence[Span]) -> list[list[float]]:
    import torch

    positions = [position for start, end in spans for position in range(start, end)]
    values: list[float] = []
    with torch.inference_mode():
        ids = torch.tensor([list(token_ids)], device=model.device)
        hidden = _backbone(model)(input_ids=ids, use_cache=False).last_hidden_state[0]
        head = model.get_output_embeddings()
        for start in range(0, len(positions), _SCORE_ROWS):
            places = torch.tensor(positions[start : start + _SCORE_ROWS], device=ids.device)
            logprobs = torch.log_softmax(head(hidden[places - 1]).float(), -1)
            values += logprobs.gather(-1, ids[0, places].unsqueeze(-1)).squeeze(-1).tolist()
    rest = iter(values)
    return [list(islice(rest, end - start)) for start, end in spans]


def _encode(tokenizer: Any, text: str, parse_special: bool, add_special: bool = False) -> list[int]:
    ids = tokenizer(text, add_special_tokens=add_special, split_special_tokens=not parse_special)["input_ids"]
    return [int(number) for number in ids]
