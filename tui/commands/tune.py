"""`hone tune`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.errors import UsageError

if TYPE_CHECKING:
    from tuning.run import Result, Watcher
    from tuning.train import Progress


def tune(
    context: typer.Context,
    corpus: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Git repositories, or folders in them.")
    ] = None,
    *,
    name: Annotated[str, typer.Option(help="What to call the adapter.")],
    base: Annotated[str | None, typer.Option(help="The base model; default: smollm2-135m.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many optimizer steps.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop after this long.")] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Passes over the corpus; default: 2.")] = None,
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank; alpha is twice it.")] = 32,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Peak of the cosine schedule; about 2e-4 for billions.")
    ] = 1e-3,
    row_length: Annotated[int, typer.Option(min=64, help="Tokens per packed row.")] = 1024,
    rows_per_step: Annotated[int, typer.Option(min=1, help="Rows per optimizer step.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the LoRA's start and the order of rows.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run of this name.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard the unfinished run of this name.")] = False,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0.0, help="Minutes between checkpoints; 0 makes one after each step.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Tune a LoRA on your repositories, prove its export, and register it.

    Whole files are held out for validation and tests. Ctrl-C ends the training early and saves what was learnt; a
    second one discards it. A run that was killed goes on from its last checkpoint with --resume.
    """
    if resume:
        _check_alone(context)
        from tui.progress import transfer_progress
        from tuning.run import resume as go_on

        with transfer_progress() as transfer:
            result = go_on(name, _watcher(transfer, checkpoint_minutes))
        _report(result, as_json)
        return
    if not corpus:
        raise UsageError("name a git repository to tune on, or --resume an unfinished run")
    if sum(limit is not None for limit in (steps, minutes, epochs)) > 1:
        raise UsageError("give only one of --steps, --minutes and --epochs")
    if learning_rate <= 0:
        raise UsageError("--learning-rate 0 would learn nothing; 1e-3 suits small models, 2e-4 large ones")
    from tui.progress import transfer_progress
    from tuning.run import check_new_name
    from tuning.run import tune as run
    from tuning.train import Plan

    base = base or "smollm2-135m"
    check_new_name(name, base)
    if steps is None and minutes is None and epochs is None:
        epochs = 2.0
    plan = Plan(
        steps=steps,
        minutes=minutes,
        epochs=epochs,
        rank=rank,
        alpha=2 * rank,
        learning_rate=learning_rate,
        row_length=row_length,
        rows_per_step=rows_per_step,
        seed=seed,
    )
    with transfer_progress() as transfer:
        result = run(corpus, name, base, plan, _watcher(transfer, checkpoint_minutes), restart=restart)
    _report(result, as_json)


def _check_alone(context: typer.Context) -> None:
    """An unfinished run has its corpus and settings; others would make it another run."""
    allowed = ("name", "resume", "checkpoint_minutes", "as_json")
    given = [
        parameter.opts[-1] if parameter.opts[-1].startswith("--") else "PATH"
        for parameter in context.command.params
        if parameter.name not in allowed
        and parameter.name is not None
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"--resume takes everything from the unfinished run; leave out {', '.join(given)}")


def _watcher(transfer: Any, checkpoint_minutes: float) -> "Watcher":
    import signal

    from tuning.run import Watcher

    pressed = False

    def press(*_: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        sys.stderr.write("\nstopping after this step; Ctrl-C again discards the run\n")

    def began_training() -> None:
        signal.signal(signal.SIGINT, press)

    line = _ProgressLine(began_training)

    def note(text: str) -> None:
        line.end()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    return Watcher(
        note=note,
        progress=line,
        transfer=transfer,
        stopped=lambda: pressed,
        checkpoint_minutes=checkpoint_minutes,
    )


class _ProgressLine:
    """One line that is written over on a terminal, and a line now and then elsewhere."""

    def __init__(self, began: Any) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = 0.0
        self._began: Any = began
        self._open = False

    def __call__(self, progress: "Progress") -> None:
        if self._began is not None:
            self._began()
            self._began = None
        text = describe(progress)
        if self._terminal:
            sys.stderr.write(f"\r\x1b[2K{text}")
            self._open = True
            if progress.validation is not None:
                self.end()
        elif progress.seconds >= self._next or progress.validation is not None:
            self._next = progress.seconds + 15
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._open:
            sys.stderr.write("\n")
            self._open = False


def describe(progress: "Progress") -> str:
    """One line on where a run is."""
    parts = [
        f"{progress.share:4.0%}",
        f"step {progress.step}",
        f"loss {progress.loss:.3f}",
        f"{progress.tokens_per_second:,.0f} tok/s",
    ]
    if progress.eta_seconds is not None:
        minutes, seconds = divmod(round(progress.eta_seconds), 60)
        parts.append(f"ETA {minutes}:{seconds:02d}")
    if progress.validation is not None:
        parts.append(f"validation {progress.validation:.3f} bits per byte")
    return "  ".join(parts)


def _report(result: "Result", as_json: bool) -> None:
    from dataclasses import asdict

    from tui.tables import print_fields, print_json

    outcome, proof, version = result.outcome, result.proof, result.version
    if as_json:
        print_json(
            {
                "adapter": version.id,
                "name": version.name,
                "digest": version.digest,
                "base": version.base_name,
                "folder": str(version.folder),
                "figures": asdict(outcome),
                "proof": asdict(proof),
            }
        )
        return
    fields = {
        "adapter": version.id,
        "trained": f"{outcome.steps} steps, {outcome.tokens:,} tokens, {outcome.seconds / 60:.1f} min, "
        f"{outcome.tokens_per_second:,.0f} tok/s" + (" (stopped early)" if outcome.interrupted else ""),
        "proof": f"llama.cpp picks transformers' next token at {proof.agreement:.1%} of {proof.positions} places "
        f"(bare base {proof.base_agreement:.1%}); reloaded adapter differs by {proof.reload_difference:.1g}",
        "next": f"hone eval repo --repo {result.data.collection.sources[0].path} --model {version.base_name} "
        f"--model {version.name}",
    }
    if outcome.validation_before is not None and outcome.validation_after is not None:
        change = outcome.validation_after / outcome.validation_before - 1
        fields["validation"] = (
            f"{outcome.validation_before:.3f} -> {outcome.validation_after:.3f} bits per byte ({change:+.1%})"
        )
    order = ("adapter", "trained", "validation", "proof", "next")
    print_fields({key: fields[key] for key in order if key in fields})
