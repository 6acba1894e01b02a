"""`hone review`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from assistant.skills.review.findings import Review
    from assistant.skills.review.request import Progress, Request, Source

FAULT = 2
"""Exit code of everything that is no review; 1 says that there are findings."""
_FORM, _WHAT, _HOW = "Output", "What to review", "How"


class Level(StrEnum):
    error = "error"
    warning = "warning"
    note = "note"
    never = "never"


class Format(StrEnum):
    text = "text"
    json = "json"
    sarif = "sarif"
    github = "github"


def review(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Only these files and folders. Default: all.")
    ] = None,
    *,
    staged: Annotated[
        bool, typer.Option("--staged", help="What is staged for the next commit.", rich_help_panel=_WHAT)
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(metavar="REV", help="Everything since this branch left REV.", rich_help_panel=_WHAT),
    ] = None,
    commit: Annotated[
        str | None, typer.Option(metavar="REV", help="What one commit changed.", rich_help_panel=_WHAT)
    ] = None,
    diff: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A unified diff; - reads standard input.", rich_help_panel=_WHAT),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Every line of the PATHs, changed or not.", rich_help_panel=_WHAT)
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="The reviewer: adapter NAME[@DIGEST] or alias. Default: found by itself.", rich_help_panel=_HOW
        ),
    ] = None,
    analyzers_only: Annotated[
        bool, typer.Option("--analyzers-only", help="Ask no model.", rich_help_panel=_HOW)
    ] = False,
    run_analyzers: Annotated[
        bool,
        typer.Option("--run-analyzers", help="Run the programs that hone.toml names.", rich_help_panel=_HOW),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain/--no-explain", help="Have the model write reasons and fixes.", rich_help_panel=_HOW),
    ] = True,
    samples: Annotated[
        int, typer.Option(min=1, max=32, help="Explanations a line; the majority decides.", rich_help_panel=_HOW)
    ] = 1,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Leave out findings below it; default: review.min_confidence, else the reviewer's own threshold.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Leave out the findings in it.", rich_help_panel=_HOW)
    ] = None,
    write_baseline: Annotated[
        bool,
        typer.Option("--write-baseline", help="Accept what is found: write it to --baseline.", rich_help_panel=_HOW),
    ] = False,
    fail_on: Annotated[
        Level, typer.Option(help="Exit with 1 for findings of this severity or above.", rich_help_panel=_FORM)
    ] = Level.error,
    output: Annotated[
        Format, typer.Option("--format", help="How to print the findings.", rich_help_panel=_FORM)
    ] = Format.text,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=_FORM)] = False,
) -> None:
    """Review a change: bugs and security problems on changed lines, each with its evidence.

    Without options: everything that differs from the last commit. Exit codes: 0 nothing to stop for, 1 findings, 2 no
    review.
    """
    from assistant.errors import HoneError

    try:
        if as_json and output not in (Format.text, Format.json):
            raise HoneError(f"--json and --format {output} contradict each other; choose one")
        if write_baseline and baseline is None:
            raise HoneError("--write-baseline needs --baseline FILE, the file to write")
        if analyzers_only and model is not None:
            raise HoneError("--analyzers-only and --model contradict each other; choose one")
        request = _request(
            paths or [],
            (staged, base, commit, diff, whole),
            explain=explain,
            samples=samples,
            minimum_confidence=min_confidence,
            baseline=None if write_baseline else baseline,
            run_repository_analyzers=run_analyzers,
        )
        chosen = Format.json if as_json else output
        done = _run(request, model, analyzers_only)
        kept = 0
        if write_baseline:
            assert baseline is not None
            from assistant.skills.review.baseline import write
            from assistant.skills.review.run import read

            kept = write(baseline, done.findings, read(request).files, done.model is not None)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except HoneError as error:
        if error.exit_code == 1:
            error.exit_code = FAULT
        raise
    if write_baseline:
        stayed = f", {_counted(kept, 'earlier one')} kept" if kept else ""
        told = f"{baseline}: {_counted(len(done.findings), 'finding')} accepted{stayed}"
        typer.echo(told, err=chosen is not Format.text)
    if not write_baseline or chosen is not Format.text:
        _print(done, chosen)
    if not write_baseline and _fails(done, fail_on):
        raise typer.Exit(1)


def _request(
    paths: list[str],
    sources: tuple[bool, str | None, str | None, str | None, bool],
    *,
    explain: bool,
    samples: int,
    minimum_confidence: float | None,
    baseline: Path | None,
    run_repository_analyzers: bool,
) -> "Request":
    from assistant.errors import HoneError
    from assistant.skills.review.request import Request

    _, base, commit, diff, _ = sources
    named: dict[str, Source] = {
        "--staged": "staged",
        "--base": "base",
        "--commit": "commit",
        "--diff": "diff",
        "--whole": "whole",
    }
    given = [option for option, value in zip(named, sources, strict=True) if value not in (None, False)]
    if len(given) > 1:
        raise HoneError(f"{' and '.join(given)} contradict each other; choose one")
    return Request(
        root=Path.cwd(),
        source=named[given[0]] if given else "working tree",
        revision=base if base is not None else commit,
        diff=None if diff is None else _read(diff),
        paths=tuple(paths),
        explain=explain,
        samples=samples,
        minimum_confidence=minimum_confidence,
        baseline=baseline,
        run_repository_analyzers=run_repository_analyzers,
    )


def _read(diff: str) -> bytes:
    import sys

    from assistant.errors import HoneError

    if diff == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(diff).read_bytes()
    except OSError as error:
        raise HoneError(f"cannot read {diff}: {error.strerror}") from error


def _run(request: "Request", name: str | None, analyzers_only: bool) -> "Review":
    from dataclasses import replace

    from assistant.skills.review import model as models
    from assistant.skills.review.run import review as run_review

    found, note = (None, None) if analyzers_only else models.find(name)
    with _progress() as progress:
        done = run_review(request, found, progress)
    return replace(done, notes=(*done.notes, note)) if note and done.files else done


def _progress() -> "AbstractContextManager[Progress]":
    """A line on a terminal's standard error that says what is done now."""
    import sys
    from contextlib import contextmanager

    @contextmanager
    def showing() -> "Iterator[Progress]":
        if not sys.stderr.isatty():
            yield lambda what, done, total: None
            return
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status(Text("starting")) as status:
            yield lambda what, done, total: status.update(Text(f"{what} ({done} of {total})" if total > 1 else what))

    return showing()


def _print(done: "Review", chosen: Format) -> None:
    import sys

    from assistant.skills.review import formats

    if chosen is Format.text:
        from tui.commands.review_text import write

        write(done)
        return
    if chosen is Format.json:
        sys.stdout.write(formats.to_json(done))
        return
    if chosen is Format.sarif:
        from importlib.metadata import version

        sys.stdout.write(formats.to_sarif(done, version("hone-assistant")))
        return
    from tui.commands.review_text import write_notes

    sys.stdout.write(formats.to_github(done))
    write_notes(done)


def _fails(done: "Review", level: Level) -> bool:
    from assistant.skills.review.findings import SEVERITIES

    if level is Level.never or done.worst is None:
        return False
    return SEVERITIES.index(done.worst) >= SEVERITIES.index(level.value)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
