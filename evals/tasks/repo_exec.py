"""`repo-exec`: the body of a function is replaced by the model's, and the repository's own tests that cover it run in
the sandbox. Functions are those of held-out files, or of all files where no model under evaluation was tuned on the
repository.

Which tests cover a function is measured: one run of the suite under coverage, with the test that runs as the context.
A test counts when it passed in that run and in a second one. A function counts when such a test covers it, when its
tests pass alone with its own body and do not with an empty one.
"""

import hashlib
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from assistant import prompts
from assistant.errors import HoneError
from assistant.skills import context
from assistant.skills.complete import Budget, CompletionClient, ModelForm, plan
from evals.errors import HarnessError, NotHeldOutError
from evals.sandbox.outcome import ErrorClass
from evals.tasks import levels, repo_copy
from evals.tasks.base import Answer, Ask, Item, Verdict
from evals.tasks.heldout import HeldOut
from evals.tasks.repo_functions import EMPTY, Function, cut_body, functions_of
from evals.tasks.repo_tests import SUITE_LIMITS, Run, Workspace, find_python, workspace
from evals.tasks.repo_verdict import Covered, line_of, verdict

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

VERSION = "repo-exec@1"
MAX_TESTS = 25
"""Of one function: those that run most of its lines."""
PROMPT_TOKENS = 768
_BYTES_PER_TOKEN = 3
"""Fewer than code has with any tokenizer, so that a prompt is never longer than asked for."""
_CONTEXT_TOKENS = 1 << 16


@dataclass(frozen=True)
class Options:
    limit: int = 50
    """Functions at most."""
    seed: int = 0
    python: Path | None = None
    """The interpreter with the repository's packages and pytest; None finds it."""
    arguments: tuple[str, ...] = ()
    """For pytest."""
    retrieval: bool = True
    prompt_tokens: int = PROMPT_TOKENS
    workers: int = 2
    """Functions whose tests run at a time while they are chosen."""


@dataclass
class RepoExec:
    """The task, for `harness.run_task`."""

    version: str
    facts: Mapping[str, Any]
    """What the report says of the choice: how many functions were left out and why, the interpreter, the tests."""
    chosen: Sequence[Covered]
    space: Workspace
    start_seconds: float
    """CPU seconds of a run before its first test."""
    retriever: context.Retriever | None
    hidden: frozenset[str]
    prompt_tokens: int
    name: str = "repo-exec"
    needs_sandbox: bool = True
    samples_per_item: int = 1
    temperature: float = 0.0
    known: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def items(self) -> Sequence[Item]:
        return [
            Item(
                covered.function.id,
                covered.function.path,
                {"name": covered.function.name, "line": covered.function.line, "tests": list(covered.tests)},
            )
            for covered in self.chosen
        ]

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        """The file around the body as completion shows it, other files' code in front where retrieval is on."""
        function = self._covered(item).function
        made = plan(
            cast(CompletionClient, _Estimate()),
            ModelForm("", None, fim, _CONTEXT_TOKENS),
            function.path,
            function.prefix,
            function.suffix,
            retriever=self.retriever,
            exclude=self.hidden,
            max_tokens=levels.MAX_TOKENS["body"],
            budget=Budget(prompt=self.prompt_tokens, snippets=self.prompt_tokens * 5 // 12),
            shape="body",
        )
        # A time saver; `judge` cuts every answer itself.
        stop = ("\ndef ", "\nclass ", "\n@", "\nif __name__")
        return Ask(made.prompt, (), stop, levels.MAX_TOKENS["body"], parse_special=made.mode == "fim")

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        """1 when every test that covers the function passes with the answer's body, else 0."""
        if sandbox is None:
            raise HarnessError("repo-exec runs code and needs a sandbox")
        covered = self._covered(item)
        body = cut_body(covered.function, answer.text)
        if body is None:
            return Verdict(0.0, "no code", "the answer has no code", "")
        if not body.parses:
            cut_short = answer.finish_reason == "length"
            error: ErrorClass = "truncated" if cut_short else "syntax"
            detail = "the token limit ended it" if cut_short else "the file with this body is no valid Python"
            return Verdict(0.0, error, detail, body.text)
        # Equal bodies have equal verdicts, so the references cost what the choice has cost already.
        key = (item.id, body.text)
        with self._lock:
            known = self.known.get(key)
        if known is None:
            known = verdict(covered, body.text, self.space, sandbox, self.start_seconds)
            with self._lock:
                self.known[key] = known
        return known

    def references(self) -> Iterable[tuple[Item, str, bool]]:
        """The original body must pass, an empty one must not."""
        for item, covered in zip(self.items(), self.chosen, strict=True):
            yield item, covered.function.body, True
            yield item, EMPTY, False

    def _covered(self, item: Item) -> Covered:
        return next(covered for covered in self.chosen if covered.function.id == item.id)


class _Estimate:
    """Counts tokens by bytes: the task builds a prompt before it knows the model."""

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        return [[0] * -(-len(text.encode()) // _BYTES_PER_TOKEN) for text in texts]


@contextmanager
def open_task(
    root: Path,
    held: HeldOut,
    sandbox: "Sandbox",
    options: Options = Options(),
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[RepoExec]:
    """Copies the repository, measures what its tests cover, chooses functions; the task lives as long as the block.

    The user's tree is only read. Functions are taken in a seeded order, so a smaller limit gives a subset.

    Args:
        progress: is told what is being done, a line each.

    Raises:
        NotHeldOutError: no function of a held-out Python file is covered by a test that tells bodies apart.
        HoneError: the repository cannot be copied, or its tests do not run.
        HarnessError: the sandbox fails.
    """
    with tempfile.TemporaryDirectory(prefix="hone-repository-", ignore_cleanup_errors=True) as temporary:
        snapshot = Path(temporary) / "repository"
        tree = repo_copy.snapshot(root, snapshot)
        files = {file.path: file for file in held.files if _same(snapshot / file.path, file.text)}
        functions = [function for file in files.values() for function in functions_of(file)]
        kind = "held-out" if held.by_tuning else "tracked"
        if not functions:
            raise NotHeldOutError(
                f"no {kind} Python file of {root} that is unchanged has a function to ask for (of at most "
                f"{levels.MAX_CHARACTERS['body']} characters)"
            )
        python = options.python or find_python(root)
        roots = repo_copy.import_roots(snapshot, list(files))
        with workspace(root, snapshot, python, roots, options.arguments) as space:
            progress(f"running the tests of {root.name} twice, once under coverage")
            first = _suite(space, sandbox, root, sorted({function.path for function in functions}))
            second = _suite(space, sandbox, root, None)
            stable = {test for test in _passed(first) if test in _passed(second)}
            start = max(second.outcome.cpu_seconds - sum(test.seconds for test in second.tests.values()), 0.5)
            left_out: Counter[str] = Counter()
            candidates = list(_with_tests(functions, first, second, stable, options.seed, left_out))
            chosen, known = _choose(candidates, space, sandbox, start, options, left_out, progress)
            if not chosen:
                reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
                raise NotHeldOutError(
                    f"no function of the {kind} files of {root} can be judged by its tests: {reasons}"
                )
            facts = {
                "of": "files that tuning held out" if held.by_tuning else "all files: no model was tuned on them",
                "functions": len(chosen),
                "files": len({covered.function.path for covered in chosen}),
                "left_out": dict(sorted(left_out.items())),
                "tests_passed": len(stable),
                "tests_flaky": len(_passed(first) ^ _passed(second)),
                "tests_of_chosen": len({test for covered in chosen for test in covered.tests}),
                "python": str(python),
                "tree_sha256": tree,
                "retrieval": options.retrieval,
                "prompt_tokens": options.prompt_tokens,
                "limit": options.limit,
                "seed": options.seed,
            }
            yield RepoExec(
                # The same answer could get another verdict in another state of the repository.
                version=f"{VERSION}+{hashlib.sha256(f'{tree} {python}'.encode()).hexdigest()[:12]}",
                facts=facts,
                chosen=tuple(chosen),
                space=space,
                start_seconds=start,
                retriever=context.index(root, exclude=held.excluded) if options.retrieval else None,
                hidden=held.excluded,
                prompt_tokens=options.prompt_tokens,
                known=known,
            )


def _choose(
    candidates: Sequence[Covered],
    space: Workspace,
    sandbox: "Sandbox",
    start: float,
    options: Options,
    left_out: Counter[str],
    progress: Callable[[str], None],
) -> tuple[list[Covered], dict[tuple[str, str], Verdict]]:
    """The first functions whose tests pass with their own body and not with an empty one, in file and line order, and
    those verdicts; `left_out` counts the others."""
    chosen: list[Covered] = []
    known: dict[tuple[str, str], Verdict] = {}
    with ThreadPoolExecutor(options.workers) as pool:
        for number in range(0, len(candidates), options.workers):
            if len(chosen) >= options.limit:
                break
            batch = candidates[number : number + options.workers]
            progress(f"choosing functions that their tests tell apart: {len(chosen)} of {options.limit}")
            trials = pool.map(lambda one: _trial(one, space, sandbox, start), batch)
            for covered, (original, empty) in zip(batch, trials, strict=True):
                if original.value != 1.0:
                    left_out["its tests do not pass alone"] += 1
                elif empty.value == 1.0:
                    left_out["its tests pass with an empty body"] += 1
                elif len(chosen) < options.limit:
                    chosen.append(covered)
                    known[covered.function.id, covered.function.body] = original
                    known[covered.function.id, EMPTY] = empty
    return sorted(chosen, key=lambda covered: (covered.function.path, covered.function.line)), known


def _suite(space: Workspace, sandbox: "Sandbox", root: Path, cover: Sequence[str] | None) -> Run:
    """A run of all tests.

    Raises:
        HoneError: it did not come to its end, or not one test passed.
    """
    run = space.run(sandbox, SUITE_LIMITS, cover=cover)
    if run.ended and _passed(run):
        return run
    if run.ended and run.broken:
        why = f"{run.broken[0][0]}: {line_of(run.broken[0][1])}"
    elif run.ended and run.tests:
        name, test = next(iter(run.tests.items()))
        why = f"{name} {test.outcome}: {line_of(test.message)}"
    else:
        said = (run.outcome.stderr.strip() or run.outcome.stdout.strip()).splitlines() or ["it said nothing"]
        why = f"{run.outcome.error or f'exit code {run.exit_code or run.outcome.exit_code}'}: {said[-1][:300]}"
    raise HoneError(
        f"no test of {root} passes in the sandbox with {space.python} ({why}); name an interpreter that has all its "
        "packages by --python"
    )


def _passed(run: Run) -> set[str]:
    return {name for name, test in run.tests.items() if test.outcome == "passed"}


def _with_tests(
    functions: Sequence[Function], first: Run, second: Run, stable: set[str], seed: int, left_out: Counter[str]
) -> Iterator[Covered]:
    """Functions in a seeded order with the tests that run them; `left_out` counts those without."""
    test_files = {name.partition("::")[0] for name in first.tests}
    ranked = sorted(functions, key=lambda one: hashlib.sha256(f"{seed}:{one.id}".encode()).digest())
    for function in ranked:
        if function.path in test_files or PurePosixPath(function.path).name == "conftest.py":
            left_out["it belongs to the tests"] += 1
            continue
        lines = first.covered.get(function.path, {})
        counts = Counter(
            test for line in range(function.line, function.last_line + 1) for test in lines.get(line, frozenset())
        )
        tests = sorted((test for test in counts if test in stable), key=lambda test: (-counts[test], test))[:MAX_TESTS]
        if not tests:
            left_out["only flaky or failing tests cover it" if counts else "no test covers it"] += 1
            continue
        yield Covered(function, tuple(sorted(tests)), sum(second.tests[test].seconds for test in tests))


def _trial(covered: Covered, space: Workspace, sandbox: "Sandbox", start: float) -> tuple[Verdict, Verdict]:
    """The verdicts on the original body and on an empty one; the second is not asked for when the first is bad."""
    original = verdict(covered, covered.function.body, space, sandbox, start)
    if original.value != 1.0:
        return original, original
    return original, verdict(covered, EMPTY, space, sandbox, start)


def _same(file: Path, text: str) -> bool:
    """The copy holds what was held out (a file that has changed since is read from its commit)."""
    try:
        return file.read_bytes().replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf") == text.encode()
    except OSError:
        return False
