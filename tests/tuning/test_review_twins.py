"""Changes that are taught with their bug and without."""

import random
import re
from dataclasses import replace

import pytest

from assistant.review_rewriting import QUESTION, rewriting
from tests.tuning.code import module
from tests.tuning.test_mutate import library
from tests.tuning.tiny import make_tokenizer
from tuning.data import prepare
from tuning.examples.plain import IGNORED
from tuning.examples.review import Review, example, reviews
from tuning.examples.rewritten import ask, before
from tuning.plan import CorpusOptions, ExampleOptions, Plan

TOKENIZER = make_tokenizer()
END = TOKENIZER.get_vocab()["<|endoftext|>"]


def twins(count: int, seed: int = 1) -> list[tuple[Review, Review]]:
    found: list[Review] = []
    generator = random.Random(seed)
    for path in library():
        found += reviews(path.name, path.read_text("utf-8", "replace"), "python", generator, most=6, twins=True)
        if len(found) >= 2 * count:
            break
    return list(zip(found[::2], found[1::2], strict=True))[:count]


def test_twins_are_alike_but_for_the_bug():
    pairs = twins(60)
    assert len(pairs) == 60
    for clean, wrong in pairs:
        assert clean.is_clean
        assert not wrong.is_clean
        assert clean.kind == wrong.kind
        assert clean.hunk.path == wrong.hunk.path
        assert clean.wrong == ()
        assert wrong.place == wrong.wrong
        assert len(clean.place) == 1
        (bug,) = wrong.findings
        shown = {line.number: line.text for line in clean.hunk.lines if line.marker != "-"}
        # What would put the bug right is what the clean twin has in its place.
        if clean.kind in ("added function", "added block") and bug.fix and bug.line in shown:
            assert shown[bug.line] == bug.fix[0]


def test_both_twins_count_as_one():
    path = max(library(), key=lambda path: path.stat().st_size)
    text = path.read_text("utf-8", "replace")
    alone = list(reviews(path.name, text, "python", random.Random(3), most=4))
    assert alone == list(reviews(path.name, text, "python", random.Random(3), most=4))
    both = list(reviews(path.name, text, "python", random.Random(3), most=4, twins=True))
    assert len(both) == 8


def test_a_reader_looks_where_training_learns():
    for clean, wrong in twins(20):
        taught = example(clean, "rewriting", TOKENIZER, END, 10**6)
        assert taught is not None
        asked = ask(clean.hunk, TOKENIZER, END)
        assert asked.tokens == taught.tokens
        assert asked.lines == rewriting(clean.hunk).asked
        read = [TOKENIZER.decode(list(asked.tokens[start:end])) for start, end in asked.spans]
        assert read == list(rewriting(clean.hunk).answers)
        assert {at for start, end in asked.spans for at in range(start, end)} == {
            at for at, label in enumerate(taught.labels[:-1]) if label != IGNORED
        }
        # With the bug, what stands there is not what is learnt, at the very place of the bug.
        learnt = example(wrong, "rewriting", TOKENIZER, END, 10**6)
        assert learnt is not None
        stands = ask(wrong.hunk, TOKENIZER, END)
        at = stands.lines.index(wrong.wrong[0])
        start, end = stands.spans[at]
        assert learnt.tokens[:start] == stands.tokens[:start]
        assert learnt.tokens[start:end] != stands.tokens[start:end]


def test_what_stands_before_a_line_is_cut_where_training_cuts():
    for clean, _ in twins(20):
        asked, made = ask(clean.hunk, TOKENIZER, END), rewriting(clean.hunk)
        for (start, _), (at, _) in zip(made.spans, asked.spans, strict=True):
            assert before(made.text[:start], TOKENIZER) == list(asked.tokens[:at])


def test_a_cut_change_keeps_the_place_of_either_twin():
    kept = [0, 0]
    for pair in twins(30):
        for index, review in enumerate(pair):
            found = example(review, "rewriting", TOKENIZER, END, 400)
            if found is not None:
                kept[index] += 1
                assert len(found.tokens) <= 400
                assert found.supervised
    assert min(kept) > 0


@pytest.fixture
def plan(make_repository, hone_home) -> Plan:
    own = make_repository({f"own/{number}.py": module(number) for number in range(12)}, "first")
    general = make_repository({f"general/{number}.py": module(number) for number in range(100, 130)}, "second")
    return Plan(
        steps=1,
        row_length=700,
        corpus=CorpusOptions(sources=(str(own),), replay=0.5, replay_source=str(general), decontaminate=None),
        examples=ExampleOptions(
            task="review", code_rate=0, review_rate=1, review_form="rewriting", reviews_per_file=2, review_twins=True
        ),
    )


def test_a_reviewer_learns_nothing_but_to_write_lines_of_twins_again(plan: Plan):
    data = prepare(plan.corpus.sources, TOKENIZER, plan)
    assert set(data.counts) == {"review"}
    words = [TOKENIZER.decode(list(one.tokens)) for row in data.rows for one in row]
    halves = [text.split(QUESTION) for text in words]
    assert all(len(parts) == 2 for parts in halves)
    added = [
        [re.sub(r"^\+ *\d+ ", "", line) for line in shown.split("\n") if re.match(r"\+ *\d+ +\S", line)]
        for shown, _ in halves
    ]
    again = [[line.partition(" ")[2] for line in written.split("\n")] for _, written in halves]
    clean = sum(set(shown) <= set(written) for shown, written in zip(added, again, strict=True))
    assert clean * 2 == pytest.approx(len(words), abs=len(words) * 0.2)
    assert len(data.validation) > 0


def test_changes_with_several_bugs_are_taught_where_they_are_asked_for(plan: Plan):
    mixed = replace(plan, examples=replace(plan.examples, review_several=1.0))
    data = prepare(plan.corpus.sources, TOKENIZER, mixed)
    words = [TOKENIZER.decode(list(one.tokens)) for row in data.rows for one in row]
    assert words
    assert words != [
        TOKENIZER.decode(list(one.tokens)) for row in prepare(plan.corpus.sources, TOKENIZER, plan).rows for one in row
    ]


def test_the_smaller_side_is_seen_again_with_other_bugs(plan: Plan):
    data = prepare(plan.corpus.sources, TOKENIZER, plan)
    words = [TOKENIZER.decode(list(one.tokens)) for row in data.rows for one in row]
    own = [text for text in words if "own/" in text.split("\n")[0]]
    # Half by bytes: each general file once, its own files about twice as often, never the same example twice.
    assert len(own) == pytest.approx(len(words) / 2, rel=0.35)
    assert len(set(own)) > 0.8 * len(own)
    none = replace(plan, corpus=replace(plan.corpus, replay=0.0, replay_source=None))
    assert prepare(none.corpus.sources, TOKENIZER, none).counts["review"] < len(words)
