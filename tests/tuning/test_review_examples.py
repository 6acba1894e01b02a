import functools
import math
import random
import re
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import review_context, review_prompt
from assistant.review_prompt import Finding, Hunk, HunkLine
from assistant.review_rewriting import QUESTION, UNJUDGED, judge, log_odds, rewriting
from tests.tuning.test_mutate import SAMPLES, library, sample
from tests.tuning.tiny import make_tokenizer
from tuning.examples.mutate import OPERATORS
from tuning.examples.review import Form, Review, example, reviews, tokenized, written

TOKENIZER = make_tokenizer()
END = TOKENIZER.get_vocab()["<|endoftext|>"]
FORMS: tuple[Form, ...] = ("findings", "rewriting")


def shown_path(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@functools.cache
def original(path: str) -> list[str]:
    (found,) = [file for file in library() if shown_path(file) == path]
    return found.read_text("utf-8", "replace").split("\n")


@functools.cache
def many(count: int, clean_share: float = 0.5, seed: int = 1, most_lines: int = 60) -> tuple[Review, ...]:
    """Reviews of standard-library functions."""
    generator = random.Random(seed)
    files = library()
    generator.shuffle(files)
    found: list[Review] = []
    for path in files:
        text = path.read_text("utf-8", "replace")
        found += reviews(
            shown_path(path), text, "python", generator, most=12, clean_share=clean_share, most_lines=most_lines
        )
        if len(found) >= count:
            break
    return tuple(found[:count])


def new_lines(hunk: Hunk) -> dict[int, str]:
    return {line.number: line.text for line in hunk.lines if line.marker != "-"}


def test_the_bug_is_in_added_lines_and_the_fix_undoes_it():
    found = many(120, clean_share=0)
    assert len(found) == 120
    for review in found:
        (index,) = review.wrong
        assert review.hunk.lines[index].marker == "+"
        (finding,) = review.findings
        assert finding.line == review.hunk.lines[index].number
        assert finding.bug_class == OPERATORS[review.operator].bug_class
        # With the fix in place of the finding's lines, the file's lines stand there as they were.
        file = original(review.hunk.path)
        assert tuple(file[finding.line - 1 : finding.line - 1 + len(finding.fix)]) == finding.fix
        shown = new_lines(review.hunk)
        assert [shown[number] for number in range(min(shown), finding.line)] == file[min(shown) - 1 : finding.line - 1]
        grown = len(finding.fix) - (finding.last - finding.line + 1)
        for number in range(finding.last + 1, max(shown) + 1):
            assert shown[number] == file[number - 1 + grown]


def test_clean_changes_show_the_file_as_it_is():
    for review in many(120, clean_share=1):
        assert review.is_clean
        assert review.wrong == ()
        assert review.operator == ""
        for number, text in new_lines(review.hunk).items():
            assert original(review.hunk.path)[number - 1] == text


def test_neither_kind_nor_length_of_a_change_tells_its_label():
    found = many(400)
    kinds = {clean: Counter(review.kind for review in found if review.is_clean is clean) for clean in (True, False)}
    total = {clean: sum(kinds[clean].values()) for clean in kinds}
    assert abs(total[True] - total[False]) < 90
    assert set(kinds[True]) == set(kinds[False]) == {"added function", "added block", "edit", "rename"}
    for kind in kinds[True]:
        assert abs(kinds[True][kind] / total[True] - kinds[False][kind] / total[False]) < 0.15, kind
    sizes = {
        clean: [len(review.hunk.changed) for review in found if review.is_clean is clean] for clean in (True, False)
    }
    means = {clean: sum(values) / len(values) for clean, values in sizes.items()}
    assert 0.7 < means[True] / means[False] < 1.4


def test_an_edit_shows_the_old_lines_and_may_go_either_way():
    edits = [review for review in many(400) if review.kind == "edit"]
    assert {review.is_clean for review in edits} == {True, False}
    for review in edits:
        assert {"+", "-"} <= {line.marker for line in review.hunk.lines}


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_reviews_of_every_language(language: str):
    path = f"src/{SAMPLES[language].name}"
    found = [
        review
        for seed in range(30)
        for review in reviews(path, sample(language), language, random.Random(seed), clean_share=0)
    ]
    assert found
    assert any(review.hunk.imports for review in found) or language in ("go", "rust", "java", "c", "cpp")
    assert {review.kind for review in found} > {"added block", "edit"}


def test_the_same_generator_gives_the_same_reviews_and_held_out_operators_seed_none():
    one, again = many(20), many(20)
    assert one == again
    assert one != many(20, seed=2)
    text = sample("python")
    for seed in range(10):
        for review in reviews("a.py", text, "python", random.Random(seed), operators=["missing-await"], clean_share=0):
            assert review.operator == "missing-await"
    with pytest.raises(ValueError, match="nothing-like-it"):
        list(reviews("a.py", text, "python", random.Random(0), operators=["nothing-like-it"]))


def test_long_changes_are_cut_at_whole_lines_with_a_note():
    short = 20
    found = many(200, most_lines=short)
    cut = [review for review in found if review.hunk.cut]
    assert cut
    assert all(len(review.hunk.lines) <= short for review in found)
    for review in cut:
        assert f"({review.hunk.cut} more line" in review_prompt.hunk_text(review.hunk)
        # Context went first.
        assert review.hunk.lines[0].marker != " "


HUNK = Hunk(
    "pkg/store.py",
    ("import os",),
    ("class Store:",),
    (
        HunkLine(" ", 8, "    def read(self, path):"),
        HunkLine("-", 9, "        if path is None:"),
        HunkLine("+", 9, "        if path:"),
        HunkLine("+", 10, ""),
        HunkLine(" ", 11, "            return None"),
    ),
)


def test_the_prompt_names_file_imports_and_enclosing_heads_and_numbers_new_lines():
    assert review_prompt.findings_prompt(HUNK) == (
        "# pkg/store.py\nimport os\nclass Store:\n@@\n"
        "  8     def read(self, path):\n"
        "-           if path is None:\n"
        "+ 9         if path:\n"
        "+10\n"
        " 11             return None\n"
        "@@\nReview the changed lines. Answer ok, or each wrong line with its class, the reason and the fix.\n"
    )


def test_every_added_line_that_is_not_blank_is_written_again():
    asked = rewriting(HUNK)
    assert asked.text == f"{review_prompt.hunk_text(HUNK)}{QUESTION}9         if path:\n"
    assert (asked.asked, asked.answers) == ((2,), ("         if path:\n",))
    fixed = rewriting(HUNK, {2: ("        if path is None:",)})
    assert fixed.answers == ("         if path is None:\n",)
    assert fixed.texts == asked.texts
    assert "".join(map("".join, zip(asked.texts, asked.answers, strict=True))) == asked.text


REMOVED = Hunk(
    "x.py",
    (),
    (),
    (
        HunkLine(" ", 1, "def f(a):"),
        HunkLine("-", 2, ""),
        HunkLine("-", 2, "    check(a)"),
        HunkLine("-", 2, "    log(a)"),
        HunkLine(" ", 2, "    return g(a)"),
        HunkLine("+", 3, "    b = a"),
        HunkLine("-", 4, "    last()"),
    ),
)


def test_a_removal_is_judged_by_the_line_below():
    asked = rewriting(REMOVED, {4: ("    check(a)", "    return g(a)")})
    assert (asked.asked, asked.answers) == ((4, 5), ("     check(a)\n     return g(a)\n", "     b = a\n"))
    assert [judge(REMOVED, index) for index in REMOVED.changed] == [4, None, 5, None]
    likely, unlikely = [math.log(0.9)], [math.log(0.5), math.log(0.5)]
    odds = log_odds(REMOVED, (4, 5), [unlikely, likely])
    assert odds == pytest.approx((math.log(3), UNJUDGED, math.log(1 / 9), UNJUDGED))


@given(st.floats(-80, 0))
def test_log_odds_are_those_of_the_probability(logprob: float):
    (odds,) = log_odds(HUNK, (2,), [[logprob]])[1:]
    p = math.exp(logprob)
    if 1e-12 < p < 1 - 1e-5:
        assert odds == pytest.approx(math.log((1 - p) / p), abs=1e-6)
    assert math.isfinite(odds)


def test_what_is_taught_at_wrong_lines_is_the_fix():
    for review in many(60):
        made = written(review, "rewriting")
        fixed = [line.rstrip() for finding in review.findings for line in finding.fix if line.strip()]
        asked = rewriting(review.hunk)
        learnt = "".join(made.text[start:end] for start, end in made.supervised)
        if review.is_clean:
            assert made.text == asked.text
            continue
        assert made.text.startswith(review_prompt.hunk_text(review.hunk))
        assert all(f" {line}\n" in learnt for line in fixed)
        if fixed:
            assert made.text != asked.text


def test_answers_are_read_back():
    findings = [
        Finding(9, 9, "inverted-condition", "the condition is the wrong way round", ("        if path is None:", "")),
        Finding(12, 14, "missing-check", "no check"),
    ]
    answer = review_prompt.findings_answer(findings)
    assert answer.startswith("9 inverted-condition: the condition is the wrong way round\n=         if path is None:\n")
    assert review_prompt.read_findings(answer) == findings
    assert review_prompt.read_findings(review_prompt.findings_answer([])) == []
    assert review_prompt.read_findings("ok") == []
    assert review_prompt.read_findings("I think that all is well.\n") is None
    assert review_prompt.read_findings("= x\n") is None
    assert review_prompt.read_findings("") is None
    assert review_prompt.read_findings("9 off-by-one: too far\n=     for i in ra") == [
        Finding(9, 9, "off-by-one", "too far")
    ]


ANSWERS = st.lists(
    st.builds(
        Finding,
        line=st.just(3),
        last=st.integers(3, 9),
        bug_class=st.from_regex(r"[a-z]+(-[a-z]+)*", fullmatch=True),
        reason=st.text(alphabet="ab:=- é", min_size=1).map(lambda text: " ".join(text.split())).filter(bool),
        fix=st.lists(st.text(alphabet=" ab=1:", max_size=12).map(str.rstrip), max_size=3).map(tuple),
    ),
    max_size=3,
)


@given(findings=ANSWERS)
def test_any_answer_is_read_back(findings: list[Finding]):
    assert review_prompt.read_findings(review_prompt.findings_answer(findings)) == findings


@given(answer=st.text(alphabet="ok19 -:=\nab", max_size=60))
def test_no_answer_breaks_the_reader(answer: str):
    found = review_prompt.read_findings(answer)
    assert found is None or all(finding.line >= 0 and finding.bug_class for finding in found)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_learnt_is_the_answer_and_nothing_else(form: Form):
    for review in many(30):
        piece = written(review, form)
        learnt = [piece.text[start:end] for start, end in piece.supervised]
        if form == "rewriting":
            assert 0 < len(learnt) <= len(rewriting(review.hunk).asked)
            assert all(text.endswith("\n") for text in learnt)
        else:
            assert learnt == [review_prompt.findings_answer(review.findings)]
            assert piece.text.endswith(learnt[0])
        made = tokenized(piece, TOKENIZER, END)
        assert made.tokens[-1] == END
        assert TOKENIZER.decode(made.tokens[:-1]) == piece.text
        spans = [TOKENIZER.decode([token for token in made.tokens[a:b] if token != END]) for a, b in made.supervised]
        assert [text for text in spans if text] == learnt
        assert made.supervised[-1][1] == len(made.tokens)
        assert made.text_bytes == sum(len(text.encode()) for text in learnt)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), row_length=st.integers(60, 600), form=st.sampled_from(FORMS))
def test_examples_fit_their_row_and_keep_the_wrong_line(seed: int, row_length: int, form: Form):
    path = library()[seed % len(library())]
    text = path.read_text("utf-8", "replace")
    for review in reviews(path.name, text, "python", random.Random(seed), most=2):
        made = example(review, form, TOKENIZER, END, row_length)
        if made is None:
            continue
        assert len(made.tokens) <= row_length
        learnt = "".join(TOKENIZER.decode(made.tokens[start:end]) for start, end in made.supervised)
        if form == "findings":
            assert learnt.startswith("ok\n") is review.is_clean


@pytest.mark.model
def test_the_text_tokenizes_as_a_whole_with_the_embedded_model(embedded_store: Path):
    """So a line begins with the token that it has in the change."""
    from transformers import AutoTokenizer

    (folder,) = [path for path in (embedded_store / "tuning").iterdir() if path.is_dir()]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.get_vocab()["<|endoftext|>"]
    for review in many(40):
        piece = written(review, "rewriting")
        made = tokenized(piece, tokenizer, end)
        whole = tokenizer(piece.text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert list(made.tokens[:-1]) == whole


CODE = """\
import os
from sys import (
    argv,
    path as search,
)
import re


class Store(
    Base,
):
    # a comment
    def read(self, name):
        if name:
            x = os.stat(name)
            return search(x)

        return None

    def other(self):
        return 1
"""


def test_the_context_of_a_change():
    lines = CODE.split("\n")
    hunk = review_context.build("pkg/a.py", lines, {16}, {16: ["            return x"]})
    assert hunk.imports == ("import os", "from sys import path as search")
    assert hunk.enclosing == ("class Store( Base, ):",)
    assert hunk.lines[0] == HunkLine(" ", 13, "    def read(self, name):")
    assert [line.number for line in hunk.lines if line.marker != " "] == [16, 16]
    assert hunk.lines[-1].text == "        return None" or hunk.lines[-1].number == 16


def test_a_change_at_the_end_of_a_file_and_removals_alone():
    hunk = review_context.build("a.py", ["x = 1", "y = 2"], set(), {3: ["z = 3"]})
    assert [(line.marker, line.number, line.text) for line in hunk.lines] == [
        (" ", 1, "x = 1"),
        (" ", 2, "y = 2"),
        ("-", 3, "z = 3"),
    ]
    with pytest.raises(ValueError, match="changed"):
        review_context.build("a.py", ["x = 1"], set(), {})


@pytest.mark.parametrize(
    ("path", "text", "shown", "expected"),
    [
        ("a.ts", 'import { a, b } from "./x";\nimport c from "c";\n', "a(1)", ('import { a, b } from "./x";',)),
        ("a.js", 'const fs = require("fs");\n', "fs.read()", ('const fs = require("fs");',)),
        ("a.go", 'import (\n\t"fmt"\n\tx "a/errors"\n)\n', "errors.New()", ('x "a/errors"',)),
        ("a.rs", "use std::fs;\nuse std::io::{self, Read};\n", "fs::read", ("use std::fs;",)),
        ("A.java", "import java.util.List;\nimport java.io.File;\n", "List<String>", ("import java.util.List;",)),
        ("a.c", "#include <stdio.h>\n#include <b.h>\n", "printf", ("#include <stdio.h>", "#include <b.h>")),
        ("a.sql", "select 1;\n", "select", ()),
    ],
)
def test_imports_of_other_languages(path: str, text: str, shown: str, expected: tuple[str, ...]):
    from assistant.languages import language_of

    language = language_of(path)
    assert language
    assert review_context.imports_used(text, language.name, shown) == expected


@given(
    lines=st.lists(st.sampled_from(["def f():", "    a = 1", "", "        b(2)", "    }", "class C:"]), max_size=30),
    data=st.data(),
)
def test_a_hunk_shows_every_changed_line_in_order(lines: list[str], data: st.DataObject):
    numbers = st.integers(1, max(len(lines), 1))
    added = data.draw(st.sets(numbers, max_size=4)) if lines else set()
    removed = data.draw(st.dictionaries(st.integers(1, len(lines) + 1), st.just(["old"]), max_size=3))
    if not added and not removed:
        return
    hunk = review_context.build("a.py", lines, added, removed, most_lines=1_000)
    assert {line.number for line in hunk.lines if line.marker == "+"} == added
    assert {line.number for line in hunk.lines if line.marker == "-"} == set(removed)
    shown = [line for line in hunk.lines if line.marker != "-"]
    assert [line.text for line in shown] == [lines[line.number - 1] for line in shown]
    assert [line.number for line in shown] == sorted({line.number for line in shown})
    assert re.fullmatch(r"# a\.py\n(?:.*\n)*@@\n(?:[-+ ].*\n)*@@\n", review_prompt.hunk_text(hunk))


def test_the_standard_library_is_there():
    assert Path(sysconfig.get_path("stdlib")).is_dir()
    assert len(library()) > 50
