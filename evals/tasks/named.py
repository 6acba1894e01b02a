"""From the names that a user gives to tasks that are ready to be asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assistant.errors import HoneError, UsageError
from evals.tasks import speed
from evals.tasks.base import Task

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox
    from evals.tasks.review import ReviewTask

Style = Literal["completion", "chat"]

NAMES = ("humaneval", "mbpp", "mbpp-plus", "infill", "review", "review-fix", "repo-exec", "speed")
FILES = (".py", ".jsonl", ".gz")
"""Ends of a path that is a task of the user's own."""
WITHOUT_SANDBOX = frozenset({"review", "speed"})


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
        if name == "review" and wanted.repository is None and name not in wanted.data:
            raise UsageError(
                "review needs --repo PATH (bugs are seeded into its code) or --data FILE.jsonl (labelled changes)"
            )
        if name == "repo-exec" and wanted.repository is None:
            raise UsageError("repo-exec needs --repo PATH")
    if len(set(wanted.names)) < len(wanted.names):
        raise UsageError("a task is named twice")


@contextmanager
def build(wanted: Wanted, sandbox: "Sandbox | None") -> Iterator[Sequence[Task | speed.Plan]]:
    """The tasks, in the order of their names; they live as long as the block.

    Raises:
        HoneError: data is missing or damaged.
        HarnessError: the sandbox failed.
    """
    with ExitStack() as stack:
        yield [_build(name, wanted, sandbox, stack) for name in wanted.names]


def _build(name: str, wanted: Wanted, sandbox: "Sandbox | None", stack: ExitStack) -> Task | speed.Plan:
    chat = wanted.style == "chat"
    if name == "speed":
        return speed.Plan(seed=wanted.seed, chat=chat)
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
    elif name == "review-fix" and wanted.repository is None:
        assert sandbox is not None
        task = review.of_problems(sandbox, manifests=wanted.manifests, limit=limit, seed=wanted.seed)
    else:
        assert wanted.repository is not None
        task = review.of_repository(_root(wanted.repository), wanted.manifests, limit, wanted.seed)
    if name == "review-fix" and not task.proof:
        assert sandbox is not None
        task = review.proven(task, sandbox)
    return replace(task, style=wanted.style)


def _repo_exec(wanted: Wanted, sandbox: "Sandbox | None", stack: ExitStack) -> Task:
    from evals.tasks import repo_exec
    from evals.tasks.heldout import held_out, read_record

    assert wanted.repository is not None
    assert sandbox is not None
    root = _root(wanted.repository)
    held = held_out(root, [read_record(name, manifest, root) for name, manifest in wanted.manifests.items()])
    options = repo_exec.Options(limit=wanted.limit or repo_exec.Options.limit, seed=wanted.seed, python=wanted.python)
    return stack.enter_context(repo_exec.open_task(root, held, sandbox, options, wanted.progress))


def _root(folder: Path) -> Path:
    from assistant.skills import repository

    if not folder.is_dir():
        raise HoneError(f"{folder} is not a folder; give --repo a git repository")
    root = repository.root_of(folder)
    if root is None:
        raise HoneError(f"{folder} is in no git repository")
    return root
