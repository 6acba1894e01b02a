"""How much of what a prompt shows fits, and how it is written."""

from hypothesis import given
from hypothesis import strategies as st

from assistant.skills.material import FENCE_TOKENS, NOTE_TOKENS, Material, fenced, fit, from_json, rendered, shares


def words(texts) -> list[int]:
    return [len(text.split()) for text in texts]


@given(st.lists(st.integers(0, 500), max_size=12), st.integers(-5, 2_000))
def test_shares_are_fair_and_within_the_budget(costs: list[int], budget: int):
    granted = shares(costs, budget)
    assert sum(granted) <= max(budget, 0)
    assert all(0 <= one <= cost for one, cost in zip(granted, costs, strict=True))
    if sum(costs) <= budget:
        assert granted == costs
    else:
        cut = [one for one, cost in zip(granted, costs, strict=True) if one < cost]
        assert max(cut) - min(cut) <= 1
        assert max(granted) <= max(cut)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(0, 300))
def test_what_is_cut_is_cut_at_lines_and_says_so(sizes: list[int], budget: int):
    materials = [
        Material("file", f"f{i}.py", "".join(f"a{i} b c\n" for _ in range(size)), f"f{i}.py", 1)
        for i, size in enumerate(sizes)
    ]
    fitted = fit(materials, budget, words)
    # What nothing fits of is still named.
    used = sum(words([rendered("", [one])])[0] for one in fitted if one.text)
    assert used <= max(budget, 0)
    for before, after in zip(materials, fitted, strict=True):
        assert before.text.startswith(after.text)
        assert after.text == "" or after.text.endswith("\n")
        assert bool(after.note) == (after.text != before.text)


def test_a_cut_names_the_lines_left_out():
    text = "".join(f"line {number} of it\n" for number in range(10, 110))
    [one] = fit([Material("file", "a.py, lines 10-109", text, "a.py", 10)], 103 + FENCE_TOKENS + NOTE_TOKENS, words)
    assert one.text.count("\n") == 25
    assert one.note == "lines 35-109 left out for lack of room"


def test_a_text_cannot_end_its_fence():
    assert fenced("a\n```\nb\n````\n", "py").splitlines() == ["`````py", "a", "```", "b", "````", "`````"]


def test_a_message_has_the_question_first_then_each_material_with_its_title():
    materials = [
        Material("file", "a.py, lines 1-2", "x = 1\n", "a.py", 1, note="line 2 left out"),
        Material("diff", "Changes", "+x\n"),
    ]
    assert rendered("Why?", materials) == (
        "Why?\n\na.py, lines 1-2:\n```python\nx = 1\n```\n(line 2 left out)\n\nChanges:\n```diff\n+x\n```"
    )


@given(
    st.builds(Material, st.sampled_from(["file", "diff", "input"]), st.text(), st.text(), st.text(), st.integers(0, 9))
)
def test_a_material_comes_back_from_json(one: Material):
    assert from_json(one.as_json()) == one


def test_anything_else_is_no_material():
    assert from_json({"kind": "other"}) is None
    assert from_json("file") is None
