"""From a command of the chat to the whole command line, and back from an edited one."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import UsageError
from tests.tui.test_ops_requests import KNOWN, NOTHING, OLD, SHOP
from tui.chat.ops import lines
from tui.chat.ops.outcome import laid_out, next_steps

MEASURED = replace(KNOWN, reports={(SHOP, OLD): "/jobs/1/reports"}, passed={SHOP: "/jobs/1/decision.json"})
OUTSIDE = replace(KNOWN, in_git=lambda path: False)


@pytest.mark.parametrize(
    ("name", "argument", "line"),
    [
        ("train", "", "hone tune . --name store --then eval --detach"),
        ("train", "src --minutes 10", "hone tune src --minutes 10 --name store --then eval --detach"),
        ("train", "src --name cart --then gate --detach", "hone tune src --name cart --then gate --detach"),
        ("train", "src --dry-run", "hone tune src --dry-run --name store"),
        ("train", "--help", "hone tune --help"),
        ("eval", "", f"hone eval repo --model {OLD} --model {SHOP} --repo . --detach"),
        ("eval", "humaneval --limit 5", f"hone eval humaneval --limit 5 --model {OLD} --model {SHOP} --detach"),
        ("eval", "repo --model shop --repo lib", "hone eval repo --model shop --repo lib --detach"),
        ("gate", "", f"hone gate {SHOP} --against {OLD} --tasks repo --repo . --detach"),
        ("gate", "old", "hone gate old --against smollm2-135m --tasks repo --repo . --detach"),
        ("gate", "shop --against=champion --tasks mbpp", "hone gate shop --against=champion --tasks mbpp --detach"),
        ("rollback", "live", "hone models rollback live"),
        ("models", "show shop", "hone models show shop"),
        ("doctor", "", "hone doctor"),
    ],
)
def test_what_was_left_out_is_filled_in(name: str, argument: str, line: str):
    assert lines.completed(name, lines.words_of(argument), KNOWN).text == line


def test_evidence_that_is_there_is_used():
    gate = lines.completed("gate", ["shop"], MEASURED)
    assert gate.text == f"hone gate shop --against {OLD} --report /jobs/1/reports --detach"
    promoted = lines.completed("promote", [], MEASURED)
    assert promoted.text == f"hone models promote {SHOP} --evidence /jobs/1/decision.json"
    assert promoted.note == f"champion is {OLD} now"


def test_what_should_be_known_before_is_said():
    assert "no gate has passed" in lines.completed("promote", ["shop"], KNOWN).note
    assert "is refused without --force" in lines.completed("promote", ["shop"], KNOWN).note
    assert "the registry will say so" in lines.completed("promote", ["shop", "--force"], KNOWN).note
    outside = lines.completed("train", ["src"], OUTSIDE)
    assert "--then" not in outside.words
    assert "not measured" in outside.note
    assert "champion is old@" in lines.completed("rollback", [], KNOWN).note


def test_without_an_adapter_there_is_nothing_to_promote():
    with pytest.raises(UsageError, match="/train"):
        lines.completed("promote", [], NOTHING)
    with pytest.raises(UsageError, match="/train"):
        lines.completed("gate", [], NOTHING)
    assert lines.completed("eval", [], NOTHING).text == "hone eval repo --model smollm2-135m --repo . --detach"


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("train", "--minutes soon"),
        ("train", "--name cart --resume"),
        ("eval", "--limit x"),
        ("gate", "shop --no-such"),
        ("gate", "nobody"),
        ("promote", "a b"),
    ],
)
def test_an_argument_that_the_command_does_not_take_is_refused(name: str, argument: str):
    with pytest.raises(UsageError):
        lines.completed(name, lines.words_of(argument), KNOWN)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has to begin with"),
        ("hone", "has to begin with"),
        ("rm -rf /", "has to begin with"),
        ("hone chat hello", "not run from the chat"),
        ("hone serve", "not run from the chat"),
        ("hone tune src --name x", "--detach"),
        ("hone eval repo", "--detach"),
        ("hone jobs logs x --follow", "Jobs screen"),
        ("hone doctor '", "cannot be read"),
    ],
)
def test_an_edited_line_is_checked(text: str, why: str):
    with pytest.raises(UsageError, match=why):
        lines.read(text)


@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12), max_size=6))
def test_a_line_is_read_back_as_it_was_shown(words: list[str]):
    shown = lines.Line(("tune", *words, "--detach"))
    assert lines.read(shown.text) == shown.words
    assert shlex.split(shown.text) == ["hone", *shown.words]


@pytest.mark.parametrize("line", ["doctor", "models", "models show x", "models --json", "jobs logs x", "tune --help"])
def test_what_only_looks_needs_no_question(line: str):
    assert lines.only_looks(line.split())


@pytest.mark.parametrize(
    "line",
    ["models promote x", "models rollback", "models rm x", "feedback forget --all", "jobs stop x", "jobs rm x",
     "tune src", "eval repo", "gate x", "feedback export f", "models pull m"],
)  # fmt: skip
def test_what_changes_something_is_asked_first(line: str):
    assert not lines.only_looks(line.split())


TUNED = {"adapter": SHOP, "base": "smollm2-135m"}
REPORT = {"tasks": [{"models": [{"facts": {"name": OLD}}, {"facts": {"name": SHOP}}]}]}


def offered(state: str, **told: dict[str, object]) -> list[str]:
    return [step.line.strip() for step in next_steps(state, "1qgt0001", told)]  # type: ignore[arg-type]


def test_the_next_step_follows_from_what_is_known():
    assert offered("done", tune=TUNED)[0] == f"/eval repo --model smollm2-135m --model {SHOP}"
    assert offered("done", tune=TUNED, eval=REPORT)[0] == f"/gate {SHOP}"
    assert offered("done", eval=REPORT) == [f"/gate {SHOP}", f"/compare {OLD} {SHOP}"]
    passed = {"outcome": "pass", "candidate": SHOP, "against": OLD}
    assert offered("done", gate=passed) == [f"/promote {SHOP}", f"/compare {OLD} {SHOP}"]
    assert offered("failed", tune=TUNED, gate={**passed, "outcome": "regression"}) == [f"/compare {OLD} {SHOP}"]
    assert offered("done", tune=TUNED, gate=passed, promote={"event": "promoted"})[0] == "/model champion"
    assert offered("stopped") == ["hone jobs resume 1qgt0001"]
    assert offered("done") == []


def test_a_table_fits_or_becomes_blocks():
    rows = [["repo@3", "base", "shop"], ["exact match", "12.0 %", "31.5 %"]]
    assert laid_out(rows, 40) == "repo@3       base    shop\nexact match  12.0 %  31.5 %"
    assert laid_out(rows, 20) == "repo@3\nexact match\n  base: 12.0 %\n  shop: 31.5 %"
    wide = [["repo@3", "漢字", "shop"], ["exact match", "12.0 %", "31.5 %"]]
    assert laid_out(wide, 40) == "repo@3       漢字    shop\nexact match  12.0 %  31.5 %"
