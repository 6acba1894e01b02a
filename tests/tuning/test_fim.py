import hashlib
import tempfile
from pathlib import Path

import pytest
import sentencepiece as sentencepiece_module
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from assistant import prompts
from tests.tuning.samples import PYTHON, SAMPLES
from tests.tuning.tiny import make_tokenizer
from tests.tuning.tiny_tokenizers import METASPACE, sentencepiece, trained_sentencepiece, with_tokens
from tuning.examples import encode, fim
from tuning.examples.plain import IGNORED, windows

QWEN, STARCODER, DEEPSEEK, LLAMA, CODESTRAL = prompts.FIM_FAMILIES
BYTES = with_tokens(QWEN.prefix, QWEN.suffix, QWEN.middle)
SUFFIX_FIRST = with_tokens(CODESTRAL.prefix, CODESTRAL.suffix)
with tempfile.TemporaryDirectory() as folder:
    TRAINED = trained_sentencepiece(Path(folder), LLAMA.prefix, LLAMA.suffix, LLAMA.middle)
    PROCESSOR = sentencepiece_module.SentencePieceProcessor(model_file=str(Path(folder) / "tokenizer.model"))
FORMS = {
    "own": fim.own(BYTES, QWEN),
    "starcoder": fim.own(with_tokens(STARCODER.prefix, STARCODER.suffix, STARCODER.middle), STARCODER),
    "deepseek": fim.own(with_tokens(DEEPSEEK.prefix, DEEPSEEK.suffix, DEEPSEEK.middle), DEEPSEEK),
    "trained": fim.own(TRAINED, LLAMA),
    "suffix first": fim.own(SUFFIX_FIRST, CODESTRAL),
    "taught": fim.taught(make_tokenizer()),
    **{scheme: fim.own(sentencepiece(scheme, LLAMA.prefix, LLAMA.suffix, LLAMA.middle), LLAMA) for scheme in METASPACE},
}
END = 0
MARKS = ("<|fim_suffix|>", "<fim_middle>", "<｜fim▁hole｜>", "[PREFIX]", "▁<MID>", "</s>", "<|endoftext|>")
PIECES = st.one_of(st.sampled_from("ab (\t=.é日'<|>"), st.sampled_from(MARKS))
TEXT = st.lists(st.lists(PIECES, max_size=30).map("".join), min_size=1, max_size=20).map("\n".join)
QUIET = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@QUIET
@given(
    parts=st.tuples(TEXT, TEXT, TEXT),
    form=st.sampled_from(list(FORMS)),
    order=st.sampled_from(["psm", "spm"]),
    learn_context=st.booleans(),
)
def test_the_prompt_is_what_completion_asks_and_the_middle_follows(
    parts: tuple[str, str, str], form: str, order: prompts.FimOrder, learn_context: bool
):
    prefix, middle, suffix = parts
    marks = FORMS[form].stand_ins or FORMS[form].tokens
    # No document that spells the marks of its format becomes an example.
    assume(not any(mark and mark in text for mark in (marks.prefix, marks.suffix, marks.middle) for text in parts))
    made = fim.example("pkg/a.py", prefix, middle, suffix, FORMS[form], order, 10_000, END, learn_context)
    assert made is not None
    tokenizer, tokens = FORMS[form].tokenizer, FORMS[form].tokens
    prompt = prompts.fim("pkg/a.py", prefix, suffix, tokens, order=order)
    answer = encode.continuation(tokenizer, middle)
    asked = made.tokens[: -len(answer) - 1]
    assert made.tokens == (*asked, *answer, END)
    if not any(mark in prefix + suffix for mark in MARKS):
        # As the engines read the prompt, the beginning token included.
        special = form != "taught"
        read = tokenizer(prompt, add_special_tokens=True, split_special_tokens=not special).input_ids
        assert list(asked) == read
    # Pieces join back to the text: the spaces that sentencepiece writes after a control token are in the prompt only.
    if form in ("own", "starcoder", "deepseek", "suffix first", "taught", "first", "never"):
        decoded = tokenizer.decode(made.tokens[len(encode.opening(tokenizer)) : -1])
        assert decoded.replace("▁", " ") == (prompt + middle).replace("▁", " ")
    # The middle continues the prompt with no space of its own, whatever the tokenizer.
    decoded = tokenizer.decode([*asked, *answer]).removeprefix(tokenizer.decode(asked))
    assert decoded.replace("▁", " ") == middle.replace("▁", " ")
    learnt = [index for start, end in made.supervised for index in range(start, end)]
    assert learnt == sorted(set(learnt))
    assert learnt[-len(answer) - 1 :] == list(range(len(asked), len(made.tokens)))
    assert [label != IGNORED for label in made.labels] == [index in set(learnt) for index in range(len(made.tokens))]
    if not learn_context:
        assert len(learnt) == len(answer) + 1
        assert made.text_bytes == len(middle.encode())
    else:
        assert made.text_bytes == len((prefix + middle + suffix).encode())
        control = {tokenizer.get_vocab().get(mark) for mark in (tokens.prefix, tokens.suffix, tokens.middle)}
        assert not control & {made.tokens[index] for index in learnt}


def test_the_context_is_learnt_without_the_header_and_the_marks():
    made = fim.example("a.py", "x = 1\n", "y", " = 2\n", FORMS["own"], "psm", 200, END, learn_context=True)
    assert made is not None
    assert [BYTES.decode(made.tokens[start:end]) for start, end in made.supervised] == [
        "x = 1\n",
        " = 2\n",
        "y<|endoftext|>",
    ]
    made = fim.example("a.py", "x = 1\n", "y", " = 2\n", FORMS["own"], "spm", 200, END, learn_context=True)
    assert made is not None
    assert [BYTES.decode(made.tokens[start:end]) for start, end in made.supervised] == [
        " = 2\n",
        "x = 1\ny<|endoftext|>",
    ]


@QUIET
@given(
    text=TEXT.map(lambda text: text + "\n"),
    form=st.sampled_from(list(FORMS)),
    row_length=st.integers(64, 200),
    seed=st.integers(0, 99),
    learn_context=st.booleans(),
)
def test_documents_fit_their_rows_and_every_example_can_stop(
    text: str, form: str, row_length: int, seed: int, learn_context: bool
):
    options = fim.Options(rate=1, learn_context=learn_context)
    made = fim.examples("a.py", text, "python", FORMS[form], row_length, END, seed, options)
    plain = windows("a.py", text, FORMS[form].tokenizer, row_length, END)
    assert len(made) == len(plain)
    for example, window in zip(made, plain, strict=True):
        assert len(example.tokens) <= row_length
        if example == window:
            continue
        assert example.tokens[-1] == END
        assert example.labels[-1] == END
        assert all(0 < start < end <= len(example.tokens) for start, end in example.supervised)
    assert made == fim.examples("a.py", text, "python", FORMS[form], row_length, END, seed, options)


@pytest.mark.parametrize("language", SAMPLES)
def test_the_pieces_of_real_code_join_back_to_it(language: str):
    text = SAMPLES[language]
    form = FORMS["own"]
    orders = set()
    for seed in range(12):
        (made,) = fim.examples("a.x", text, language, form, 4000, END, seed, fim.Options(rate=1, learn_context=False))
        whole = BYTES.decode(made.tokens[:-1])
        ((start, _),) = made.supervised
        asked, middle = BYTES.decode(made.tokens[:start]), BYTES.decode(made.tokens[start:-1])
        assert whole == asked + middle
        head = prompts.header("a.x")
        if asked.endswith(QWEN.middle):
            prefix, suffix = asked.removeprefix(QWEN.prefix + head).removesuffix(QWEN.middle).split(QWEN.suffix)
            orders.add("psm")
        else:
            suffix, prefix = asked.removeprefix(QWEN.prefix + QWEN.suffix).split(QWEN.middle + head)
            orders.add("spm")
        assert prefix + middle + suffix == text
        assert middle.strip()
    assert orders == {"psm", "spm"}


def test_half_of_the_windows_are_turned_and_half_of_those_in_each_order():
    form = FORMS["own"]
    marks = [BYTES.get_vocab()[mark] for mark in (QWEN.prefix, QWEN.suffix)]
    counts = {"plain": 0, "psm": 0, "spm": 0}
    for seed in range(400):
        for made in fim.examples("a.py", "x = 1\ny = 2\n", "python", form, 100, END, seed):
            kind = "plain" if marks[0] not in made.tokens else "spm" if made.tokens[1] == marks[1] else "psm"
            counts[kind] += 1
    assert 160 < counts["plain"] < 240
    assert 65 < counts["psm"] < 135
    assert 65 < counts["spm"] < 135


def test_too_long_contexts_lose_whole_lines_on_their_far_sides():
    prefix = "".join(f"before_{number} = {number}\n" for number in range(40)) + "    x = "
    suffix = " + 1\n" + "".join(f"after_{number} = {number}\n" for number in range(30))
    for order in ("psm", "spm"):
        for row_length in range(60, 700, 40):
            made = fim.example("a.py", prefix, "middle", suffix, FORMS["own"], order, row_length, END)  # type: ignore[arg-type]
            assert made is not None
            assert len(made.tokens) <= row_length
            text = BYTES.decode(made.tokens[:-1])
            if order == "psm":
                kept, rest = text.removeprefix(QWEN.prefix + "# a.py\n").split(QWEN.suffix)
                after = rest.removesuffix(QWEN.middle + "middle")
            else:
                after, rest = text.removeprefix(QWEN.prefix + QWEN.suffix).split(QWEN.middle + "# a.py\n")
                kept = rest.removesuffix("middle")
            assert prefix.endswith("\n" + kept) or kept == prefix
            assert suffix.startswith(after)
            assert after.endswith("\n")
            # Nothing that a line would still have filled was left out.
            if kept != prefix or after != suffix:
                assert len(made.tokens) > row_length - 30


def test_a_middle_that_no_row_holds_gives_no_example():
    assert fim.example("a.py", "x", "y" * 500, "z", FORMS["own"], "psm", 64, END) is None
    assert fim.example("a.py", "x" * 500, "y", "z", FORMS["own"], "psm", 64, END) is None


def test_a_file_that_spells_the_marks_stays_text():
    text = f"mark = '{QWEN.middle}'\nother = '{QWEN.prefix}'  # <|endoftext|>\n"
    # Qwen2.5-Coder's files do not call these tokens special.
    tokenizer = with_tokens(QWEN.prefix, QWEN.suffix, QWEN.middle, special=False)
    form = fim.own(tokenizer, QWEN)
    numbers = [tokenizer.get_vocab()[mark] for mark in (QWEN.prefix, QWEN.suffix, QWEN.middle)]
    for seed in range(30):
        (made,) = fim.examples("a.py", text, "python", form, 500, END, seed, fim.Options(rate=1))
        assert [made.tokens.count(number) for number in numbers] == [1, 1, 1]
        assert made.tokens.count(END) == 1
        assert all(made.tokens[index] not in numbers for start, end in made.supervised for index in range(start, end))


def test_a_file_that_spells_the_taught_sentinels_is_not_cut():
    text = "a = '<MID>'\nb = 1\n"
    made = fim.examples("a.py", text, "python", FORMS["taught"], 200, END, 1, fim.Options(rate=1))
    assert made == windows("a.py", text, FORMS["taught"].tokenizer, 200, END)


def test_a_blank_document_stays_plain():
    made = fim.examples("a.py", "\n\n \n", "python", FORMS["own"], 200, END, 1, fim.Options(rate=1))
    assert made == windows("a.py", "\n\n \n", BYTES, 200, END)


def test_examples_are_a_function_of_text_and_seed():
    def digest(seed: int) -> str:
        made = fim.examples("a.py", PYTHON * 3, "python", FORMS["own"], 200, END, seed)
        return hashlib.sha256(repr(made).encode()).hexdigest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_the_real_tokenizers_settings_are_left_alone():
    tokenizer = with_tokens(QWEN.prefix, QWEN.suffix, QWEN.middle)
    before = len(tokenizer)
    form = fim.own(tokenizer, QWEN)
    fim.examples("a.py", PYTHON, "python", form, 200, END, 1)
    assert len(tokenizer) == before
    assert tokenizer(QWEN.middle).input_ids == [tokenizer.get_vocab()[QWEN.middle]]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "taught"])
def test_the_form_is_read_from_the_tokenizer(form: str):
    vocabulary = FORMS[form].tokenizer.get_vocab()
    assert prompts.find_fim_tokens(vocabulary) == FORMS[form].tokens
    for lacking in (FORMS[form].tokens.prefix, FORMS[form].tokens.suffix):
        assert prompts.find_fim_tokens({token: 0 for token in vocabulary if token != lacking}) is None


def test_a_tokenizer_without_such_tokens_completes_left_to_right():
    assert prompts.find_fim_tokens(make_tokenizer().get_vocab()) is None


def test_a_prompt_for_a_sentencepiece_model_is_what_sentencepiece_makes_of_its_pieces():
    """The control tokens, and between them what Code Llama's `encode_infilling` gives: no space of its own in front."""
    prefix, suffix = "def f(x):\n    return ", "\n\nprint(f(1))\n"
    numbers = TRAINED.get_vocab()
    guard = PROCESSOR.encode("☺")
    plain = [PROCESSOR.encode("☺" + text)[len(guard) :] for text in (prefix, suffix)]
    assert TRAINED(prompts.infill(prefix, suffix, LLAMA), add_special_tokens=True).input_ids == [
        PROCESSOR.bos_id(),
        numbers[LLAMA.prefix],
        *plain[0],
        numbers[LLAMA.suffix],
        *plain[1],
        numbers[LLAMA.middle],
    ]
