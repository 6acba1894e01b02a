from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import prompts
from assistant.errors import HoneError, UnknownModel
from assistant.skills import context
from assistant.skills.complete import Budget, generate, model_form, plan
from assistant.skills.index import Index
from assistant.skills.window import fit_prefix, fit_suffix
from tests.assistant.completion_fakes import FakeClient

QWEN = {"prefix": "<|fim_prefix|>", "suffix": "<|fim_suffix|>", "middle": "<|fim_middle|>"}
TEXT = st.lists(st.text("ab _(=é\t", max_size=30), max_size=60).map("\n".join)


def count(texts: Sequence[str]) -> list[int]:
    return [len(tokens) for tokens in FakeClient().tokenize(texts)]


def prompt_for(prefix: str, suffix: str = "", client: FakeClient | None = None, **options: object) -> str:
    client = client or FakeClient()
    return plan(client, model_form(client, "fake"), "pkg/a.py", prefix, suffix, **options).prompt  # type: ignore[arg-type]


@given(TEXT)
def test_a_prompt_that_fits_is_the_document_as_trained(prefix: str) -> None:
    made = plan(FakeClient(), model_form(FakeClient(), "fake"), "pkg/a.py", prefix, "", budget=Budget(prompt=4000))
    assert made.prompt + made.held_back == prompts.document("pkg/a.py", prefix)
    assert made.held_back == (" " if prefix.endswith(" ") else "")


@settings(max_examples=60)
@given(prefix=TEXT, limit=st.integers(64, 200))
def test_a_cut_prompt_is_a_document_window_that_begins_at_a_line_start(prefix: str, limit: int) -> None:
    client = FakeClient()
    made = plan(client, model_form(client, "fake"), "pkg/a.py", prefix, "", budget=Budget(prompt=limit))
    window = (made.prompt + made.held_back).removeprefix(prompts.header("pkg/a.py"))
    assert made.prompt + made.held_back == prompts.document("pkg/a.py", window)
    assert prefix.endswith(window)
    start = len(prefix) - len(window)
    assert start == 0 or prefix[start - 1] == "\n" or "\n" not in window
    assert sum(count([made.prompt])) <= limit


def test_neighbouring_cursors_share_the_beginning_of_their_prompts() -> None:
    lines = [f"value_{number} = compute({number})\n" for number in range(400)]
    made = [prompt_for("".join(lines[:end]), budget=Budget(prompt=300)) for end in range(300, 340)]
    shared = sum(later.startswith(earlier) for earlier, later in pairwise(made))
    assert shared >= 30


def test_one_line_longer_than_the_budget_is_cut_inside() -> None:
    window = fit_prefix("x" * 100_000, 100, count)
    assert 0 < len(window) <= 400
    assert set(window) == {"x"}
    assert prompt_for("y = 1\n" + "x" * 100_000, budget=Budget(prompt=128)).endswith("x" * 50)


def test_crlf_files_are_asked_as_trained() -> None:
    assert prompt_for("a = 1\r\nb = ") == prompts.document("pkg/a.py", "a = 1\nb =")


@given(TEXT, st.integers(1, 100))
def test_the_suffix_keeps_whole_lines_from_its_beginning(suffix: str, limit: int) -> None:
    kept = fit_suffix(suffix, limit, count)
    assert suffix.startswith(kept)
    assert kept in (suffix, "") or kept.endswith("\n")
    assert sum(count([kept])) <= limit


def test_fim_models_are_asked_with_their_own_tokens() -> None:
    client = FakeClient(fim_tokens=QWEN)
    assert prompt_for("a = ", "\nb = 2\n", client) == (
        "<|fim_prefix|># pkg/a.py\na = <|fim_suffix|>\nb = 2\n<|fim_middle|>"
    )


@settings(max_examples=60)
@given(
    prefix=TEXT,
    suffix=TEXT,
    family=st.sampled_from([*prompts.FIM_FAMILIES, prompts.TAUGHT_FIM]),
    limit=st.integers(64, 4000),
)
def test_a_fim_prompt_is_the_one_that_training_shows_of_a_window(
    prefix: str, suffix: str, family: prompts.FimTokens, limit: int
) -> None:
    client = FakeClient(fim_tokens=asdict(family))
    made = plan(client, model_form(client, "fake"), "pkg/a.py", prefix, suffix, budget=Budget(prompt=limit))
    before = prefix[made.start :]
    assert made.start == 0 or prefix[made.start - 1] == "\n" or "\n" not in before
    # The suffix is whole lines of what follows; with all of both the prompt is one only.
    shown = [suffix[:end] for end in range(len(suffix) + 1) if end in (0, len(suffix)) or suffix[end - 1] == "\n"]
    asked = [prompts.fim("pkg/a.py", before, after, family) for after in shown]
    assert (made.mode, made.held_back) == ("fim", "")
    assert made.prompt in asked
    assert sum(count([made.prompt])) <= limit + 20
    if limit >= 2500 and count([suffix])[0] <= Budget().suffix:
        assert made.prompt == prompts.fim("pkg/a.py", prefix, suffix, family)


def test_a_fim_answer_ends_where_a_control_token_is_written_out() -> None:
    client = FakeClient("compute(rows)<|file_sep|># other.py\n", fim_tokens=QWEN)
    made = plan(client, model_form(client, "fake"), "pkg/a.py", "total = ", "\n")
    assert generate(client, model_form(client, "fake"), made, 64).text == "compute(rows)"


def test_code_that_spells_control_tokens_is_completed_left_to_right() -> None:
    client = FakeClient(fim_tokens=QWEN)
    prefix = 'TOKEN = "<|fim_suffix|>"\nx ='
    made = plan(client, model_form(client, "fake"), "pkg/a.py", prefix, "\n")
    assert (made.mode, made.prompt) == ("prefix", prompts.document("pkg/a.py", prefix))


@pytest.mark.parametrize("family", prompts.FIM_FAMILIES, ids=lambda family: family.prefix)
def test_what_a_fim_prompt_says_is_code_is_all_but_the_familys_own_tokens(family: prompts.FimTokens) -> None:
    client = FakeClient(fim_tokens=asdict(family))
    form = model_form(client, "fake")
    for prefix, suffix in (('END = "<|endoftext|>"\nx = ', '\nprint("<|im_end|>")\n'), ("x = ", ""), ("", "\n")):
        generate(client, form, plan(client, form, "pkg/a.py", prefix, suffix), 4)
        text, spans = client.prompts[-1], client.verbatim[-1]
        assert client.special[-1]
        code = [text[start:end] for start, end in spans]
        parts = [prompts.completion("pkg/a.py", prefix), suffix]
        assert code == [part for part in (reversed(parts) if family.suffix_first else parts) if part]
        rest = text
        for start, end in reversed(spans):
            rest = rest[:start] + rest[end:]
        assert rest == prompts.infill("", "", family)


def test_retrieved_code_stands_in_front_the_best_next_to_the_file(tmp_path: Path) -> None:
    files = {
        "one.py": "def compute_total(rows):\n    return sum(rows)\n",
        "two.py": "compute_total = rows = total = 1\n",
    }
    retriever = index_of(tmp_path, files)
    found = retriever.retrieve("compute_total(rows)", 2)
    assert len(found) == 2
    prompt = prompt_for("value = compute_total(rows)\n", retriever=retriever)
    assert prompt == prompts.completion("pkg/a.py", "value = compute_total(rows)\n", list(reversed(found)))


def test_retrieval_stays_in_its_budget(tmp_path: Path) -> None:
    files = {f"f{number}.py": f"shared_name = {number}\n" * 12 for number in range(8)}
    prompt = prompt_for("shared_name\n", retriever=index_of(tmp_path, files), budget=Budget(prompt=400, snippets=150))
    assert sum(count([prompt])) <= 400
    assert 1 <= prompt.count("# f") <= 2


def test_too_many_tokens_for_the_context_are_refused() -> None:
    with pytest.raises(HoneError, match="leave no room for a prompt"):
        prompt_for("x", client=FakeClient(context_length=512), max_tokens=500)


def test_a_model_the_gateway_lacks_is_refused() -> None:
    with pytest.raises(UnknownModel, match="does not serve other"):
        model_form(FakeClient(), "other")


def test_many_short_lines_are_sent_in_one_modest_request() -> None:
    asked: list[int] = []

    def counted(texts: Sequence[str]) -> list[int]:
        asked.append(len(texts))
        return count(texts)

    assert fit_prefix("\n" * 100_000, 100, counted) == "\n" * 100
    assert asked == [101]


def index_of(root: Path, files: dict[str, str]) -> Index:
    for path, text in files.items():
        (root / path).write_text(text)
    return context.index(root, list(files))
