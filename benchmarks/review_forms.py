"""Ways to ask a model which changed lines are wrong, each as an example builder and a reader of scores.

- `verdicts`: one token after each changed line, repeated below the change; the loss on all of them. Each is learnt
  after the true verdicts of the lines above; to score, ok stands at all of them.
- `gated`: one token for the whole change first, and verdicts on lines only where it is wrong.
- `inline`: the verdict directly after each changed line of the change itself: half the tokens, but a line is judged
  before what stands below it is seen.
- `pointing`: the answer is ok, or the text of the wrong line.
- `rewriting`: each line is written again below the change, as it should be; a line is as suspect as another one is
  likely in its place. All tokens of all lines are learnt.
- `ranking`: the text of `verdicts`; no word is learnt, but that the wrong line scores above the same line put right and
  above lines before it (Bradley and Terry 1952; as RankNet, Burges et al. 2005).
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from assistant import review_prompt
from assistant.review_prompt import Hunk
from assistant.review_rewriting import log_odds
from tuning.data import Batch
from tuning.examples import encode
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED, Example
from tuning.examples.review import Review, Written, example, tokenized
from tuning.examples.rewritten import ask
from tuning.model.likelihoods import reader
from tuning.model.load import load_base
from tuning.model.packed import PackedModel, base_of

FINE, WRONG = " ok", " wrong"
"""With their space, both are one token of SmolLM2's vocabulary."""
FINE_VERDICTS = 2
COPIED = 6
"""Tokens of a line by which pointing tells it from others."""
_QUESTION = "Review each changed line: ok or wrong?\n"
_ASK = " =>"
"""Stands between a line and its verdict: the verdict is a word of its own for every byte-level tokenizer."""
_GATE = "the change =>"
_INLINE = "Each changed line is marked ok or wrong."
_POINT = "Which changed line is wrong? Answer ok, or repeat the line.\n"


@dataclass(frozen=True)
class Pair:
    """A change without and with its bug, alike in all else."""

    clean: Review
    wrong: Review


@dataclass(frozen=True)
class Tools:
    tokenizer: Any
    end_token: int
    row_length: int


@dataclass(frozen=True)
class Model:
    """Reads a model that is being tuned, with packed attention."""

    model: Any

    def choices(self, tokens: Sequence[int], positions: Sequence[int], choices: tuple[int, int]) -> list[float]:
        """log p(second) - log p(first) of two tokens at each position."""
        hidden = self._hidden(tokens)
        first, second = self._head()[list(choices)].float()
        found: list[float] = (hidden[[at - 1 for at in positions]].float() @ (second - first)).tolist()
        return found

    def continuations(self, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> list[float]:
        """log p of each answer after the prompt, which is read once."""
        first = torch.tensor([prompt])
        longest = max(map(len, answers))
        ids = torch.tensor([[*answer, *[0] * (longest - len(answer))] for answer in answers])
        with torch.no_grad():
            read = self._plain(input_ids=first, use_cache=True, logits_to_keep=1)
            cache = read.past_key_values
            cache.batch_repeat_interleave(len(answers))
            rest = self._plain(input_ids=ids, past_key_values=cache, use_cache=True).logits
            scores = torch.cat([read.logits.expand(len(answers), 1, -1), rest[:, :-1]], 1).float().log_softmax(-1)
        found = scores.gather(2, ids[..., None])[..., 0]
        return [float(row[: len(answer)].sum()) for row, answer in zip(found, answers, strict=True)]

    @cached_property
    def _plain(self) -> Any:
        """The same model with attention that can go on from what it has read."""
        from peft import PeftModel

        base = base_of(self.model)
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            tuned = PeftModel.from_pretrained(load_base(Path(base.name_or_path), base.dtype), folder)
            return tuned.merge_and_unload().eval()

    def _hidden(self, tokens: Sequence[int]) -> torch.Tensor:
        base = base_of(self.model)
        device = self._head().device
        with torch.no_grad():
            hidden: torch.Tensor = getattr(base, base.base_model_prefix)(
                input_ids=torch.tensor([tokens], device=device),
                position_ids=torch.arange(len(tokens), device=device)[None],
                use_cache=False,
                document_lengths=(len(tokens),),
            ).last_hidden_state[0]
        return hidden

    def _head(self) -> torch.Tensor:
        weight: torch.Tensor = base_of(self.model).get_output_embeddings().weight
        return weight


@dataclass(frozen=True)
class Formulation:
    row: Callable[[Pair, Tools], Row | None]
    """Both changes of a pair as one row; None where one does not fit."""
    score: Callable[[Hunk, Tools, Model], list[float] | None]
    """A score for each of `hunk.changed`, higher where it is likelier the first wrong one, near log odds; None where
    the change does not fit."""
    ranked: bool = False


class Ranked(PackedModel):
    """The loss of `ranking`: the last labelled position of a row is the wrong line, the others are fine ones."""

    def __init__(self, model: Any, choices: tuple[int, int]) -> None:
        super().__init__(model)
        self._choices = choices

    def forward(self, batch: Batch) -> torch.Tensor:
        base = base_of(self.model)
        hidden = getattr(base, base.base_model_prefix)(
            input_ids=batch.tokens,
            position_ids=batch.positions,
            use_cache=False,
            document_lengths=batch.document_lengths,
        ).last_hidden_state[0]
        first, second = base.get_output_embeddings().weight[list(self._choices)].float()
        odds = hidden[batch.labels != IGNORED].float() @ (second - first)
        return functional.softplus(odds[:-1] - odds[-1]).sum()


def verdict_choices(tools: Tools) -> tuple[int, int]:
    """The tokens of fine and of wrong."""
    fine, wrong = (encode.continuation(tools.tokenizer, word)[0] for word in (FINE, WRONG))
    return fine, wrong


def _row(*examples: Example | None) -> Row | None:
    found = tuple(one for one in examples if one is not None)
    return found if len(found) == len(examples) else None


def verdict_text(hunk: Hunk, wrong: Sequence[int] = ()) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The whole text, and for each of `hunk.changed` the half-open character span of its verdict.

    Args:
        wrong: indices in `hunk.lines` of the wrong lines; none when scores are to be read.
    """
    text, spans = review_prompt.hunk_text(hunk) + _QUESTION, []
    for index in hunk.changed:
        line = hunk.lines[index]
        number = "" if line.marker == "-" else f"{line.number} "
        text += f"{line.marker}{number}{line.text.strip()}{_ASK}"
        verdict = WRONG if index in wrong else FINE
        spans.append((len(text), len(text) + len(verdict)))
        text += f"{verdict}\n"
    return text, tuple(spans)


def _verdict_tokens(hunk: Hunk, wrong: Sequence[int], tools: Tools) -> Example | None:
    text, spans = verdict_text(hunk, wrong)
    made = tokenized(Written(text, spans), tools.tokenizer, tools.end_token)
    return made if len(made.tokens) <= tools.row_length else None


def _verdicts(pair: Pair, tools: Tools) -> Row | None:
    return _row(*(_verdict_tokens(one.hunk, one.wrong, tools) for one in (pair.clean, pair.wrong)))


def _score_verdicts(hunk: Hunk, tools: Tools, model: Model) -> list[float] | None:
    asked = _verdict_tokens(hunk, (), tools)
    if asked is None:
        return None
    positions = [start for start, _ in asked.supervised[: len(hunk.changed)]]
    return model.choices(asked.tokens, positions, verdict_choices(tools))


def _gated_text(hunk: Hunk, wrong: Sequence[int] | None) -> Written:
    """What is written where the change is said to be wrong, or with None to be fine."""
    text, spans = verdict_text(hunk, wrong or ())
    lines_at = text.rindex("\n", 0, spans[0][0]) + 1
    verdict = FINE if wrong is None else WRONG
    head = f"{text[:lines_at]}{_GATE}"
    gate = (len(head), len(head) + len(verdict))
    if wrong is None:
        return Written(f"{head}{verdict}\n", (gate,))
    moved = len(f"{_GATE}{verdict}\n")
    after = [(start + moved, end + moved) for start, end in spans]
    return Written(f"{head}{verdict}\n{text[lines_at:]}", (gate, *after))


def _gated(pair: Pair, tools: Tools) -> Row | None:
    found = []
    for one in (pair.clean, pair.wrong):
        piece = _gated_text(one.hunk, one.wrong or None)
        made = tokenized(piece, tools.tokenizer, tools.end_token)
        if len(made.tokens) > tools.row_length:
            return None
        found.append(made)
    return tuple(found)


def _score_gated(hunk: Hunk, tools: Tools, model: Model) -> list[float] | None:
    """The log odds of p(change) x p(line is the first wrong one | change is wrong)."""
    made = tokenized(_gated_text(hunk, ()), tools.tokenizer, tools.end_token)
    if len(made.tokens) > tools.row_length:
        return None
    positions = [start for start, _ in made.supervised[: 1 + len(hunk.changed)]]
    gate, *lines = (1 / (1 + math.exp(-odds)) for odds in model.choices(made.tokens, positions, verdict_choices(tools)))
    first, none_above = [], 1.0
    for one in lines:
        first.append(none_above * one)
        none_above *= 1 - one
    whole = sum(first)
    stated = [min(max(gate * one / whole, 1e-9), 1 - 1e-9) for one in first]
    return [math.log(one / (1 - one)) for one in stated]


def _inline_text(hunk: Hunk, wrong: Sequence[int]) -> Written:
    plain = review_prompt.hunk_text(hunk).split("\n")
    # The numbered lines stand between two marks, the second at the end.
    first = len(plain) - 2 - bool(hunk.cut) - len(hunk.lines)
    text, spans = "\n".join([_INLINE, *plain[:first]]) + "\n", []
    for index, shown in enumerate(plain[first : first + len(hunk.lines)]):
        text += shown
        if index in hunk.changed:
            text += " =>"
            verdict = WRONG if index in wrong else FINE
            spans.append((len(text), len(text) + len(verdict)))
            text += verdict
        text += "\n"
    return Written(text, tuple(spans))


def _inline(pair: Pair, tools: Tools) -> Row | None:
    found = [
        tokenized(_inline_text(one.hunk, one.wrong), tools.tokenizer, tools.end_token)
        for one in (pair.clean, pair.wrong)
    ]
    return tuple(found) if all(len(one.tokens) <= tools.row_length for one in found) else None


def _score_inline(hunk: Hunk, tools: Tools, model: Model) -> list[float] | None:
    made = tokenized(_inline_text(hunk, ()), tools.tokenizer, tools.end_token)
    if len(made.tokens) > tools.row_length:
        return None
    positions = [start for start, _ in made.supervised[: len(hunk.changed)]]
    return model.choices(made.tokens, positions, verdict_choices(tools))


def _pointing(pair: Pair, tools: Tools) -> Row | None:
    found = []
    for one in (pair.clean, pair.wrong):
        prompt = review_prompt.hunk_text(one.hunk) + _POINT
        answer = one.hunk.lines[one.wrong[0]].text.strip() + "\n" if one.wrong else review_prompt.CLEAN
        made = tokenized(
            Written(prompt + answer, ((len(prompt), len(prompt) + len(answer)),)), tools.tokenizer, tools.end_token
        )
        if len(made.tokens) > tools.row_length:
            return None
        found.append(made)
    return tuple(found)


def _score_pointing(hunk: Hunk, tools: Tools, model: Model) -> list[float] | None:
    """log p of the first tokens of the line less log p of ok."""
    text = review_prompt.hunk_text(hunk) + _POINT
    prompt = [*encode.opening(tools.tokenizer), *encode.plain(tools.tokenizer, [text])[0]]
    if len(prompt) + COPIED > tools.row_length:
        return None
    answers = [review_prompt.CLEAN, *(hunk.lines[index].text.strip() + "\n" for index in hunk.changed)]
    ids = [encode.continuation(tools.tokenizer, answer)[:COPIED] for answer in answers]
    ok, *lines = model.continuations(prompt, ids)
    return [one - ok for one in lines]


def _rewriting(pair: Pair, tools: Tools) -> Row | None:
    return _row(
        *(
            example(one, "rewriting", tools.tokenizer, tools.end_token, tools.row_length)
            for one in (pair.clean, pair.wrong)
        )
    )


def _score_rewriting(hunk: Hunk, tools: Tools, model: Model) -> list[float] | None:
    asked = ask(hunk, tools.tokenizer, tools.end_token)
    if not asked.lines or len(asked.tokens) > tools.row_length:
        return None
    return list(log_odds(hunk, asked.lines, reader(model.model)(asked.tokens, asked.spans)))


def _ranking(pair: Pair, tools: Tools) -> Row | None:
    clean = _at(pair.clean, pair.clean.place[:1], tools)
    above = [index for index in pair.wrong.hunk.changed if index < pair.wrong.wrong[0]][-FINE_VERDICTS:]
    return _row(clean, _at(pair.wrong, (*above, pair.wrong.wrong[0]), tools))


def _at(review: Review, lines: Sequence[int], tools: Tools) -> Example | None:
    """The text of the verdicts, labelled at some lines alone."""
    made = _verdict_tokens(review.hunk, review.wrong, tools)
    if made is None:
        return None
    spans = dict(zip(review.hunk.changed, made.supervised, strict=False))
    return Example(made.tokens, tuple((spans[index][0], spans[index][0] + 1) for index in lines), made.text_bytes)


FORMULATIONS = {
    "verdicts": Formulation(_verdicts, _score_verdicts),
    "gated": Formulation(_gated, _score_gated),
    "inline": Formulation(_inline, _score_inline),
    "pointing": Formulation(_pointing, _score_pointing),
    "rewriting": Formulation(_rewriting, _score_rewriting),
    "ranking": Formulation(_ranking, _score_verdicts, ranked=True),
}
