"""What `hone tune` shows: progress while it runs, and its report."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuning.ground import Watcher
    from tuning.run import Result
    from tuning.train import Progress


def watcher(transfer: Any, checkpoint_minutes: float | None = None) -> "Watcher":
    """Tells on standard error; the first Ctrl-C while training ends it early, the second discards the run.

    SIGTERM while training ends the process after a checkpoint. Before and after it both do what they did.
    """
    import os
    import signal

    from tuning.ground import Watcher
    from tuning.jobs.metrics import recorded

    pressed = told_to_leave = False

    def press(*_: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        sys.stderr.write("\nstopping after this step; Ctrl-C again discards the run\n")

    def leave(*_: Any) -> None:
        nonlocal told_to_leave
        told_to_leave = True

    def listen() -> None:
        signal.signal(signal.SIGINT, press)
        signal.signal(signal.SIGTERM, leave)

    @contextmanager
    def training(at_once: bool) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        line.began = listen
        if at_once:
            listen()
        try:
            yield
        finally:
            line.began = None
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if told_to_leave:
            # Told after the last step had asked.
            os.kill(os.getpid(), signal.SIGTERM)

    line = _ProgressLine()

    def note(text: str) -> None:
        line.end()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    return Watcher(
        note=note,
        progress=recorded(line),
        transfer=transfer,
        stopped=lambda: pressed,
        checkpoint_minutes=checkpoint_minutes,
        leaving=lambda: told_to_leave,
        training=training,
    )


class _ProgressLine:
    """One line that is written over on a terminal, and a line now and then elsewhere."""

    def __init__(self) -> None:
        self.began: Callable[[], None] | None = None
        """Called once, at the next progress."""
        self._terminal = sys.stderr.isatty()
        self._next = 0.0
        self._open = False

    def __call__(self, progress: "Progress") -> None:
        if self.began is not None:
            self.began()
            self.began = None
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


def report(result: "Result", as_json: bool) -> None:
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
                "scale": result.scale,
                "proof": asdict(proof),
                "reviewer": result.reviewer.to_json() if result.reviewer else None,
                "feedback": result.feedback,
            }
        )
        return
    fields = {
        "adapter": version.id,
        "trained": f"{outcome.steps} steps, {outcome.tokens:,} tokens, {outcome.seconds / 60:.1f} min, "
        f"{outcome.tokens_per_second:,.0f} tok/s" + (" (stopped early)" if outcome.interrupted else ""),
        "proof": f"llama.cpp picks transformers' next token at {proof.agreement:.1%} of {proof.positions} places "
        f"(bare base {proof.base_agreement:.1%}); reloaded adapter differs by {proof.reload_difference:.1g}",
        "next": f"hone eval repo --repo {result.data.corpus.sources[0].path} --model {version.base_name} "
        f"--model {version.name}",
    }
    if result.feedback is not None:
        fields["feedback"] = _learnt(result.feedback)
        against = result.feedback["start"] or version.base_name
        fields["next"] = (
            f"hone gate {version.id} --against {against} --tasks repo --repo {result.data.corpus.sources[0].path}, "
            f"and if it passes: hone models promote {version.id}"
        )
    if result.reviewer is not None:
        fields["reviewer"] = result.reviewer.describe()
        fields["next"] = (
            f"hone review --model {version.name}, or hone eval review-lines --repo PATH --model {version.name}"
        )
    if outcome.validation_before is not None and outcome.validation_after is not None:
        change = outcome.validation_after / outcome.validation_before - 1
        fields["validation"] = (
            f"{outcome.validation_before:.3f} -> {outcome.validation_after:.3f} bits per byte ({change:+.1%})"
            + (f", with {result.scale:g} of the adapter" if result.scale != 1 else "")
        )
    order = ("adapter", "trained", "validation", "feedback", "reviewer", "proof", "next")
    print_fields({key: fields[key] for key in order if key in fields})


def _learnt(feedback: "Mapping[str, Any]") -> str:
    from tuning.feedback_data import LEARNT

    parts = [f"{feedback['completions']} {LEARNT[feedback['task']]}"]
    preferences = feedback["preferences"]
    if preferences:
        parts.append(
            f"{preferences['rows']} rows by {preferences['method'].upper()} (loss {preferences['loss_first']:.3f} -> "
            f"{preferences['loss_last']:.3f})"
        )
    return ", ".join(parts) + (f"; went on from {feedback['start']}" if feedback["start"] else "")


def report_dry_run(found: Any, as_json: bool) -> None:
    """What a run would be made of: `found.text()` for people, its fields for machines."""
    from dataclasses import asdict

    from tui.tables import print_json

    if as_json:
        print_json(asdict(found))
    else:
        sys.stdout.write(found.text().rstrip("\n") + "\n")
