"""What forms that start a job have in common: they show the command line, run it and say why it was refused."""

import subprocess
import threading
from typing import ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Label, Static

from tui.chat.ops.running import Done
from tui.inert import inert
from tuning.jobs.command import HONE, shown


class Ended(Message):
    """The command that the form ran has ended."""

    def __init__(self, done: Done) -> None:
        super().__init__()
        self.done = done


class CommandForm(ModalScreen[str]):
    """Dismissed with the id of the job that was started, or with the empty string."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-wide")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="jobs.form.leave"),
        Binding("ctrl+s", "start", "Start", id="jobs.form.start"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._busy = False
        """From the key on, not from the process on: that begins in a thread, which a second key would not wait for."""
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()

    def words(self, dry_run: bool = False) -> list[str]:
        """The command line after `hone`, without --detach and --dry-run.

        Raises:
            ValueError: a quotation is not closed.
        """
        raise NotImplementedError

    def compose_end(self, *buttons: Button) -> ComposeResult:
        """What stands below the fields: the command line, the buttons, and what the command said."""
        yield Static(id="form-command", markup=False)
        with Horizontal(id="form-buttons"):
            yield from buttons
            yield Button("Start (^s)", id="start", variant="primary", compact=True)
            yield Button("Back (esc)", id="leave", compact=True)
        with VerticalScroll(id="form-output"):
            yield Static("", id="form-text", markup=False)

    def on_unmount(self) -> None:
        self._end_process()

    @on(Input.Changed)
    @on(Checkbox.Changed)
    def show_command(self) -> None:
        try:
            line = f"$ hone {shown([*self.words(), '--detach'])}"
        except ValueError as error:
            line = f"the command line cannot be read: {error}"
        self.query_one("#form-command", Static).update(inert(line))

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        self.run_command("submitting ...", "--detach", "--json")

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss("")

    def run_command(self, meanwhile: str, *flags: str) -> None:
        if self._busy:
            self.tell("one moment, the last one is not done yet")
            return
        try:
            words = [*self.words(dry_run="--dry-run" in flags), *flags]
        except ValueError as error:
            self.tell(f"the command line cannot be read: {error}")
            return
        self._busy = True
        self.tell(meanwhile)
        self._call(words)

    @work(thread=True, group="form")
    def _call(self, words: list[str]) -> None:
        with self._guard:
            process = subprocess.Popen(
                [*HONE, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._process = process
        out, err = process.communicate()
        with self._guard:
            self._process = None
        self.post_message(Ended(Done(process.returncode, out, err)))

    @on(Ended)
    def _called(self, event: Ended) -> None:
        self._busy = False
        done = event.done
        if done.code != 0:
            self.tell(done.refusal)
        elif done.job:
            self.dismiss(done.job)
        else:
            # A look at the corpus, help, a schedule, or nothing new to train on: no job, and not the end of the form.
            self.tell(done.out.strip() or "it ended well and started no job")

    def tell(self, text: str) -> None:
        self.query_one("#form-text", Static).update(inert(text))
        self.query_one("#form-output").scroll_home(animate=False)

    def _end_process(self) -> None:
        """A look at what would be done, that nobody waits for; a submission is let through."""
        with self._guard:
            if self._process is not None and "--dry-run" in cast("list[str]", self._process.args):
                self._process.terminate()


def field(label: str, identifier: str, value: str, hint: str) -> ComposeResult:
    with Horizontal(classes="field"):
        yield Label(label)
        yield Input(value, placeholder=hint, id=identifier, compact=True)
