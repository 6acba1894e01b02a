"""From the names that a user gives to tasks that are ready to be asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assistant.errors import HoneError, UsageError
from evals.tasks import review_lines, speed
from evals.tasks.base import Task

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox
    from evals.tasks.review import ReviewTask

Made = Task | speed.Plan | review_lines.Plan

Style = Literal["completion", "chat"]

NAMES = ("humaneval", "mbpp", "mbpp-plus", "infill", "review", "review-lines", "review-fix", "repo-exec", "speed")
FILES = (".py", ".jsonl", ".gz")
"""Ends of a path that is a task of the user's own."""
WITHOUT_SANDBOX = frozenset({"review", "review-lines", "speed"})


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    names: tuple[str, ...]
    style: Style = "completion"
    data: Mapping[str, str] = field(default_factory=dict)
    """Task -> path, or the name of a dataset on the hub."""
    repository: Path | None = None
    manifests: Mapping[str, Path] = field(default_factory=dict)
    """Of the adapters that are measured, by adapter: what they were trained on is not asked."""
    limit: int | None = None
    seed: int = 0
    progress: Callable[[str], None] = lambda line: None
    """Is told what a long preparation is doing."""
    python: Path | None = None
    """Of repo-exec: the interpreter that runs the repository's tests; None finds one."""
    operators: tuple[str, ...] | None = None
    """Of review: the bug operators that seed; `unseen` for those that no model was trained on. None: all."""
    history: int = 0
    """Of review: how many changes of small bug fixes of the history are asked about too."""
    prompt_tokens: int = 768
    """Of repo-exec: the longest prompt."""
    local: bool = False
    """The models are on this machine, so that their logits can be read: review reads them too."""

    @property
    def runs_code(self) -> bool:
        return not WITHOUT_SANDBOX.issuperset(self.names)


def check(wanted: Wanted) -> None:
    """Before anything is loaded.

    Raises:
        UsageError: there is no such task, or it lacks its data.
    """
    for name in wanted.names:
        if name not in NAMES and not name.endswith(FILES):
            raise UsageError(
                f"there is no evaluation {name!r}; there are repo, {', '.join(NAMES)}, FILE.py and FILE.jsonl"
            )
        if name in ("mbpp", "mbpp-plus", "infill") and name not in wanted.data:
            raise UsageError(f"{name} needs its problems: --data PATH")
        if name in ("review", "review-lines") and wanted.repository is None and name not in wanted.data:
            raise UsageError(
                f"{name} needs --repo PATH (bugs are seeded into its code) or --data FILE.jsonl (labelled changes)"
            )
        if name == "repo-exec" and wanted.repository is None:
            raise UsageError("repo-exec needs --repo PATH")
    if len(set(wanted.names)) < len(wanted.names):
        raise UsageError("a task is named twice")
    asked = "--operators" if wanted.operators is not None else "--history" if wanted.history else None
    seeds = any(name in ("review", "review-lines") and name not in wanted.data for name in wanted.names)
    if asked is not None and not seeds:
        raise UsageError(f"{asked} is for review and review-lines with --repo; leave it out")


@contextmanager
def build(wanted: Wanted, sandbox: "Sandbox | None") -> Iterator[Sequence[Made]]:
    """The tasks, in the order of their names; they live as long as the block.

    Raises:
        HoneError: data is missing or damaged.
        HarnessError: the sandbox failed.
    """
    with ExitStack() as stack:
        made: list[Made] = []
        for name in wanted.names:
            one = _build(name, wanted, sandbox, stack)
            made.append(one)
            if name == "review" and wanted.local and "review-lines" not in wanted.names:
                made.append(_lines(one, wanted))
        yield made


def _build(name: str, wanted: Wanted, sandbox: "Sandbox | None", stack: ExitStack) -> Made:
    chat = wanted.style == "chat"
    if name == "speed":
        return speed.Plan(requests=wanted.limit or speed.Plan.requests, seed=wanted.seed, chat=chat)
    if name == "humaneval":
        from evals.tasks.humaneval import HumanEval

        return HumanEval(style=wanted.style)
    if name in ("mbpp", "mbpp-plus"):
        from evals.tasks import mbpp

        return mbpp.load(wanted.data[name], "chat" if chat else "docstring", plus=name == "mbpp-plus")
    if name == "infill":
        from evals.tasks import infill

        return infill.load(Path(wanted.data[name]))
    if name in ("review", "review-fix"):
        return _review(name, wanted, sandbox)
    if name == "review-lines":
        return _lines(_review(name, wanted, sandbox), wanted)
    if name == "repo-exec":
        return _repo_exec(wanted, sandbox, stack)
    from evals.tasks import custom

    return custom.load(Path(name))


def _review(name: str, wanted: Wanted, sandbox: "Sandbox | None") -> "ReviewTask":
    from dataclasses import replace

    from evals.tasks import review

    limit = wanted.limit or review.LIMIT
    data = wanted.data.get(name)
    if data is not None:
        task = review.of_file(Path(data), wanted.limit)
    elif name == "review-fix":
        # No tests come with bugs that are seeded into a repository.
        assert sandbox is not None
        task = review.of_problems(sandbox, manifests=wanted.manifests, limit=limit, seed=wanted.seed)
    else:
        assert wanted.repository is not None
        task = review.of_repository(
            _root(wanted.repository), wanted.manifests, limit, wanted.seed, wanted.history, wanted.operators
        )
    if name == "review-fix" and not task.proof:
        assert sandbox is not None
        task = review.proven(task, sandbox)
    return replace(task, style=wanted.style)


def _lines(task: Any, wanted: Wanted) -> review_lines.Plan:
    return review_lines.Plan(task.cases, task.settings or {}, wanted.seed)


def _repo_exec(wanted: Wanted, sandbox: "Sandbox | None", stack: ExitStack) -> Task:
    from evals.tasks import repo_exec
    from evals.tasks.heldout import held_out, read_record, untouched
    from evals.tasks.review_data import unseen_files

    assert wanted.repository is not None
    assert sandbox is not None
    root = _root(wanted.repository)
    records = [read_record(name, manifest, root) for name, manifest in wanted.manifests.items()]
    if any(record.covers for record in records):
        held = held_out(root, records)
    else:
        held = untouched(root, {file.path: file.text for file in unseen_files(root, records)})
    options = repo_exec.Options(
        limit=wanted.limit or repo_exec.Options.limit,
        seed=wanted.seed,
        python=wanted.python,
        prompt_tokens=wanted.prompt_tokens,
    )
    return stack.enter_context(repo_exec.open_task(root, held, sandbox, options, wanted.progress))


def _root(folder: Path) -> Path:
    from assistant.skills import repository

    if not folder.is_dir():
        raise HoneError(f"{folder} is not a folder; give --repo a git repository")
    root = repository.root_of(folder)
    if root is None:
        raise HoneError(f"{folder} is in no git repository")
    return root
