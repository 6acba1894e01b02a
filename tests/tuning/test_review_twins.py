"""Changes that are taught with their bug and without, and verdicts that are sampled."""

import random
from dataclasses import replace

import pytest

from assistant import review_prompt
from tests.tuning.code import module
from tests.tuning.test_mutate import library
from tests.tuning.tiny import make_tokenizer
from tuning.data import prepare
from tuning.examples.plain import IGNORED
from tuning.examples.review import Review, example, reviews, written
from tuning.examples.verdicts import ask
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


@pytest.mark.parametrize("fine", [0, 1, 3])
def test_sampled_verdicts_learn_the_place_and_a_few_others(fine: int):
    for pair in twins(20):
        for review in pair:
            whole = written(review, "verdicts")
            piece = written(review, "verdicts", fine)
            assert piece.text == whole.text
            assert set(piece.supervised) | set(piece.unlearnt) == set(whole.supervised)
            assert not set(piece.supervised) & set(piece.unlearnt)
            places = [whole.supervised[at] for at, index in enumerate(review.hunk.changed) if index in review.place]
            assert set(places) <= set(piece.supervised)
            assert len(piece.supervised) == min(len(places) + fine, len(whole.supervised))
            # Whatever is learnt, the tokens are the ones that a reader sees.
            some, every = (example(review, "verdicts", TOKENIZER, END, 10**6, one) for one in (fine, None))
            assert some is not None
            assert every is not None
            assert some.tokens == every.tokens


def test_a_reader_looks_where_training_learns():
    for clean, wrong in twins(20):
        taught = example(clean, "verdicts", TOKENIZER, END, 10**6)
        assert taught is not None
        asked = ask(clean.hunk, TOKENIZER, END)
        assert asked.tokens == taught.tokens
        fine, bad = asked.choices
        assert len(asked.positions) == len(clean.hunk.changed)
        assert all(taught.labels[position] == fine for position in asked.positions)
        # With the bug, the same place says wrong.
        labels = example(wrong, "verdicts", TOKENIZER, END, 10**6).labels  # type: ignore[union-attr]
        positions = ask(wrong.hunk, TOKENIZER, END).positions
        at = wrong.hunk.changed.index(wrong.wrong[0])
        assert all(labels[position] != IGNORED for position in positions[: at + 1])
        assert labels[positions[at]] == bad
        assert review_prompt.WRONG in written(wrong, "verdicts").text


def test_a_cut_change_keeps_the_place_of_either_twin():
    kept = [0, 0]
    for pair in twins(30):
        for index, review in enumerate(pair):
            found = example(review, "verdicts", TOKENIZER, END, 400, 0)
            if found is not None:
                kept[index] += 1
                assert len(found.tokens) <= 400
                assert len(found.supervised) >= 2
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
            task="review", code_rate=0, review_rate=1, review_form="verdicts", reviews_per_file=2, review_twins=True
        ),
    )


def test_a_reviewer_learns_nothing_but_verdicts_on_twins(plan: Plan):
    data = prepare(plan.corpus.sources, TOKENIZER, plan)
    assert set(data.counts) == {"review"}
    words = [TOKENIZER.decode(list(one.tokens)) for row in data.rows for one in row]
    assert all("ok or wrong?" in text for text in words)
    wrong = sum(f"=>{review_prompt.WRONG}" in text for text in words)
    assert wrong * 2 == pytest.approx(len(words), abs=len(words) * 0.2)
    assert len(data.validation) > 0


def test_the_smaller_side_is_seen_again_with_other_bugs(plan: Plan):
    data = prepare(plan.corpus.sources, TOKENIZER, plan)
    words = [TOKENIZER.decode(list(one.tokens)) for row in data.rows for one in row]
    own = [text for text in words if "own/" in text.split("\n")[0]]
    # Half by bytes: each general file once, its own files about twice as often, never the same example twice.
    assert len(own) == pytest.approx(len(words) / 2, rel=0.35)
    assert len(set(own)) > 0.8 * len(own)
    none = replace(plan, corpus=replace(plan.corpus, replay=0.0, replay_source=None))
    assert prepare(none.corpus.sources, TOKENIZER, none).counts["review"] < len(words)
