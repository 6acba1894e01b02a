"""A form that starts a job: a new one, or an earlier one with changes. It shows the command line that it runs."""

import json
import shlex
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Label, Static

from tui.commands.pipeline import ORDER
from tui.inert import inert
from tuning.jobs.command import HONE, shown

_TAKEN = ("corpus", "name", "minutes", "then", "detach", "as_json", "dry_run")
"""Parameters of the tuning command that have a field of their own here, or are set by the form."""


@dataclass(frozen=True)
class Fields:
    """What stands in the form."""

    corpus: str = "."
    name: str = ""
    minutes: str = ""
    options: str = ""
    """Of the tuning command; of another command all of it."""
    then: tuple[str, ...] = ("eval",)
    command: str = "tune"

    def words(self) -> list[str]:
        """The command line after `hone`, without --detach.

        Raises:
            ValueError: a quotation is not closed.
        """
        if self.command != "tune":
            return [self.command, *shlex.split(self.options)]
        words = ["tune", *shlex.split(self.corpus)]
        words += ["--name", self.name.strip()] if self.name.strip() else []
        words += ["--minutes", self.minutes.strip()] if self.minutes.strip() else []
        words += shlex.split(self.options)
        return words + [word for each in self.then for word in ("--then", each)]


def fields_of(command: Sequence[str]) -> Fields:
    """The fields of an earlier job's command line."""
    import click
    import typer

    from tui import cli
    from tui.commands.detached import given_words

    name, *words = command
    if name != "tune":
        return Fields(options=shlex.join(word for word in words if word != "--detach"), then=(), command=name)
    parser = typer.main.get_command(cli.app).commands["tune"]  # type: ignore[attr-defined]
    try:
        context = parser.make_context("tune", list(words))
    except click.UsageError:
        # Of a version of Hone with other options: all of it can be edited.
        return Fields(corpus="", options=shlex.join(words), then=())
    given: dict[str, Any] = context.params
    return Fields(
        corpus=shlex.join(given["corpus"] or []),
        name=given["name"] or "",
        minutes="" if given["minutes"] is None else f"{given['minutes']:g}",
        options=shlex.join(given_words(context, _TAKEN)),
        then=tuple(given["then"] or ()),
    )


class _Ended(Message):
    """The command that the form ran has ended."""

    def __init__(self, words: list[str], code: int, out: str, err: str) -> None:
        super().__init__()
        self.words, self.code, self.out, self.err = words, code, out, err


class JobForm(ModalScreen[str]):
    """Dismissed with the id of the job that was started, or with the empty string."""

    CSS_PATH = "jobs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="jobs.form.leave"),
        Binding("ctrl+t", "dry_run", "Look at the corpus", id="jobs.form.look"),
        Binding("ctrl+s", "start", "Start", id="jobs.form.start"),
    ]

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """
        Args:
            command: of an earlier job, without the program.
        """
        super().__init__()
        self._given = fields_of(command) if command else Fields()
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()

    def compose(self) -> ComposeResult:
        given = self._given
        with Vertical(id="form"):
            if given.command == "tune":
                yield from _field("Corpus", "corpus", given.corpus, "a git repository, a folder, FILE.jsonl; several")
                yield from _field("Name", "name", given.name, "what to call the adapter")
                yield from _field("Minutes", "minutes", given.minutes, "how long; empty: two passes over the corpus")
                yield from _field("Options", "options", given.options, "such as --base M --rank 16 --after JOB")
                with Horizontal(classes="field"):
                    yield Label("Then")
                    words = [each.split()[0] for each in given.then]
                    for each in ORDER:
                        yield Checkbox(each, each in words, id=f"then-{each}", compact=True)
            else:
                yield from _field(f"hone {given.command}", "options", given.options, "its arguments and options")
            yield Static(id="form-command", markup=False)
            with Horizontal(id="form-buttons"):
                if given.command == "tune":
                    yield Button("Look at the corpus (^t)", id="look", compact=True)
                yield Button("Start (^s)", id="start", variant="primary", compact=True)
                yield Button("Back (esc)", id="leave", compact=True)
            with VerticalScroll(id="form-output"):
                yield Static("", id="form-text", markup=False)

    def on_mount(self) -> None:
        empty = [one for one in self.query(Input) if not one.value and one.id in ("corpus", "name")]
        (empty[0] if empty else self.query(Input).first()).focus()
        self._show_command()

    def on_unmount(self) -> None:
        self._end_process()

    def fields(self) -> Fields:
        given = self._given
        values = {each.id: each.value for each in self.query(Input)}
        if given.command != "tune":
            return Fields(options=values["options"], then=(), command=given.command)
        # An earlier job's step keeps its options.
        before = {each.split()[0]: each for each in given.then}
        ticked = [each for each in ORDER if self.query_one(f"#then-{each}", Checkbox).value]
        return Fields(
            corpus=values["corpus"],
            name=values["name"],
            minutes=values["minutes"],
            options=values["options"],
            then=tuple(before.get(each, each) for each in ticked),
        )

    @on(Input.Changed)
    @on(Checkbox.Changed)
    def _show_command(self) -> None:
        try:
            line = f"$ hone {shown([*self.fields().words(), '--detach'])}"
        except ValueError as error:
            line = f"the command line cannot be read: {error}"
        self.query_one("#form-command", Static).update(inert(line))

    @on(Checkbox.Changed, "#then-promote")
    def _needs_gate(self, event: Checkbox.Changed) -> None:
        if event.value:
            self.query_one("#then-gate", Checkbox).value = True

    @on(Checkbox.Changed, "#then-gate")
    def _gates_promotion(self, event: Checkbox.Changed) -> None:
        if not event.value:
            self.query_one("#then-promote", Checkbox).value = False

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        self._run("--detach", "--json")

    @on(Button.Pressed, "#look")
    def action_dry_run(self) -> None:
        if self._given.command == "tune":
            self._run("--dry-run")

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss("")

    def _run(self, *flags: str) -> None:
        if self._process is not None:
            self._tell("one moment, the last one is not done yet")
            return
        fields = self.fields()
        if "--dry-run" in flags:
            fields = replace(fields, then=())
        try:
            words = [*fields.words(), *flags]
        except ValueError as error:
            self._tell(f"the command line cannot be read: {error}")
            return
        self._tell("reading the corpus and loading the base ..." if "--dry-run" in flags else "submitting ...")
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
        self.post_message(_Ended(words, process.returncode, out, err))

    @on(_Ended)
    def _called(self, event: _Ended) -> None:
        words, code, out, err = event.words, event.code, event.out, event.err
        if code != 0:
            lines = [line for line in err.splitlines() if line.strip()]
            refused = [line.removeprefix("hone: ") for line in lines if line.startswith("hone: ")]
            self._tell((refused or lines or [f"it ended with exit code {code}"])[-1])
        elif "--json" in words:
            self.dismiss(str(json.loads(out)["job"]))
        else:
            self._tell(out.rstrip())

    def _tell(self, text: str) -> None:
        self.query_one("#form-text", Static).update(inert(text))
        self.query_one("#form-output").scroll_home(animate=False)

    def _end_process(self) -> None:
        """A look at the corpus that nobody waits for; a submission is let through."""
        with self._guard:
            if self._process is not None and "--dry-run" in cast("list[str]", self._process.args):
                self._process.terminate()


def _field(label: str, identifier: str, value: str, hint: str) -> ComposeResult:
    with Horizontal(classes="field"):
        yield Label(label)
        yield Input(value, placeholder=hint, id=identifier, compact=True)
