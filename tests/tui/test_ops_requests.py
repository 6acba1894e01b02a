"""Plain-language requests: what is one, what it asks for, and that ordinary questions are none."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tui.chat.ops.known import Adapter, Known
from tui.chat.ops.requests import Request, may_be, recognized
from tui.chat.ops.words import Words

SHOP, OLD = "shop@0123456789ab", "old@aaaaaaaaaaaa"
KNOWN = Known(
    model="smollm2-135m",
    folder="store",
    adapters=(Adapter(SHOP, "shop", "smollm2-135m"), Adapter(OLD, "old", "smollm2-135m")),
    aliases={"champion": OLD, "live": OLD},
    bases=("smollm2-135m", "qwen2.5-coder-0.5b"),
    active=(("1qgt0007", "shop"), ("1qgt0006", "eval repo")),
    ended=(("1qgt0005", "old"),),
    is_path=lambda path: path in {"src", "tests", "docs/api", "a b", "data.jsonl"},
    in_git=lambda path: True,
)
NOTHING = replace(KNOWN, adapters=(), aliases={}, active=(), ended=())

TRAINING = {
    "train on ./src for ten minutes and tell me if it is better": "./src --minutes 10 --then eval --then gate",
    "Train on src.": "src",
    "please fine-tune the model on src and tests for 1h30m": "src tests --minutes 90",
    "Can you train on ./src for half an hour?": "./src --minutes 30",
    "tune on this repository for 200 steps": ". --steps 200",
    "train my code for two epochs, then evaluate it": ". --epochs 2 --then eval",
    "I'd like you to train a new adapter called cart on src, based on qwen2.5-coder-0.5b": (
        "src --name cart --base qwen2.5-coder-0.5b"
    ),
    "train on src for an hour and a half and promote it if it is better": (
        "src --minutes 90 --then eval --then gate --then promote"
    ),
    "train on src. If it is better, promote it.": "src --then eval --then gate --then promote",
    "fine tune on 'a b' and data.jsonl for 90 seconds, and let me know when it is done": (
        "'a b' data.jsonl --minutes 1.5"
    ),
    "start training on @src for twenty five minutes in the background please": "src --minutes 25",
    "train for 10 min and see whether it\N{RIGHT SINGLE QUOTATION MARK}s any better than before": (
        ". --minutes 10 --then eval --then gate"
    ),
    "retrain on hf:org/data for 45m and compare it with the base": "hf:org/data --minutes 45 --then eval --then gate",
    "train a reviewer on this repo": ". --task review",
}
OTHERS = {
    "evaluate shop on humaneval": ("eval", f"humaneval --model {OLD} --model {SHOP}"),
    "measure the new adapter against the base on this repository": (
        "eval",
        f"repo --model smollm2-135m --model {SHOP}",
    ),
    "compare shop with the base on mbpp and humaneval with 40 items": (
        "eval",
        f"mbpp humaneval --model smollm2-135m --model {SHOP} --limit 40",
    ),
    "run humaneval on shop": ("eval", f"humaneval --model {OLD} --model {SHOP}"),
    "benchmark speed": ("eval", "speed"),
    "evaluate qwen2.5-coder-0.5b": ("eval", "repo --model qwen2.5-coder-0.5b"),
    "gate shop": ("gate", SHOP),
    "gate the newest adapter against the base": ("gate", f"{SHOP} --against smollm2-135m"),
    "is shop better than the champion?": ("gate", f"{SHOP} --against {OLD}"),
    "Is the new adapter any better?": ("gate", SHOP),
    "tell me whether shop is better": ("gate", SHOP),
    "promote it": ("promote", ""),
    "promote shop": ("promote", SHOP),
    "promote shop to live": ("promote", f"{SHOP} --as live"),
    "could you make the latest version the champion?": ("promote", SHOP),
    "roll back": ("rollback", ""),
    "please roll back the champion": ("rollback", ""),
    "roll back live": ("rollback", "live"),
    "roll back to the previous version": ("rollback", ""),
    "undo the last promotion": ("rollback", ""),
    "list my models": ("models", ""),
    "which adapters do I have?": ("models", ""),
    "show me the jobs": ("jobs", ""),
    "how is the training going?": ("jobs", ""),
    "stop the training": ("jobs", "stop 1qgt0007"),
    "cancel job 1qgt0006": ("jobs", "stop 1qgt0006"),
    "stop training shop": ("jobs", "stop 1qgt0007"),
    "resume the training": ("jobs", "resume 1qgt0005"),
    "run the doctor": ("doctor", ""),
    "check my installation": ("doctor", ""),
    "show my feedback": ("feedback", ""),
    "export the feedback to out.jsonl": ("feedback", "export out.jsonl"),
    "hone doctor": ("doctor", ""),
    "$ hone models show shop": ("models", "show shop"),
    "hone tune src --name 'a b'": ("tune", "src --name 'a b'"),
}
QUESTIONS = (
    "how do I train a network?",
    "what does promote mean",
    "what does promote mean?",
    "How can I train on ./src for ten minutes?",
    "train of thought",
    "train a network",
    "train a model on Python",
    "train a neural network in PyTorch for ten epochs",
    "what happens when I train on ./src for ten minutes",
    "training on src takes too long",
    "why is training so slow?",
    "write a function to train a model on src",
    "evaluate this expression",
    "evaluate 2 + 2",
    "evaluate it",
    "measure twice, cut once",
    "run the tests",
    "run pytest on src",
    "compare lists and tuples",
    "compare a and b",
    "is Rust better than Go?",
    "is it better?",
    "is this any good?",
    "gate",
    "what is a gate?",
    "promote a string to bytes",
    "promote",
    "how do I roll back a migration?",
    "roll back the transaction",
    "rollback in SQL",
    "roll back the last commit",
    "go back to the previous version",
    "stop",
    "stop using var",
    "cancel a task in asyncio",
    "continue",
    "resume a generator",
    "list all files",
    "list models in Django",
    "show me the code",
    "show me how to train on ./src",
    "show models in a table",
    "which models are best for code?",
    "what models exist in Django?",
    "check this function",
    "check if the list is empty",
    "tell me if this is good code",
    "see @src/app.py",
    "make it faster",
    "make a list",
    "make shop.py the entry point",
    "test whether x is prime",
    "score the matches",
    "sharpen my SQL skills",
    "tune this query",
    "tune the garbage collector for ten minutes",
    "hone my skills",
    "hone models are great",
    "hone tune is what?",
    "hello",
    "start the server",
    "undo the last change",
    "put it in a class",
    "export the function to utils.py",
    "diagnose this error",
    "train on ./src for ten minutes\nand explain it",
    "can I train on ./src?",
    "should I promote shop?",
    "train on src for",
    "train on src for a while",
    "train on src for ten minutes or so",
    "train on src for ten minutes for an hour",
    "don't train on src",
    "",
    "?",
)


@pytest.mark.parametrize("text", TRAINING)
def test_training_is_asked_for_in_plain_words(text: str):
    assert recognized(text, KNOWN) == Request("train", tuple(shlex.split(TRAINING[text])))


@pytest.mark.parametrize("text", OTHERS)
def test_other_work_is_asked_for_in_plain_words(text: str):
    name, words = OTHERS[text]
    assert recognized(text, KNOWN) == Request(name, tuple(shlex.split(words)))


@pytest.mark.parametrize("text", QUESTIONS)
def test_a_question_is_for_the_model(text: str):
    assert recognized(text, KNOWN) is None


@pytest.mark.parametrize(
    "text", ["promote it", "promote shop", "gate the newest adapter", "stop the training", "evaluate shop"]
)
def test_what_is_not_there_is_not_asked_for(text: str):
    assert recognized(text, NOTHING) is None


def test_a_path_that_is_not_there_is_a_word():
    assert recognized("train on lib", KNOWN) is None
    assert recognized("train on ./lib", KNOWN) == Request("train", ("./lib",))


ASKED = st.sampled_from([*TRAINING, *OTHERS])


@settings(max_examples=60)
@given(
    ASKED,
    st.sampled_from(
        ["how do I", "what happens if I", "why should I", "explain:", "write code that can", "should I", "when to"]
    ),
)
def test_a_request_inside_a_question_is_none(text: str, opening: str):
    assume(not text.startswith(("hone", "$")))
    assert recognized(f"{opening} {text[0].lower()}{text[1:]}", KNOWN) is None


@settings(max_examples=60)
@given(ASKED, st.text("qxzjkvw", min_size=3, max_size=12))
def test_one_word_that_the_grammar_does_not_know_makes_it_none(text: str, word: str):
    # A name may be any word, and a command line may have any.
    assume(not text.startswith(("hone", "$")))
    assert recognized(f"{text.rstrip('.?')} {word}", KNOWN) is None


@settings(max_examples=60)
@given(st.text(max_size=80))
def test_any_text_is_read_to_its_end(text: str):
    found = recognized(text, KNOWN)
    assert found is None or may_be(text)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(" ".join([*TRAINING, *OTHERS, *QUESTIONS]).split()), max_size=12))
def test_any_words_of_the_grammar_are_read_to_their_end(words: list[str]):
    text = " ".join(words)
    found = recognized(text, KNOWN)
    assert found is None or (may_be(text) and all(isinstance(word, str) for word in found.words))


TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)


def spelled(number: int, joint: str) -> str:
    tens, ones = divmod(number, 10)
    return SMALL[number] if number < 20 else TENS[tens] + (joint + SMALL[ones] if ones else "")


@settings(max_examples=60)
@given(
    st.integers(1, 99), st.sampled_from([" ", "-"]), st.sampled_from([("seconds", 1), ("mins", 60), ("hours", 3600)])
)
def test_a_spelled_duration_is_understood(number: int, joint: str, unit: tuple[str, int]):
    words = Words(f"{spelled(number, joint)} {unit[0]} and tell")
    assert words.duration() == number * unit[1]
    assert words.word == "and"


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(0, 59), st.integers(0, 59))
def test_a_compact_duration_is_understood(hours: int, minutes: int, seconds: int):
    text = "".join(f"{value}{unit}" for value, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if value)
    assume(text)
    assert Words(text).duration() == hours * 3600 + minutes * 60 + seconds
    spaced = " and ".join(f"{value} {unit}" for value, unit in ((hours, "h"), (minutes, "min")) if value)
    if spaced:
        assert Words(spaced).duration() == hours * 3600 + minutes * 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("a minute", 60),
        ("an hour and a half", 5400),
        ("one and a half hours", 5400),
        ("half an hour", 1800),
        ("a quarter of an hour", 900),
        ("three quarters of an hour", 2700),
        ("1.5 h", 5400),
        ("a couple of minutes", 120),
        ("a hundred seconds", 100),
        ("two days", 172_800),
        ("a while", None),
        ("ten", None),
        ("minutes", None),
        ("10x", None),
        ("", None),
    ],
)
def test_durations_in_other_words(text: str, seconds: float | None):
    words = Words(text)
    assert words.duration() == seconds
    assert (words.at == 0) == (seconds is None)


def test_a_quoted_word_is_no_part_of_a_phrase():
    words = Words("train 'on src', \"for\" it's")
    assert words.take("train")
    assert not words.take("on")
    assert [words.step() for _ in range(4)] == ["on src", ",", "for", "it's"]
    assert words.done
