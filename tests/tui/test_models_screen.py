"""The Models screen: what its keys do with a real registry, real files, and a hub on loopback."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Markdown, Static

from assistant.errors import HoneError
from assistant.models import store
from assistant.models.registry import AdapterVersion, Registry
from tests.fake_hub import FakeHub
from tests.small_models import folder_files
from tests.tui import models_here
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import FakeClient, Script, loaded_client
from tui.app import HoneApp
from tui.ask import Prompt, Question
from tui.chat.comparing import Comparison
from tui.chat.models import ModelTarget
from tui.jobs.form import JobForm
from tui.models import choose, measured, uses, verbs
from tui.models.compare import CompareScreen, sharing
from tui.models.gathered import gather
from tui.models.rows import tree
from tui.models.screen import ModelsScreen
from tui.models.shown import ModelTree
from tuning.jobs.spec import Step

LARGE = 6_000_000
"""Numbers of 4 bytes."""
TOLD: list[str] = []


@pytest.fixture(autouse=True)
def notified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications go after some seconds, which a slow machine may take to look."""
    notify = HoneApp.notify

    def both(self: HoneApp, message: str, **options: Any) -> None:
        TOLD.append(message)
        notify(self, message, **options)

    TOLD.clear()
    monkeypatch.setattr(HoneApp, "notify", both)


@pytest.fixture
def versions(hone_home: Path) -> list[AdapterVersion]:
    """Two versions of `shop`, the older one live, and one of `bill`."""
    base = models_here.base()
    other = models_here.version("bill", 3, base, before=0.7, after=0.71, day=1)
    made = [models_here.version("shop", 1, base, day=2), models_here.version("shop", 2, base, after=0.512, day=3)]
    Registry().promote(made[0].id, actor="ada")
    return [*made, other]


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)
    await pilot.pause()


def screen(pilot: Pilot[None]) -> ModelsScreen:
    return next(one for one in pilot.app.screen_stack if isinstance(one, ModelsScreen))


def listed(pilot: Pilot[None]) -> str:
    return "\n".join(str(option.prompt) for option in screen(pilot).query_one(ModelTree).options)


def text(pilot: Pilot[None], selector: str) -> str:
    """Without its line breaks."""
    return " ".join(str(screen(pilot).query_one(selector, Static).content).split())


def told(pilot: Pilot[None]) -> str:
    """All that was ever notified."""
    return "\n".join(TOLD)


async def opened(pilot: Pilot[None], expected: str = "shop") -> None:
    await pilot.press("f6")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen))
    await until(pilot, lambda: any(expected in str(one.id) for one in screen(pilot).query_one(ModelTree).options))
    await until(pilot, lambda: "reading" not in text(pilot, "#model-facts"))


async def chosen(pilot: Pilot[None], name: str, shown: str = "") -> None:
    await screen(pilot).visit(name)
    await until(pilot, lambda: (shown or name) in text(pilot, "#model-head"))
    await until(pilot, lambda: "reading" not in text(pilot, "#model-facts"))


async def answered(pilot: Pilot[None], kind: type[Prompt] | type[Question], key: str) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind))
    await pilot.press(key)
    await until(pilot, lambda: not isinstance(pilot.app.screen, kind))


async def test_the_tree_tells_what_is_live_and_the_facts_what_it_was_made_from(
    make_app: MakeApp, versions: list[AdapterVersion]
):
    old, new, _ = versions
    models_here.measured("1qgt0001", (models_here.BASE, "b" * 64), (old.id, old.digest))
    async with make_app(loaded_client()).run_test(size=(160, 48)) as pilot:
        await opened(pilot)
        lines = listed(pilot).splitlines()
        assert "acme/coder" in lines[0]
        # The adapter with the newest version first.
        assert [line.split()[1] for line in lines if "version" in line] == ["shop", "bill"]
        assert f"★ {old.digest[:12]}" in listed(pilot)
        assert "0.512  −23%" in listed(pilot)
        assert "0.710  +1%" in listed(pilot)
        # What is live is chosen first.
        assert old.id in text(pilot, "#model-head")
        facts = text(pilot, "#model-facts")
        for expected in ("0.668 → 0.547", "shop/src", "dfeebd4d", "12 train, 2 validation, 3 held out", "98.0%"):
            assert expected in facts
        assert "whole, and fits its base" in facts
        assert "live as champion" in facts
        assert "humaneval" in facts
        assert "+11.0" in facts
        assert old.digest in facts
        await chosen(pilot, new.id[:-3], new.id)
        assert new.digest in text(pilot, "#model-facts")
        await chosen(pilot, models_here.BASE)
        assert "3 adapter versions need it" in text(pilot, "#model-facts")
        await chosen(pilot, "champion", old.id)
        await screen(pilot).visit("nothing")
        await until(pilot, lambda: "no model here is called nothing" in told(pilot))


async def test_promotes_with_the_gates_decision_as_evidence_and_rolls_back(
    make_app: MakeApp, versions: list[AdapterVersion]
):
    old, new, _ = versions
    made = models_here.measured("1qgt0001", (old.id, old.digest), (new.id, new.digest))
    models_here.decided(made, new.id, old.id)
    async with make_app(loaded_client()).run_test(size=(160, 48)) as pilot:
        await opened(pilot)
        await chosen(pilot, new.id)
        assert f"pass against {old.id}" in text(pilot, "#model-facts")
        await pilot.press("p")
        await answered(pilot, Prompt, "enter")
        await until(pilot, lambda: Registry().find("champion") == new)
        await until(pilot, lambda: f"★ {new.digest[:12]}" in listed(pilot))
        promoted = Registry().history("champion")[-1]
        assert promoted.replaced == old.id
        assert promoted.data["report"]["outcome"] == "pass"
        await pilot.press("h")
        assert "gate: pass" in text(pilot, "#model-facts")
        await pilot.press("b")
        await answered(pilot, Question, "r")
        await until(pilot, lambda: Registry().find("champion") == old)
        await until(pilot, lambda: "rolled back" in text(pilot, "#model-facts"))
        await chosen(pilot, old.id)
        await pilot.press("b")
        await until(pilot, lambda: "has pointed to nothing before" in told(pilot))


async def test_a_decision_against_another_model_is_said_to_be_one(make_app: MakeApp, versions: list[AdapterVersion]):
    old, new, _ = versions
    made = models_here.measured("1qgt0001", (models_here.BASE, "b" * 64), (new.id, new.digest))
    models_here.decided(made, new.id, models_here.BASE)
    async with make_app(loaded_client()).run_test(size=(160, 48)) as pilot:
        await opened(pilot)
        await chosen(pilot, new.id)
        await until(pilot, lambda: "pass against" in text(pilot, "#model-facts"))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
        question = str(pilot.app.screen.query(Static).first().content)
        assert f"compared it with {models_here.BASE}, which the registry will say" in question
        await answered(pilot, Prompt, "enter")
        await until(pilot, lambda: Registry().find("champion") == new)
        assert f"champion points to {old.id} now" in Registry().history("champion")[-1].data["forced"]


async def test_what_cannot_be_served_is_not_promoted(make_app: MakeApp, versions: list[AdapterVersion]):
    old, new, _ = versions
    async with make_app(loaded_client()).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        shutil.copy(old.folder / "adapter_model.safetensors", new.folder / "adapter_model.safetensors")
        await chosen(pilot, new.id)
        assert "were changed" in text(pilot, "#model-facts")
        await pilot.press("p")
        await answered(pilot, Prompt, "enter")
        await until(pilot, lambda: "were changed" in told(pilot))
        assert Registry().find("champion") == old


async def test_deletes_what_nothing_uses(make_app: MakeApp, versions: list[AdapterVersion]):
    old, new, other = versions
    models_here.job("1qgt0009", Step("eval", ("true",)), command=("eval", "repo", "--model", other.id), ended=False)
    async with make_app(loaded_client()).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "cannot be deleted: live as champion" in told(pilot))
        await chosen(pilot, other.id)
        await pilot.press("d")
        await until(pilot, lambda: "job 1qgt0009 (1qgt0009) works with it" in told(pilot))
        await chosen(pilot, new.id)
        await pilot.press("d")
        await answered(pilot, Question, "escape")
        assert new.folder.exists()
        await pilot.press("d")
        await answered(pilot, Question, "d")
        await until(pilot, lambda: new.digest[:12] not in listed(pilot))
        assert not new.folder.exists()
        assert Registry().versions("shop") == [old]
        # The cursor stays where the deleted one was.
        assert screen(pilot).query_one(ModelTree).highlighted not in (None, 0)


def test_a_model_in_use_is_not_removed(versions: list[AdapterVersion]):
    old, new, _ = versions
    with pytest.raises(HoneError, match=f"{old.id}, which is live as champion, needs it"):
        verbs.remove(models_here.BASE, force=True)
    Registry().promote(new.id, "next")
    for alias in ("champion", "next"):
        assert any(use == uses.Use(f"live as {alias}", True) for use in all_uses(versions))
    fresh = models_here.base("acme/other")
    made = models_here.version("left", 7, fresh)
    with pytest.raises(HoneError, match="1 adapter version needs it; --force deletes it all the same"):
        verbs.remove("acme/other")
    models_here.job("1qgt0008", Step("tune", ("true",)), command=("tune", "--base", "acme/other"), ended=False)
    with pytest.raises(HoneError, match=r"job 1qgt0008 .* works with it; end that first"):
        verbs.remove("acme/other", force=True)
    shutil.rmtree(Path(made.folder).parents[2] / "jobs")
    assert verbs.remove("acme/other", force=True).freed > 0
    assert store.find("acme/other") is None


def all_uses(versions: list[AdapterVersion]) -> list[uses.Use]:
    return [use for version in versions for use in uses.of_version(version, Registry())]


def test_the_model_that_is_asked_by_default_is_told(versions: list[AdapterVersion], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HONE_MODEL", "bill")
    assert [use.holds for use in uses.of_version(versions[2], Registry())] == [False]
    with pytest.raises(HoneError, match="the model that is asked when none is named"):
        verbs.remove("bill")
    assert verbs.remove("bill", force=True).name == versions[2].id


async def test_fetches_a_model_with_progress_says_why_not_and_is_stopped(
    make_app: MakeApp, hone_home: Path, monkeypatch: pytest.MonkeyPatch
):
    with FakeHub(seconds_per_piece=0.02) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "")
        # The hub's client tells how far it is every 10 MiB.
        hub.repositories["acme/small"] = folder_files(weights=LARGE)
        async with make_app(loaded_client()).run_test(size=(120, 40)) as pilot:
            await opened(pilot, "smollm2")
            await pilot.press("g")
            await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
            pilot.app.screen.query_one(Input).value = "acme/small"
            await pilot.press("enter")
            await until(pilot, lambda: "of 24 MB" in text(pilot, "#models-line"))
            hub.seconds_per_piece = 0.0
            await until(pilot, lambda: "acme/small" in listed(pilot))
            await until(pilot, lambda: not screen(pilot).query_one("#models-line").display)
            assert "acme/small is ready" in told(pilot)
            await until(pilot, lambda: "acme/small" in text(pilot, "#model-head"))
            await screen(pilot).visit("pull acme/none")
            await until(pilot, lambda: "the hub has no model acme/none" in told(pilot))
            hub.repositories["acme/large"] = hub.repositories["acme/small"]
            hub.seconds_per_piece = 0.1
            await screen(pilot).visit("pull acme/large")
            await until(pilot, lambda: "acme/large" in text(pilot, "#models-line"))
            await until(pilot, lambda: "of 24 MB" in text(pilot, "#models-line"))
            await pilot.press("escape")
            await until(pilot, lambda: "Stopping the download" in told(pilot))
            hub.seconds_per_piece = 0.0
            await until(pilot, lambda: "Stopped; what came is kept" in told(pilot))
            assert store.find("acme/large") is None


async def test_compares_two_on_a_prompt(make_app: MakeApp, versions: list[AdapterVersion]):
    old, new, _ = versions
    client = loaded_client(Script(["old ", "words"]), Script(["new ", "words"]))
    app = make_app(client)
    app.services = without_files(client)
    async with app.run_test(size=(160, 48)) as pilot:
        await opened(pilot)
        await chosen(pilot, new.id)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        assert "No evaluation has measured both yet" in await said(pilot, "#compare-measured", "evaluation")
        app.screen.query_one(Input).value = "What is a shop?"
        await pilot.press("enter")
        await until(pilot, lambda: len(client.models_asked) == 2 and app.screen.query(".ending, Markdown"))
        assert client.models_asked == [old.id, new.id]
        await until(pilot, lambda: {one.source for one in app.screen.query(Markdown)} >= {"old words", "new words"})
        # Broken off: the line says so and the next question is asked all the same.
        client.scripts += [Script([], error="the engine ended"), Script(["b"]), Script(["c"]), Script(["d"])]
        for count in (4, 6):
            app.screen.query_one(Input).value = "Again?"
            await pilot.press("enter")
            await until(pilot, lambda count=count: len(client.models_asked) == count)
            await until(pilot, lambda: app.screen._last is None)  # type: ignore[attr-defined]
        assert len(app.screen.query(Comparison)) == 3
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))


async def said(pilot: Pilot[None], selector: str, expected: str) -> str:
    await until(pilot, lambda: expected in str(pilot.app.screen.query_one(selector, Static).content))
    return str(pilot.app.screen.query_one(selector, Static).content)


def without_files(client: FakeClient) -> Any:
    from tests.tui.fake_client import services

    def check(name: str, may_fetch: bool) -> ModelTarget:
        return ModelTarget(name, models_here.BASE, name)

    given = services(client)
    return given.__class__(connect=given.connect, check=check, rows=given.rows, clipboard=list)


async def test_forms_start_a_tuning_run_and_the_evaluation_of_two(make_app: MakeApp, versions: list[AdapterVersion]):
    old, new, _ = versions
    async with make_app(loaded_client()).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await chosen(pilot, new.id)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobForm))
        assert f"--name shop --base {models_here.BASE}" in await said(pilot, "#form-command", "tune")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        await pilot.press("ctrl+e")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobForm))
        line = f"$ hone eval repo --repo . --limit 50 --model {old.id} --model {new.id} --detach"
        assert await said(pilot, "#form-command", "eval") == line
        await pilot.press("escape")
        # The job of somebody else ends while the comparison is open.
        models_here.measured("1qgt0001", (old.id, old.digest), (new.id, new.digest))
        models_here.job("1qgt0002", Step("eval", ("true",)), command=("eval", "repo"), ended=False)
        shown = await said(pilot, "#compare-measured", "humaneval pass@1")
        assert "41.0% → 52.0%" in shown
        assert "+11.0" in shown


def test_what_is_compared_with_what(versions: list[AdapterVersion]):
    old, new, other = versions
    gathered = gather()
    nodes = {node.name: node for node in tree(gathered, ())}

    def pair(name: str, marked: str = "") -> tuple[str, str] | None:
        found = choose.pair(nodes[name], gathered, marked, None)
        return found.names if found else None

    assert pair(new.id) == (old.id, new.id)
    assert pair(old.id) == (models_here.BASE, old.id)
    assert pair("bill") == (old.id, other.id)
    assert pair(models_here.BASE) == (models_here.BASE, old.id)
    assert pair(new.id, other.id) == (other.id, new.id)
    assert pair("qwen2.5-coder-7b") is None
    words = choose.tuning(nodes[new.id], None)
    assert words == ("tune", "--name", "shop", "--base", models_here.BASE, "--then", "eval")


def test_figures_are_better_only_where_that_was_shown(versions: list[AdapterVersion]):
    from evals.gate_inputs import known

    old, new, _ = versions
    models_here.measured("1qgt0001", (old.id, old.digest), (new.id, new.digest))
    there = measured.differences(measured.reports(), known(old.id), known(new.id))
    back = measured.differences(measured.reports(), known(new.id), known(old.id))
    assert [(one.figure, one.better) for one in there] == [("pass@1", True)]
    assert [(one.figure, one.better) for one in back] == [("pass@1", False)]
    models_here.measured("1qgt0002", (old.id, old.digest), (new.id, new.digest), won=2)
    newest = measured.differences(measured.reports(), known(old.id), known(new.id))
    assert [one.better for one in newest] == [None]
    assert [line.changes for line in measured.lines(measured.reports(), new.id)] == [
        (f"{newest[0].change.partition(', p')[0]} against {old.id}",)
    ]


def test_no_model_is_loaded_twice():
    opened: list[str | None] = []

    @contextmanager
    def connect(model: str | None) -> Iterator[Any]:
        opened.append(model)
        yield "another"

    def check(name: str, may_fetch: bool) -> ModelTarget:
        return ModelTarget(name, "small" if name != "big" else "large")

    connected = sharing(lambda: ("at hand", "champion"), connect, check)  # type: ignore[arg-type, return-value]
    with connected("shop") as client:
        assert client == "at hand"
    with connected("big") as client:
        assert client == "another"
    with sharing(lambda: None, connect, check)("shop") as client:
        assert client == "another"
    assert opened == ["big", "shop"]


async def test_folds_marks_and_turns_to_the_card(make_app: MakeApp, versions: list[AdapterVersion]):
    old, new, _ = versions
    async with make_app(loaded_client()).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("space")
        assert f"◆ {old.digest[:12]}" in listed(pilot)
        await pilot.press("left", "left")
        assert old.digest[:12] not in listed(pilot)
        assert "▸ shop" in listed(pilot)
        assert new.digest[:12] in text(pilot, "#model-facts")
        await pilot.press("left", "left")
        assert "shop" not in listed(pilot)
        await pilot.press("enter")
        assert "▸ shop" in listed(pilot)
        await pilot.press("down", "right")
        assert old.digest[:12] in listed(pilot)
        await chosen(pilot, old.id)
        await pilot.press("enter")
        card = screen(pilot).query_one(Markdown)
        await until(pilot, lambda: card.display and "A LoRA." in card.source)
        assert "base_model" not in card.source
        await pilot.press("v")
        assert not card.display


async def test_sees_what_others_do(make_app: MakeApp, versions: list[AdapterVersion]):
    _, new, other = versions
    async with make_app(loaded_client()).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        Registry().promote(new.id, "next")
        await until(pilot, lambda: "next" in listed(pilot))
        shutil.rmtree(other.folder)
        Registry().promote(new.id, "other")
        await until(pilot, lambda: "gone" in listed(pilot))
        await chosen(pilot, other.id)
        assert "is not a whole adapter" in text(pilot, "#model-facts")


async def test_a_registry_that_cannot_be_read_is_one_line(make_app: MakeApp, hone_home: Path):
    (hone_home / "registry.sqlite").write_text("no database")
    async with make_app(loaded_client()).run_test(size=(80, 24)) as pilot:
        await pilot.press("f6")
        await until(pilot, lambda: "cannot use the registry" in text(pilot, "#model-facts"))
        await pilot.press("c", "p", "b", "d", "v", "h", "space", "enter", "t")
        await pilot.pause(2.5)
        # It stays where the models would be, and is not told besides.
        assert "cannot use the registry" in text(pilot, "#model-facts")
        assert "registry" not in told(pilot)


async def test_lines_are_as_wide_as_the_tree_once_it_is_laid_out(make_app: MakeApp, versions: list[AdapterVersion]):
    async with make_app(loaded_client()).run_test(size=(160, 48)) as pilot:
        await opened(pilot)
        tree = screen(pilot).query_one(ModelTree)
        # As it is when what is known of the models was read before the first layout.
        tree.styles.width = 60
        await until(pilot, lambda: tree.size.width < 60)
        await until(pilot, lambda: max(map(len, listed(pilot).splitlines())) <= tree.size.width)


async def test_any_size(make_app: MakeApp, versions: list[AdapterVersion]):
    app = make_app(loaded_client())
    async with app.run_test(size=(10, 5)) as pilot:
        await opened(pilot)
        for width, height in ((250, 70), (60, 20)):
            await pilot.resize_terminal(width, height)
            await pilot.press("down", "h", "v", "v")
            assert screen(pilot).query_one("#model-about").region.right <= width
            assert screen(pilot).query_one("#model-about").region.height > 3
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await pilot.resize_terminal(80, 24)
        assert app.screen.query_one("#leave", Button).region.bottom <= 24
