"""The Models screen: what can be done with models. What it shows is its other half, `shown`."""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message

from assistant.errors import HoneError
from tui.ask import Prompt, Question
from tui.inert import inert
from tui.jobs.described import size
from tui.jobs.form import JobForm
from tui.models import choose, verbs
from tui.models.compare import CompareScreen, sharing
from tui.models.gathered import AdapterDetails, Version
from tui.models.measured import Decision
from tui.models.pull import Ended, Progress, Pull
from tui.models.shown import CHAMPION, ModelsShown
from tui.places import Visit

if TYPE_CHECKING:
    from assistant.models.registry import Event
    from tui.app import HoneApp


class _Done(Message):
    """A verb has been done, or was refused."""

    def __init__(self, line: str, error: str) -> None:
        super().__init__()
        self.line, self.error = line, error


class ModelsScreen(ModelsShown):
    """Models and what can be done with them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "compare", "Compare", tooltip="Compare with the marked or the live one", id="models.compare"),
        Binding("space", "mark", "Mark", tooltip="Compare others with this one", id="models.mark"),
        Binding("p", "promote", "Promote", tooltip="Put this version to use", id="models.promote"),
        Binding("b", "back", "Roll back", tooltip="Point an alias back to what it was before", id="models.rollback"),
        Binding("t", "tune", "Tune", tooltip="Tune another version, as a job", id="models.tune"),
        Binding("g", "pull", "Get", tooltip="Download a base model", id="models.pull"),
        Binding("d", "delete", "Delete", tooltip="Delete it from this disk", id="models.delete"),
        Binding("v", "view('card')", "Card", tooltip="Read the model card", id="models.card"),
        Binding("h", "view('history')", "History", tooltip="What was live when", id="models.history"),
        Binding("escape", "escape", "Stop the download", id="models.stop", show=False),
    ]

    def on_unmount(self) -> None:
        if self._pull is not None:
            self._pull.stop()

    async def visit(self, argument: str) -> None:
        """A model by any name the command line takes, `history`, or `pull NAME`."""
        word, _, rest = argument.partition(" ")
        if word == "pull" and rest.strip():
            self._begin_pull(rest.strip())
        elif word == "history":
            self._turn("history")
        else:
            self._sought = argument.strip()
            self._look()

    # What is done

    def action_mark(self) -> None:
        node = self._chosen
        if node is not None and node.kind != "adapter":
            self._marked = "" if self._marked == node.name else node.name
            self._show_tree()

    def action_compare(self) -> None:
        node, gathered = self._chosen, self._gathered
        if node is None or gathered is None:
            return
        pair = choose.pair(node, gathered, self._marked, self._details)
        if pair is None:
            self.notify("There is nothing to compare it with: mark another one with Space first")
            return
        app = cast("HoneApp", self.app)
        connect = sharing(lambda: app.chat.serving, app.services.connect, app.services.check)
        self.app.push_screen(CompareScreen(pair, connect, app.services.check))

    @work
    async def action_promote(self) -> None:
        node, details = self._chosen, self._details
        if node is None or node.version is None:
            self.notify("Choose an adapter version to promote")
            return
        if not isinstance(details, AdapterDetails):
            self.notify("One moment: what was measured of it is still being read")
            return
        version, decision = node.version, details.decision
        words = self._before_promotion(version, decision)
        alias = await self.app.push_screen_wait(Prompt(words, CHAMPION))
        if alias:
            file = decision.file if decision else None
            # What stood in the question is known to whoever answered it.
            self._do(lambda: _told(verbs.promote(version.id, alias, verbs.read_evidence(file), force=True)))

    def _before_promotion(self, version: Version, decision: Decision | None) -> str:
        live = self._gathered.aliases.get(CHAMPION) if self._gathered else None
        replaced = verbs.replaced(version.adapter, live.adapter if live else None)
        said = [f"Promote {inert(version.id)}? As which alias?"]
        said += [f"champion is {inert(live.id)} now."] if live else []
        if decision is None:
            reference = live.id if live and live != version else version.adapter.base_name
            command = shlex.join(("hone", "gate", version.id, "--against", reference))
            said.append(f"No gate has decided on it; `{inert(command)}` does. Promoted now, the registry says so.")
        elif decision.outcome != "pass":
            said.append(f"The gate did not let it pass, which the registry will say: {inert(decision.explanation)}")
        elif replaced is not None and decision.against != replaced.id:
            said.append(f"The gate compared it with {inert(decision.against)}, which the registry will say.")
        else:
            said.append(f"Kept as evidence: {inert(decision.explanation)}")
        return "\n".join(said)

    @work
    async def action_back(self) -> None:
        node, gathered = self._chosen, self._gathered
        if node is None or gathered is None:
            return
        here = [alias for version in node.versions for alias in version.aliases] if node.kind != "base" else []
        aliases = here or list(gathered.aliases)
        if not aliases:
            self.notify("Nothing has been promoted yet")
            return
        alias = aliases[0]
        if len(aliases) > 1:
            alias = await self.app.push_screen_wait(Prompt(f"Roll back which of {', '.join(aliases)}?", alias))
        if not alias:
            return
        live, before = gathered.aliases.get(alias), gathered.before.get(alias)
        if live is None or before is None:
            self.notify(f"{inert(alias)} has pointed to nothing before", severity="warning", markup=False)
            return
        words = f"Roll {alias} back?\n{live.id} → {before}"
        if await self.app.push_screen_wait(Question(words, ["Roll back"])):
            self._do(lambda: _told(verbs.rollback(alias)))

    @work
    async def action_delete(self) -> None:
        node, details = self._chosen, self._details
        if node is None:
            return
        if node.kind == "adapter":
            self.notify("Choose one of its versions to delete")
            return
        if node.kind == "base" and not node.base.cached:
            self.notify(f"{inert(node.name)} is not on this disk", markup=False)
            return
        if details is None:
            self.notify("One moment: what uses it is still being looked up")
            return
        held = [use.text for use in details.uses if use.holds]
        if held:
            self._refuse(f"{node.name} cannot be deleted: {', '.join(held)}")
            return
        amount = size(node.versions[0].bytes if node.version else (node.base.bytes or 0)) or "nothing"
        lines = [f"Delete {inert(node.name)}? That frees {amount}."]
        lines += [f"· {inert(use.text)}" for use in details.uses]
        if await self.app.push_screen_wait(Question("\n".join(lines), ["Delete"])):
            name = node.name
            self._do(lambda: _freed(verbs.remove(name, force=True)))

    @work
    async def action_pull(self) -> None:
        node = self._chosen
        name = node.name if node is not None and node.kind == "base" and not node.base.cached else ""
        words = "Get which model? A name from the list, or of the hub: org/name, org/name:Q4_K_M"
        if asked := await self.app.push_screen_wait(Prompt(words, name)):
            self._begin_pull(asked)

    def _begin_pull(self, name: str) -> None:
        if self._pull is not None:
            self.notify(f"{inert(self._pull.name)} is on its way; Esc stops it", markup=False)
            return
        self._pull, self._progress = Pull(name, self.post_message), None
        self._pull.start()
        self._show_tree()
        self._show_line()

    @on(Progress)
    def _pulling(self, event: Progress) -> None:
        if self._pull is not None:
            self._progress = event
            self._show_tree()
            self._show_line()

    @on(Ended)
    def _pull_ended(self, event: Ended) -> None:
        self._pull = self._progress = None
        if event.error:
            self._refuse(event.error)
        elif event.stopped:
            self.notify("Stopped; what came is kept where it can be gone on from", markup=False)
        else:
            self.notify(f"{inert(event.name)} is ready", markup=False)
            self.app.bell()
            self._sought = event.name
        self._show_tree()
        self._show_line()
        self._look()

    def action_escape(self) -> None:
        if self._pull is not None:
            self._pull.stop()
            self.notify("Stopping the download")
        elif self._view != "facts":
            self._turn("facts")

    def action_tune(self) -> None:
        node = self._chosen
        if node is not None:
            self.app.push_screen(JobForm(choose.tuning(node, self._details)), self._job_started)

    def _job_started(self, identifier: str | None) -> None:
        if identifier:
            self.post_message(Visit("jobs", identifier))

    @work(thread=True, group="verbs")
    def _do(self, verb: Callable[[], str]) -> None:
        line = error = ""
        try:
            line = verb()
        except HoneError as refused:
            error = str(refused)
        self.post_message(_Done(line, error))

    @on(_Done)
    def _was_done(self, event: _Done) -> None:
        if event.error:
            self._refuse(event.error)
        else:
            self.notify(inert(event.line), markup=False)
        self._look()


def _told(event: "Event") -> str:
    return f"{event.alias} is {event.target} now" + (f", was {event.replaced}" if event.replaced else "")


def _freed(removed: verbs.Removed) -> str:
    return f"{removed.name} is deleted; {size(removed.freed) or 'nothing'} freed"
