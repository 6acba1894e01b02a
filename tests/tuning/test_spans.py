import ast
import inspect
import json
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.syntax import parse
from tests.tuning.samples import PYTHON, SAMPLES
from tuning.examples import spans

TEXT = st.text(alphabet="ab(){}:;=,.\n\n \t\"'#é日🙂", max_size=300)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=TEXT,
    language=st.sampled_from([*SAMPLES, "ruby"]),
    seed=st.integers(0, 999),
    cuts=st.tuples(*[st.integers(0, 300)] * 2),
)
def test_spans_are_in_range_bounded_and_never_blank(text: str, language: str, seed: int, cuts: tuple[int, int]):
    start, end = sorted(min(cut, len(text)) for cut in cuts)
    span = spans.choose(text, (start, end), parse(text, language), Random(seed), 0.7, max_characters=40)
    if span is None:
        # Eight draws may all miss a lonely character, but not a text without blanks.
        assert start == end or any(letter.isspace() for letter in text[start:end])
        return
    assert start <= span[0] < span[1] <= end
    assert span[1] - span[0] <= 40
    assert text[slice(*span)].strip()


@pytest.mark.parametrize("language", SAMPLES)
def test_nodes_are_whole_pieces_of_code_in_each_language(language: str):
    text = SAMPLES[language]
    syntax = parse(text, language)
    assert syntax is not None
    assert not syntax.root.has_error
    random = Random(5)
    found = {spans.node_span(syntax, (0, len(text)), random) for _ in range(400)}
    pieces = {text[slice(*span)] for span in found if span is not None}
    assert len(pieces) > 12
    assert any("\n" in piece for piece in pieces)
    for piece in pieces:
        assert piece == piece.strip()
        assert [piece.count(mark) for mark in "([{"] == [piece.count(mark) for mark in ")]}"], piece


def test_nodes_of_non_ascii_python_are_what_its_own_parser_finds():
    syntax = parse(PYTHON, "python")
    assert syntax is not None
    known = {ast.get_source_segment(PYTHON, node) for node in ast.walk(ast.parse(PYTHON))}
    random = Random(1)
    start = PYTHON.index("def names")
    for _ in range(50):
        span = spans.node_span(syntax, (start, len(PYTHON)), random)
        assert span is not None
        piece = PYTHON[slice(*span)]
        # Argument lists and comprehension clauses are no nodes of Python's own tree.
        assert piece in known or piece.startswith(("(", "for ", "if ")), piece


def test_nodes_with_syntax_errors_are_left_out():
    good = inspect.getsource(json.JSONDecoder.decode)
    text = f"class Broken(:\n    x = = 3 +\n\nclass Fine:\n{good}"
    syntax = parse(text, "python")
    assert syntax is not None
    assert syntax.root.has_error
    random = Random(2)
    bad = text.index("x = = 3")
    chosen = [spans.node_span(syntax, (0, len(text)), random) for _ in range(200)]
    found = [span for span in chosen if span is not None]
    assert found
    assert not any(start <= bad < end for start, end in found)


def test_nodes_of_a_window_stay_in_it():
    text = inspect.getsource(json.decoder)
    syntax = parse(text, "python")
    assert syntax is not None
    within = (1000, 2500)
    for seed in range(100):
        span = spans.node_span(syntax, within, Random(seed))
        assert span is None or within[0] <= span[0] < span[1] <= within[1]


def test_line_spans_begin_where_a_cursor_stands_and_end_at_line_ends():
    text = inspect.getsource(json.decoder)
    for seed in range(200):
        span = spans.line_span(text, (0, len(text)), Random(seed))
        assert span is not None
        start, end = span
        assert not text[text.rfind("\n", 0, start) + 1 : start].strip()
        assert end == len(text) or text[end] == "\n"
        assert text[start:end].count("\n") < spans.MAX_LINES


def test_languages_without_a_grammar_use_lines_and_characters():
    text = "puts 'hello'\nputs 'world'\n"
    assert parse(text, "ruby") is None
    kinds = {spans.choose(text, (0, len(text)), None, Random(seed), aligned=1) for seed in range(50)}
    assert kinds == {(0, 12), (13, 25), (0, 25)}


def test_equal_seeds_choose_equal_spans():
    def chosen(seed: int) -> list[spans.Span | None]:
        random = Random(seed)
        syntax = parse(PYTHON, "python")
        return [spans.choose(PYTHON, (0, len(PYTHON)), syntax, random) for _ in range(20)]

    assert chosen(4) == chosen(4)
    assert chosen(4) != chosen(5)


def test_typescript_with_and_without_jsx_parses():
    jsx = parse(SAMPLES["typescript"], "typescript")
    cast = parse("const x = <number>value;\nconst f = <T>(y: T) => y;\n", "typescript")
    assert jsx is not None
    assert cast is not None
    assert not jsx.root.has_error
    assert not cast.root.has_error
