"""A form that starts a job: a new one, or an earlier one with changes. It shows the command line that it runs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label

from tui.commands.pipeline import ORDER
from tui.jobs.command_form import CommandForm, field

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

    from tui.commands.detached import given_words
    from tui.commands.program import parser

    name, *words = command
    if name != "tune":
        return Fields(options=shlex.join(word for word in words if word != "--detach"), then=(), command=name)
    try:
        context = parser("tune").make_context("tune", list(words))
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


class Tick(Checkbox):
    """Empty when it is off: Textual tells the two apart by colour alone."""

    @property
    def _button(self) -> Content:
        self.BUTTON_INNER = "X" if self.value else " "
        return super()._button


class JobForm(CommandForm):
    """A tuning run, or an earlier job's command."""

    CSS_PATH = "jobs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+t", "dry_run", "Look at the corpus", id="jobs.form.look")]

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """
        Args:
            command: of an earlier job, without the program.
        """
        super().__init__()
        self._given = fields_of(command) if command else Fields()

    def compose(self) -> ComposeResult:
        given = self._given
        with Vertical(id="form"):
            if given.command == "tune":
                yield from field("Corpus", "corpus", given.corpus, "a git repository, a folder, FILE.jsonl; several")
                yield from field("Name", "name", given.name, "what to call the adapter")
                yield from field("Minutes", "minutes", given.minutes, "how long; empty: two passes over the corpus")
                yield from field("Options", "options", given.options, "such as --base M --rank 16 --after JOB")
                with Horizontal(classes="field"):
                    yield Label("Then")
                    words = [each.split()[0] for each in given.then]
                    for each in ORDER:
                        yield Tick(each, each in words, id=f"then-{each}", compact=True)
            else:
                yield from field(f"hone {given.command}", "options", given.options, "its arguments and options")
            look = Button("Look at the corpus (^t)", id="look", compact=True)
            yield from self.compose_end(*([look] if given.command == "tune" else []))

    def on_mount(self) -> None:
        empty = [one for one in self.query(Input) if not one.value and one.id in ("corpus", "name")]
        (empty[0] if empty else self.query(Input).first()).focus()
        self.show_command()

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

    def words(self, dry_run: bool = False) -> list[str]:
        fields = self.fields()
        return (replace(fields, then=()) if dry_run else fields).words()

    @on(Checkbox.Changed, "#then-promote")
    def _needs_gate(self, event: Checkbox.Changed) -> None:
        if event.value:
            self.query_one("#then-gate", Checkbox).value = True

    @on(Checkbox.Changed, "#then-gate")
    def _gates_promotion(self, event: Checkbox.Changed) -> None:
        if not event.value:
            self.query_one("#then-promote", Checkbox).value = False

    @on(Button.Pressed, "#look")
    def action_dry_run(self) -> None:
        if self._given.command == "tune":
            self.run_command("reading the corpus and loading the base ...", "--dry-run")
