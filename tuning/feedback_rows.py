"""The feedback of one run: written down when it begins, tokenized, and mixed with rows of the corpus.

A run reads what was written down, not the feedback that goes on growing, so one that was killed goes on with the same
rows. Forgetting feedback removes what was written down (`hone feedback forget`).
"""

import bisect
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, overload

from assistant import atomic, prompts
from assistant.errors import HoneError
from assistant.feedback import COPIES, ROWS
from tuning import cache
from tuning.corpus.document import Turn
from tuning.data import Data
from tuning.examples import dialogue, encode, rewritten
from tuning.examples.pack import Row as Packed
from tuning.examples.pack import pack
from tuning.examples.plain import Example
from tuning.feedback_data import Method, Row, Selection
from tuning.plan import Plan

KIND = "kept completion"
DISMISSED = "dismissed finding"
REPLAYED = "replayed row"
"""What the manifest counts."""
_SCHEMA = 1
_HELD_OUT = 10
"""One file of so many is kept back for validation."""


@dataclass(frozen=True)
class Written:
    """What a run learns from."""

    completions: tuple[Row, ...]
    preferences: tuple[Row, ...]
    method: Method
    ids: tuple[str, ...]
    left_out: dict[str, int]


@dataclass(frozen=True)
class Encoded:
    """A text behind its prompt, as the model reads both."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    text_bytes: int

    @property
    def example(self) -> Example:
        tokens = self.prompt + self.answer
        return Example(tokens, ((len(self.prompt), len(tokens)),), self.text_bytes)


def write(selection: Selection) -> str:
    """Writes down what a run learns from; returns its digest (32 hexadecimal digits).

    Raises:
        HoneError: the disk is full or not writable.
    """
    content = {
        "schema_version": _SCHEMA,
        "completions": [asdict(row) for row in selection.completions],
        "preferences": [asdict(row) for row in selection.preferences],
        "method": selection.method,
        "ids": list(selection.ids),
        "left_out": selection.left_out,
    }
    digest = cache.key_of(content)
    cache.folder_for(COPIES, digest, lambda staging: atomic.write_json(staging / ROWS, content, mode=0o600))
    return digest


def read(digest: str) -> Written:
    """
    Raises:
        HoneError: it is gone, as after `hone feedback forget`, or cannot be read.
    """
    folder = cache.found(COPIES, digest)
    if folder is None:
        raise HoneError("the feedback that this run learns from was forgotten meanwhile; begin anew with --restart")
    file = folder / ROWS
    try:
        content = json.loads(file.read_text("utf-8"))
        rows = {kind: tuple(Row(**row) for row in content[kind]) for kind in ("completions", "preferences")}
        return Written(
            rows["completions"], rows["preferences"], content["method"], tuple(content["ids"]), content["left_out"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HoneError(f"cannot read {file}: {error}; begin anew with --restart") from error


class Encoder:
    """Tokenizes rows as the engines tokenize a prompt and what follows it.

    Args:
        end_token: that ends a document; only an infilled middle ends with it, since what follows the cursor goes on.
        longest: tokens of prompt and text together; longer prompts lose lines at their beginning, where the model has
            no fill-in-the-middle form that a cut would break.
    """

    def __init__(self, tokenizer: Any, end_token: int, longest: int) -> None:
        self._tokenizer, self._end_token, self._longest = tokenizer, end_token, longest
        self._fim = prompts.find_fim_tokens(tokenizer.get_vocab())
        self._chat: dialogue.ChatFormat | None = None
        self._opening = tuple(encode.opening(tokenizer))

    def encode(self, row: Row, text: str) -> Encoded | None:
        """`text` behind the row's prompt; None when both do not fit.

        Raises:
            HoneError: a chat's answer for a base without a chat template that can be learnt from.
        """
        if row.source == "chat" and not row.rendered:
            return self._conversation(row.prompt, text)
        if row.source == "review":
            return self._line(row.prompt, text)
        infilled = self._fim is not None and self._fim.prefix in row.prompt and self._fim.suffix in row.prompt
        special = infilled or row.source == "chat"
        answer = tuple(encode.continuation(self._tokenizer, text))
        if infilled and row.whole:
            answer += (self._end_token,)
        elif row.source == "chat":
            answer += (int(self._tokenizer.eos_token_id),)
        room = self._longest - len(self._opening) - len(answer)
        prompt = self._prompt(row.prompt, special, room)
        if not prompt or not answer:
            return None
        return Encoded((*self._opening, *prompt), answer, len(text.encode("utf-8", "surrogatepass")))

    def _line(self, question: str, line: str) -> Encoded | None:
        """Behind a line that is written again the text goes on, so no end is learnt; none of it can be left out."""
        asked = rewritten.before(question, self._tokenizer)
        answer = tuple(encode.continuation(self._tokenizer, line))
        if len(asked) + len(answer) > self._longest:
            return None
        return Encoded(tuple(asked), answer, len(line.encode("utf-8")))

    def _prompt(self, prompt: str, special: bool, room: int) -> tuple[int, ...]:
        """Tokens of the prompt, or of as many of its last lines as there is room for; none when not even one fits."""

        def ids(text: str) -> list[int]:
            found: list[int] = self._tokenizer(
                text, add_special_tokens=False, split_special_tokens=not special
            ).input_ids
            return found

        whole = ids(prompt)
        if len(whole) <= room:
            return tuple(whole)
        if special:
            return ()
        lines = prompt.splitlines(keepends=True)
        first = bisect.bisect_left(
            range(len(lines)), True, lo=1, key=lambda start: len(ids("".join(lines[start:]))) <= room
        )
        return tuple(ids("".join(lines[first:])))

    def _conversation(self, question: str, answer: str) -> Encoded | None:
        if self._chat is None:
            self._chat = dialogue.chat_format(self._tokenizer)
        made = dialogue.conversation([Turn("user", question), Turn("assistant", answer)], self._chat, self._longest)
        if made.example is None:
            return None
        ((first, last),) = made.example.supervised
        tokens = made.example.tokens
        return Encoded(tokens[:first], tokens[first:last], made.example.text_bytes)


class _Mixed(Sequence[Packed]):
    """Some rows of a corpus, read from disk when asked for, and others in memory."""

    def __init__(self, rows: Sequence[Packed], chosen: Sequence[int], more: Sequence[Packed]) -> None:
        self._rows, self._chosen, self._more = rows, chosen, more

    def __len__(self) -> int:
        return len(self._chosen) + len(self._more)

    @overload
    def __getitem__(self, index: int) -> Packed: ...
    @overload
    def __getitem__(self, index: slice) -> list[Packed]: ...
    def __getitem__(self, index: int | slice) -> Packed | list[Packed]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = index % len(self)
        return self._rows[self._chosen[at]] if at < len(self._chosen) else self._more[at - len(self._chosen)]


def mixed(data: Data, written: Written, tokenizer: Any, plan: Plan) -> Data:
    """The rows of feedback with rows of the corpus, which make `feedback.replay` of the tokens. Where preferences alone
    are learnt, they are what the corpus is measured by.

    One file in ten is held out, and validated together with as many rows of the corpus: what is forgotten counts too.

    Raises:
        HoneError: nothing of the feedback fits.
    """
    options = plan.feedback
    digest = cache.key_of(data.digest, options.rows, options.start, options.replay)
    encoder = Encoder(tokenizer, data.end_token, plan.row_length)
    train: list[Example] = []
    held_out: list[Example] = []
    for row in written.completions:
        encoded = encoder.encode(row, row.text)
        if encoded is not None:
            (held_out if _is_held_out(row) else train).append(encoded.example)
    if written.completions and not train:
        # Nothing of another file is there, so what was held out is learnt.
        train, held_out = held_out, []
    measured_by = train or [
        encoded.example for row in written.preferences if (encoded := encoder.encode(row, row.text)) is not None
    ]
    if not measured_by:
        raise HoneError(f"no text of the feedback fits a row of {plan.row_length} tokens; raise --row-length")
    kind = DISMISSED if plan.examples.task == "review" else KIND
    rows, validation = pack(train, plan.row_length), pack(held_out, plan.row_length)
    chosen = _replayed(data, sum(len(example.tokens) for example in measured_by), plan)
    watched = list(range(min(len(data.validation), max(1, len(validation)))))
    tokens = [example for index in chosen for example in data.rows[index]] + train
    return replace(
        data,
        rows=_Mixed(data.rows, chosen, rows),
        validation=_Mixed(data.validation, watched, validation),
        corpus_validation=data.validation,
        counts={REPLAYED: len(chosen), **({kind: len(train)} if train else {})},
        train_tokens=sum(len(example.tokens) for example in tokens),
        supervised_tokens=sum(last - first for example in tokens for first, last in example.supervised),
        digest=digest,
    )


def _replayed(data: Data, tokens: int, plan: Plan) -> list[int]:
    """Rows of the corpus that make their share beside so many tokens of feedback."""
    share = plan.feedback.replay
    each = data.train_tokens / len(data.rows)
    count = max(1, min(len(data.rows), round(share / (1 - share) * tokens / each)))
    order = Random(f"{plan.seed}/replay").sample(range(len(data.rows)), len(data.rows))
    # The corpus alone teaches where a document ends, so one row does.
    ending = next((index for index in order if _ends(data.rows[index], data.end_token)), order[0])
    return sorted([ending, *(index for index in order if index != ending)][:count])


def _ends(row: Packed, end_token: int) -> bool:
    return any(end_token in example.labels for example in row)


def _is_held_out(row: Row) -> bool:
    named = hashlib.sha256((row.path or row.id).encode("utf-8", "surrogatepass")).digest()
    return named[0] % _HELD_OUT == 0
