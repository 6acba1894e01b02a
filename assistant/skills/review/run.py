"""The entry point: a request in, a review out."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from assistant.errors import EngineError, HoneError
from assistant.skills import repository
from assistant.skills.review import (
    analyzers,
    baseline,
    explain,
    from_diff,
    from_git,
    ignores,
    merge,
    patches,
    ruff,
    settings,
    snapshot,
)
from assistant.skills.review import model as models
from assistant.skills.review.changes import Changes, FileChange
from assistant.skills.review.findings import MODEL, Finding, Review
from assistant.skills.review.merge import Problem
from assistant.skills.review.model import Model, ReviewClient, Seen
from assistant.skills.review.observations import Observation
from assistant.skills.review.request import CancelledError, Progress, Request

_Places = dict[tuple[str, int], Seen]
"""Where the model finds something wrong: by path and line."""


def review(
    request: Request,
    model: Model | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Review:
    """Reviews a change.

    Args:
        model: the reviewer, as `model.find` gives it; None leaves the model's evidence out.

    Raises:
        HoneError: the change cannot be read, an analyzer fails, the baseline is damaged or the gateway fails: a review
            that would be silent for such a reason must not pass for one that found nothing.
        CancelledError: `cancelled` answered True.
    """
    started = time.monotonic()
    report = progress or (lambda what, done, total: None)
    stop = cancelled or (lambda: False)
    minimum = settings.minimum_confidence() if request.minimum_confidence is None else request.minimum_confidence
    report("reading the change", 0, 1)
    changes = read(request)
    accepted = baseline.read(request.baseline) if request.baseline else []
    report("reading the change", 1, 1)
    with ExitStack() as stack:
        folder = stack.enter_context(snapshot.of([change for change in changes.files if change.is_whole]))
        observations, tools, notes = _analyzed(request, changes.files, folder, report, stop)
        comments = {change.path: ignores.find(change) for change in changes.files}
        for change in changes.files:
            observations += ignores.without_reason(change, comments[change.path])
        places: _Places = {}
        client: ReviewClient | None = None
        hunks = 0
        author = None
        if model is not None and changes.files:
            client = stack.enter_context(model.connect())
            entry = models.entry_of(client, model.name)
            author = models.author_of(entry)
            verdicts = models.ask(client, model, changes.files, int(entry["context_length"]), minimum, report, stop)
            hunks = verdicts.hunks
            for one in sorted(verdicts.seen, key=lambda one: one.observation.evidence.confidence):
                # A removed line and the one below it have one place; the likelier claim stands.
                places[one.observation.path, one.observation.first] = one
            observations += [one.observation for one in places.values()]
            if verdicts.unread:
                notes.append(f"the model was not asked about {verdicts.unread} changed lines that fit no context")
        found = merge.problems(changes.files, observations)
        sure = [problem for problem in found if problem.confidence >= (minimum or 0.0)]
        spoken = [problem for problem in sure if not _silenced(problem, comments[problem.change.path])]
        known = baseline.known([problem.mark for problem in spoken], accepted)
        new = [problem for problem, is_known in zip(spoken, known, strict=True) if not is_known]
        findings = []
        for number, (problem, name) in enumerate(zip(new, merge.identifiers(new), strict=True)):
            if stop():
                raise CancelledError("the review was cancelled")
            report("writing findings", number, len(new))
            writer = client if request.explain and problem.only_model else None
            try:
                finding = _finding(problem, name, folder, places, writer, author, request.samples)
            except (EngineError, CancelledError):
                raise
            except HoneError as error:
                # An engine that cannot enforce a schema, for example; the finding itself stands.
                notes.append(f"the model's findings are not explained: {error}")
                author = None
                finding = _finding(problem, name, folder, places, writer, None, 1)
            if finding is not None:
                findings.append(finding)
        report("writing findings", len(new), len(new))
    return Review(
        findings=tuple(findings),
        files=tuple(change.path for change in changes.files),
        lines=sum(len(change.added) for change in changes.files),
        hunks=hunks,
        skipped=changes.skipped,
        notes=(*changes.notes, *notes),
        model=model.name if model and changes.files else None,
        tools=tuple(tools),
        accepted=sum(known),
        suppressed=len(sure) - len(spoken),
        unsure=len(found) - len(sure),
        seconds=time.monotonic() - started,
    )


def read(request: Request) -> Changes:
    """What there is to review.

    Raises:
        HoneError: as for `review`.
    """
    top = repository.root_of(request.root)
    if request.source == "diff":
        assert request.diff is not None
        return from_diff.changes(request.diff, request.root.resolve(), top, request.paths)
    if top is None:
        raise HoneError(f"{request.root} is in no git repository; `hone review --diff FILE` reads a diff anywhere")
    return from_git.changes(request, top)


def _analyzed(
    request: Request,
    files: Sequence[FileChange],
    folder: Path,
    report: Progress,
    stop: Callable[[], bool],
) -> tuple[list[Observation], list[str], list[str]]:
    """Claims of all analyzers, the names of those that ran, and notes."""
    observations: list[Observation] = []
    tools: list[str] = []
    notes: list[str] = []
    listed = analyzers.configured()
    kept_back = [one for one in listed if one.from_repository and not request.run_repository_analyzers]
    if kept_back:
        names = ", ".join(one.name for one in kept_back)
        notes.append(
            f"hone.toml names analyzers that were not run ({names}): --run-analyzers lets the repository start programs"
        )
    wanted = [one for one in listed if one not in kept_back and analyzers.of_languages(one, files)]
    python = any(change.is_whole and ruff.is_python(change.path) for change in files)
    steps = [*([ruff.NAME] if python else []), *(one.name for one in wanted)]
    for number, name in enumerate(steps):
        report(f"running {name}", number, len(steps))
        if name == ruff.NAME:
            observations += ruff.observe(files, folder, stop)
        else:
            observations += analyzers.observe(next(one for one in wanted if one.name == name), files, folder, stop)
        tools.append(name)
    return observations, tools, notes


def _silenced(problem: Problem, comments: Sequence[ignores.Ignore]) -> bool:
    return any(one.silences(problem.first, problem.last, problem.evidence) for one in comments)


def _finding(
    problem: Problem,
    name: str,
    folder: Path,
    places: _Places,
    writer: ReviewClient | None,
    author: explain.Author | None,
    samples: int,
) -> Finding | None:
    """The finding, with the first fix that holds; None where the model's own samples take it back."""
    for claim in problem.claims:
        if claim.suggestion is not None:
            fix = patches.checked(problem.change, claim.suggestion, claim.evidence.source, folder)
            if fix is not None:
                return merge.finding(problem, name, fix)
    if writer is None:
        return merge.finding(problem, name, None)
    seen = places[problem.change.path, problem.first]
    reviewer = str(seen.observation.evidence.details["model"])
    told = explain.explain(writer, author, seen.hunk, seen.index, samples) if author is not None else None
    if told is not None and 2 * told.wrong < told.samples:
        return None
    # What the reviewer itself would write comes before what is explained of it.
    suggested = [explain.rewritten(writer, reviewer, seen.hunk, seen.index)]
    if told is not None and author is not None:
        details = {**seen.observation.evidence.details, "bug_class": told.bug_class, "explained_by": author.model}
        if samples > 1:
            details["votes"] = {"wrong": told.wrong, "of": told.samples}
        message = told.reason or seen.observation.evidence.message
        problem = merge.with_message(problem, replace(seen.observation.evidence, message=message, details=details))
        suggested.append(explain.suggestion(seen.hunk, seen.index, told))
    fixes = (patches.checked(problem.change, one, MODEL, folder) for one in suggested if one is not None)
    return merge.finding(problem, name, next((fix for fix in fixes if fix is not None), None))
