"""A form that starts a measurement as a job, or an earlier one with changes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from tui.jobs.command_form import CommandForm, field

_TAKEN = ("tasks", "models", "repository", "limit", "out", "detach", "as_json", "key")
"""Parameters of `hone eval` that have a field of their own here, or are not taken over."""


@dataclass(frozen=True)
class Fields:
    """What stands in the form."""

    tasks: str = "humaneval"
    models: str = ""
    repository: str = ""
    limit: str = ""
    options: str = ""

    def words(self) -> list[str]:
        """The command line after `hone`, without --detach.

        Raises:
            ValueError: a quotation is not closed.
        """
        words = ["eval", *shlex.split(self.tasks)]
        words += [word for model in shlex.split(self.models) for word in ("--model", model)]
        words += ["--repo", self.repository.strip()] if self.repository.strip() else []
        words += ["--limit", self.limit.strip()] if self.limit.strip() else []
        return words + shlex.split(self.options)


def fields_of(command: Sequence[str]) -> Fields:
    """The fields of an earlier run's command line; of a gate's, what it compared."""
    import click

    from tui.commands.detached import given_words
    from tui.commands.program import parser

    name, *words = command
    if name != "eval":
        return Fields()
    try:
        context = parser("eval").make_context("eval", list(words))
    except click.UsageError:
        # Of a version of Hone with other options: all of it can be edited.
        return Fields(tasks="", options=shlex.join(words))
    given: dict[str, Any] = context.params
    return Fields(
        tasks=shlex.join(given["tasks"] or []),
        models=shlex.join(given["models"] or []),
        repository=str(given["repository"] or ""),
        limit="" if given["limit"] is None else str(given["limit"]),
        options=shlex.join(given_words(context, _TAKEN)),
    )


class EvalForm(CommandForm):
    CSS_PATH = "../jobs/jobs.tcss"

    def __init__(self, given: Fields | None = None) -> None:
        super().__init__()
        self._given = given or Fields()

    def compose(self) -> ComposeResult:
        given = self._given
        with Vertical(id="form"):
            yield from field("Tasks", "tasks", given.tasks, "humaneval, mbpp, repo, review, speed, FILE.py, FILE.jsonl")
            yield from field("Models", "models", given.models, "the reference first; empty: the one in use")
            yield from field("Repository", "repository", given.repository, "a git repository: repo, repo-exec, review")
            yield from field("Limit", "limit", given.limit, "how many items of each task; empty: all")
            yield from field("Options", "options", given.options, "such as --samples 5 --temperature 0.8 --after JOB")
            yield from self.compose_end()

    def on_mount(self) -> None:
        wanted = "#models" if self._given.tasks else "#tasks"
        self.query_one(wanted, Input).focus()
        self.show_command()

    def words(self, dry_run: bool = False) -> list[str]:
        return Fields(**{str(each.id): each.value for each in self.query(Input)}).words()
