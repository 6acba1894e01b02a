"""Which examples a document becomes, by the settings of the run and what the base can do."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from assistant import prompts
from assistant.redaction.redact import redact
from tuning.corpus.document import Document
from tuning.examples import dialogue, fim, fixes, instruct, review, several
from tuning.examples.mutate import OPERATORS
from tuning.examples.plain import Example, windows
from tuning.plan import ExampleOptions, Plan

FORMS: Mapping[str, tuple[review.Form, ...]] = {
    "both": ("rewriting", "findings"),
    "rewriting": ("rewriting",),
    "findings": ("findings",),
}
"""Of reviews, in turn: what the reviewer reads from the logits, and what it writes."""


def taught_operators(options: ExampleOptions) -> list[str]:
    """Names of `mutate.OPERATORS` whose bugs are shown in training."""
    return [name for name in OPERATORS if name not in options.held_out_operators]


class Maker:
    """Turns documents into examples, each a function of its document, the settings and the seed alone."""

    def __init__(self, tokenizer: Any, plan: Plan, end_token: int) -> None:
        self._tokenizer = tokenizer
        self._plan = plan
        self._options = plan.examples
        self._end_token = end_token
        own = prompts.find_fim_tokens(tokenizer.get_vocab())
        self._fim: fim.Format | None = None
        if self._options.fim_rate and own:
            self._fim = fim.own(tokenizer, own)
        elif self._options.teach_fim:
            self._fim = fim.taught(tokenizer)
        self._chat: dialogue.ChatFormat | None = None
        self._operators = taught_operators(self._options)

    def examples(self, document: Document) -> Iterator[tuple[str, Example]]:
        """(kind, example): `code`, `infilling`, `instruction`, `review`, `chat` or `prompt`.

        Raises:
            HoneError: a conversation for a base whose chat template cannot write it.
        """
        if document.turns:
            yield from self._of_record(document)
            return
        # One comparison for the default, so that nothing is drawn for it.
        if self._options.code_rate == 1 or self._drawn(document, "code").random() < self._options.code_rate:
            yield from (("code", example) for example in self._code(document))
        if self._drawn(document, "instruction").random() < self._options.instruct_rate:
            yield from (("instruction", example) for example in self._instructions(document))
        yield from (("review", example) for example in self.reviewed(document))

    def reviewed(self, document: Document, again: int = 0) -> Iterator[Example]:
        """The review examples of a document.

        Args:
            again: another number seeds other bugs.
        """
        generator = self._drawn(document, f"review {again}" if again else "review")
        if not document.turns and generator.random() < self._options.review_rate:
            yield from self._written(self._reviews(document, generator))

    def _code(self, document: Document) -> list[Example]:
        path, text, length = document.path, document.text, self._plan.row_length
        if self._fim is None:
            return windows(path, text, self._tokenizer, length, self._end_token)
        options = fim.Options(
            rate=self._options.fim_rate, spm=self._options.spm_rate, aligned=self._options.aligned_rate
        )
        return fim.examples(path, text, document.language, self._fim, length, self._end_token, self._plan.seed, options)

    def _of_record(self, document: Document) -> Iterator[tuple[str, Example]]:
        turns, length = document.turns, self._plan.row_length
        if turns[0].role == "prompt":
            prompt, answer = (turn.content for turn in turns)
            made = dialogue.completion(prompt, answer, self._tokenizer, length, self._end_token)
            kind = "prompt"
        else:
            made, kind = dialogue.conversation(turns, self._chat_format(), length), "chat"
        if made.example is not None:
            yield kind, made.example

    def _instructions(self, document: Document) -> Iterator[Example]:
        pairs = instruct.pairs(document.path, document.text, document.language, self._plan.seed)
        for pair in pairs:
            made = dialogue.conversation(pair, self._chat_format(), self._plan.row_length)
            if made.example is not None:
                yield made.example

    def fixes(self, root: Path, revision: str, taken: Collection[str], held_out: Collection[str]) -> Iterator[Example]:
        """Review examples from the bug fixes in a repository's history, secrets replaced.

        Args:
            taken: paths that are trained on; fixes of others are left out.
            held_out: paths whose history is not read.
        """
        for fix in fixes.fixes(root, revision, held_out):
            if fix.path in taken:
                clean = replace(
                    fix, subject=redact(fix.subject)[0], fixed=redact(fix.fixed)[0], buggy=redact(fix.buggy)[0]
                )
                named = f"{self._plan.seed}/{fix.commit}/{fix.path}"
                for share in (1.0, 0.0) if self._options.review_twins else (0.5,):
                    yield from self._written(
                        fixes.reviews(clean, Random(named), share, most_lines=self._options.review_lines)
                    )

    def _reviews(self, document: Document, generator: Random) -> Iterator[review.Review]:
        options = self._options
        asked = (document.path, document.text, document.language, generator, self._operators, options.reviews_per_file)
        if options.review_several and generator.random() < options.review_several:
            return several.reviews(*asked, most_lines=options.review_lines)
        return review.reviews(*asked, most_lines=options.review_lines, twins=options.review_twins)

    def _written(self, found: Iterable[review.Review]) -> Iterator[Example]:
        options = self._options
        forms = FORMS[options.review_form]
        for number, one in enumerate(found):
            # Twins come one after the other and are asked alike.
            form = forms[(number // 2 if options.review_twins else number) % len(forms)]
            made = review.example(one, form, self._tokenizer, self._end_token, self._plan.row_length)
            if made is not None:
                yield made

    def _chat_format(self) -> dialogue.ChatFormat:
        # Only a corpus that needs one asks: a base without a chat template tunes on code all the same.
        if self._chat is None:
            self._chat = dialogue.chat_format(self._tokenizer)
        return self._chat

    def _drawn(self, document: Document, kind: str) -> Random:
        named = f"{self._plan.seed}/{kind}/{document.key}".encode("utf-8", "surrogatepass")
        return Random(hashlib.sha256(named).digest())
