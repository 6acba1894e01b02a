"""Other ways to ask, and how far they move a score."""

from dataclasses import replace

from assistant.prompts import FimTokens
from evals import ablate
from evals.report.schema import Figure, ModelResult, TaskReport
from evals.tasks.base import Ask, Item, Message
from tests.evals.words_task import Words

RAW = Ask("def f():\n", (), ("\ndef",), 8, parse_special=True)
CHAT = Ask(None, (Message("system", "be short"), Message("user", "Write f.\n")), (), 8)


def test_each_way_changes_one_thing() -> None:
    assert ablate.without_last_newline(RAW).prompt == "def f():"
    assert ablate.without_last_newline(CHAT).messages[-1].content == "Write f."
    assert ablate.without_last_newline(CHAT).messages[0] == CHAT.messages[0]
    assert ablate.without_stops(RAW).stop == ()
    assert ablate.other_template(RAW).messages == (Message("user", "def f():\n"),)
    plain = ablate.other_template(CHAT)
    assert plain.prompt == "### System:\nbe short\n\n### Instruction:\nWrite f.\n\n\n### Response:\n"
    assert plain.messages == ()
    for ask in (RAW, CHAT):
        for change in (ablate.without_last_newline, ablate.without_stops, ablate.other_template):
            assert change(ask).max_tokens == ask.max_tokens


def test_a_task_is_asked_in_the_ways_that_differ() -> None:
    ways = ablate.variants(Words(stop=("#",)))
    assert list(ways) == ["stripped newline", "other template", "no stop strings"]
    assert list(ablate.variants(Words())) == ["stripped newline", "other template"]
    task = Words()
    changed = ablate.variants(task)["stripped newline"]
    assert changed.ask(changed.items()[1], None).prompt == "Question 1"
    assert (changed.name, changed.version, changed.items()) == (task.name, task.version, task.items())
    assert list(changed.references()) == list(task.references())


def test_a_way_that_changes_any_item_is_asked() -> None:
    """As random spans, whose prompts end anywhere."""

    class Spans(Words):
        def ask(self, item: Item, fim: FimTokens | None) -> Ask:
            ask = super().ask(item, fim)
            return replace(ask, prompt="x = (") if item.id == "words/0" else ask

    assert "stripped newline" in ablate.variants(Spans())


def test_a_task_may_know_its_own_ways() -> None:
    class Own(Words):
        def variants(self) -> dict[str, Words]:
            return {"louder": Words(chat=True)}

    assert list(ablate.variants(Own())) == ["louder"]


def test_the_spread_is_one_sentence() -> None:
    def model(way: str, value: float) -> ModelResult:
        figure = Figure(value, None, None, 10, "share", "higher", "")
        return ModelResult({"name": f"m ({way})", "variant": way}, {"pass@1": figure}, {}, None, ())

    models = (model("as asked", 0.5), model("stripped newline", 0.34), model("no stop strings", 0.72))
    report = TaskReport("t", "t@1", {"model": "m"}, models, (), (), ())
    assert ablate.spread(report) == (
        "pass@1 of m lies between 34.0 (stripped newline) and 72.0 (no stop strings) in 3 ways of asking: "
        "a spread of 38.0 points"
    )
