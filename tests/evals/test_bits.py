from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evals.bits import Text, file_bits, sample
from evals.errors import HarnessError
from evals.tasks.heldout import HeldOutFile
from tests.evals.eval_fixtures import UniformScorer, load_tokenizer, write_base


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, int]:
    return load_tokenizer(write_base(tmp_path_factory.mktemp("base")))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("ab é名\n\t=", min_size=1, max_size=3000))
def test_every_byte_is_counted_once_and_the_header_is_not(tokenizer: tuple[object, int], text: str) -> None:
    scored = file_bits(Text("pkg/a.py", text), UniformScorer(3.0), *tokenizer)
    assert scored is not None
    size = len(text.encode())
    # One token a byte: a byte counted twice or left out would show.
    assert (scored.bytes, scored.tokens) == (size, size)
    assert scored.bits == pytest.approx(3.0 * size)


def test_a_path_that_leaves_no_room_for_code_is_not_scored(tokenizer: tuple[object, int]) -> None:
    assert file_bits(Text("p" * 2000 + ".py", "x = 1\n"), UniformScorer(1.0), *tokenizer) is None


def test_a_broken_scorer_is_a_fault_and_no_score(tokenizer: tuple[object, int]) -> None:
    with pytest.raises(HarnessError, match="one finite log-probability"):
        file_bits(Text("a.py", "x = 1\n"), UniformScorer(float("nan")), *tokenizer)


def test_texts_are_sampled_by_seed_up_to_the_byte_limit_at_line_ends() -> None:
    files = [HeldOutFile(f"f{number}.py", f"value = {number}\n" * 20, "", 0) for number in range(10)]
    taken = sample(files, 500, seed=1)
    assert taken == sample(files, 500, seed=1)
    assert taken != sample(files, 500, seed=2)
    assert 480 < sum(len(text.text) for text in taken) <= 500
    assert all(text.text.endswith("\n") for text in taken)
    whole = sample(files, 10**6, seed=1)
    assert [(text.path, text.text) for text in whole] == [(file.path, file.text) for file in files]


def test_multi_byte_text_is_cut_between_lines_too() -> None:
    taken = sample([HeldOutFile("a.py", "名名名\n" * 10, "", 0)], 25, seed=0)
    assert [text.text for text in taken] == ["名名名\n" * 2]


def test_a_limit_below_the_first_line_takes_nothing(tmp_path: Path) -> None:
    assert sample([HeldOutFile("a.py", "long line\n", "", 0)], 3, seed=0) == []
