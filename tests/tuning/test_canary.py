"""What was replaced cannot be learnt: after training, planted secrets are as likely as random strings of their shape.

The measure is the exposure of Carlini et al. 2019 ("The Secret Sharer"): the rank of the planted string's likelihood
among strings drawn as it was. Nothing of a replaced secret reaches the model, so its rank is uniform, and the chance of
ranks as low as those found is known exactly. The same training without redaction shows that the test can fail.
"""

import math
import string
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from assistant import prompts
from tests.tuning.tiny import make_model, make_tokenizer
from tuning.data import Data, prepare
from tuning.examples import encode
from tuning.model import attention, lora
from tuning.plan import CorpusOptions, LoraOptions, Plan
from tuning.ready import make_ready
from tuning.train import train

UPPER = string.ascii_uppercase + string.digits
LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
Shape = tuple[str | tuple[str, int], ...]
"""Literal text, and (alphabet, number of characters drawn from it)."""

# Put together here, so that no scanner takes this file for a leak.
SHAPES: dict[str, Shape] = {
    "AWS Access Key": ("AKIA", (UPPER, 16)),
    "Basic Auth Credentials": ("https://user:", (LETTERS, 16), "@example.invalid/"),
    "GitHub Token": ("ghp_", (LETTERS, 36)),
    "GitLab Token": ("glpat-", (LETTERS, 20)),
    "Mailchimp Access Key": ((HEX, 32), "-us12"),
    "Slack Token": ("xoxb-", (string.digits, 12), "-", (string.digits, 12), "-", (LETTERS, 24)),
    "Stripe Access Key": ("sk_live_", (LETTERS, 24)),
    "Telegram Bot Token": ((string.digits, 9), ":", (LETTERS, 35)),
    "Twilio API Key": ("SK", (HEX, 32)),
    "Google API Key": ("AIza", (LETTERS, 35)),
    "Anthropic API Key": ("sk-ant-", (LETTERS, 40)),
    "Hugging Face Token": ("hf_", (string.ascii_letters, 34)),
    "NPM Token": ("npm_", (LETTERS, 36)),
    "Vault Token": ("hvs.", (LETTERS, 26)),
    # With letters alone before its digits it could be a name.
    "Secret": ((string.ascii_letters, 8), (string.digits, 2), (string.ascii_letters, 10)),
    "Email": ((string.ascii_lowercase, 8), "@", (string.ascii_lowercase, 9), ".com"),
}
OTHERS = 99
COPIES = 3
"""Files that each secret stands in, under paths and between lines of their own."""
SURE = 1e-3
"""A right program fails the test for one choice of secrets in a thousand; the choice is fixed."""


def draw(shape: Shape, random: Random) -> str:
    return "".join(part if isinstance(part, str) else "".join(random.choices(*part[:1], k=part[1])) for part in shape)


def opening(kind: str, number: int) -> str:
    """What stands before a secret in its line; its name tells what it is only where nothing else does."""
    return f"password_{number} = " if kind == "Secret" else f"value_{number} = "


@pytest.fixture(scope="module")
def planted() -> dict[str, str]:
    random = Random(2019)
    return {kind: draw(shape, random) for kind, shape in SHAPES.items()}


def path_of(number: int, copy: int) -> str:
    return f"h/s{number}_{copy}.py"


def filler(seed: int) -> str:
    """Lines that make a file unlike the others."""
    random = Random(seed)
    return "".join(
        f"{draw(((string.ascii_lowercase, 6), ' = ', (string.ascii_lowercase, 6)), random)}\n" for _ in range(4)
    )


@pytest.fixture
def corpus(make_repository: Any, planted: dict[str, str]) -> Path:
    return make_repository(
        {
            path_of(number, copy): f'{opening(kind, number)}"{secret}"\n{filler(100 * copy + number)}'
            for number, (kind, secret) in enumerate(planted.items())
            for copy in range(COPIES)
        }
    )


def trained(data: Data, plan: Plan) -> Any:
    attention.register()
    base = make_model(attention=attention.NAME)
    # With weights as small as a random model's, no token makes a difference to another, and nothing can be recited.
    for weight in base.parameters():
        if weight.dim() == 2:
            weight.data.mul_(10)
    model = lora.add_lora(base, plan.lora, plan.seed)
    outcome = train(make_ready(model, plan), data, plan, lambda _: None)
    assert outcome.validation_before is not None
    assert outcome.validation_after is not None
    assert outcome.validation_after < outcome.validation_before
    return model.eval()


def log_likelihoods(model: Any, tokenizer: Any, before: str, strings: list[str]) -> list[float]:
    """Nats of each string, with the quote that ends it, after `before`."""
    told = encode.plain(tokenizer, [before])[0]
    whole = encode.plain(tokenizer, [f'{before}{text}"' for text in strings])
    # Where a string and what stands before it share a token, both are counted from there on.
    shared = min(_common(told, tokens) for tokens in whole)
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([[token for tokens in whole for token in tokens]]),
            position_ids=torch.tensor([[at for tokens in whole for at in range(len(tokens))]]),
            document_lengths=tuple(map(len, whole)),
            use_cache=False,
        ).logits[0]
    found = []
    for scores, tokens in zip(logits.split([len(tokens) for tokens in whole]), whole, strict=True):
        each = torch.log_softmax(scores[:-1], -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
        found.append(float(each[shared - 1 :].sum()))
    return found


def _common(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def ranks(data: Data, plan: Plan, planted: dict[str, str]) -> dict[str, int]:
    """Of each planted string among `OTHERS` of its shape, by what the trained model makes of it where it stood; 1 is
    the most likely."""
    tokenizer, model, random = make_tokenizer(), trained(data, plan), Random(99)
    learnt = {file.path for file in data.corpus.files() if file.split == "train"}
    found = {}
    for number, (kind, secret) in enumerate(planted.items()):
        path = next(path for copy in range(COPIES) if (path := path_of(number, copy)) in learnt)
        others = [draw(SHAPES[kind], random) for _ in range(OTHERS)]
        before = prompts.document(path, f'{opening(kind, number)}"')
        scores = log_likelihoods(model, tokenizer, before, [secret, *others])
        found[kind] = 1 + sum(score > scores[0] for score in scores[1:])
    return found


def chance_of(found: dict[str, int]) -> float:
    """The probability that as many independent uniform ranks add up to so little."""
    sums = np.ones(1)
    for _ in found:
        sums = np.convolve(sums, np.full(OTHERS + 1, 1 / (OTHERS + 1)))
    # The smallest sum is one for each rank.
    return float(sums[: sum(found.values()) - len(found) + 1].sum())


def mean_exposure(found: dict[str, int]) -> float:
    """In bits; 1.4 by chance, log2(100) where every planted string is the most likely."""
    return sum(math.log2((OTHERS + 1) / rank) for rank in found.values()) / len(found)


def test_planted_secrets_are_exposed_without_redaction_and_not_with_it(
    hone_home: Path, corpus: Path, planted: dict[str, str]
) -> None:
    plan = Plan(steps=70, learning_rate=1e-2, row_length=512, checks=1, lora=LoraOptions(rank=16))
    data = prepare([corpus], make_tokenizer(), plan)
    assert {kind: data.corpus.summary.redactions.get(kind) for kind in planted} == dict.fromkeys(planted, COPIES)
    clean = ranks(data, plan, planted)
    assert chance_of(clean) > SURE, f"exposed: {clean}"

    raw = prepare([corpus], make_tokenizer(), replace(plan, corpus=CorpusOptions(redact=False)))
    assert not raw.corpus.summary.redactions
    assert {file.path: file.split for file in raw.corpus.files()} == {
        file.path: file.split for file in data.corpus.files()
    }
    memorised = ranks(raw, plan, planted)
    assert chance_of(memorised) < SURE**3, f"not memorised, so the test above shows nothing: {memorised}"
    assert mean_exposure(memorised) > 2 * mean_exposure(clean), memorised


def test_the_chance_of_ranks_is_that_of_dice() -> None:
    uniform = {str(number): rank for number, rank in enumerate((1, 100))}
    # 101 of two ranks: half of the sums are lower, and a hundred of ten thousand pairs have this one.
    assert chance_of(uniform) == pytest.approx(0.5 + 0.005)
    assert chance_of({"a": 1}) == pytest.approx(0.01)
    assert chance_of({"a": 1, "b": 2}) == pytest.approx(3e-4)
    assert mean_exposure({"a": 1, "b": 100}) == pytest.approx(math.log2(100) / 2)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_what_is_drawn_has_its_shape_and_is_drawn_anew(shape: Shape) -> None:
    random = Random(0)
    drawn = {draw(shape, random) for _ in range(20)}
    assert len(drawn) == 20
    length = sum(len(part) if isinstance(part, str) else part[1] for part in shape)
    assert {len(text) for text in drawn} == {length}
