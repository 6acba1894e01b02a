"""Which options of `hone eval` its tasks read: one that none of the named tasks reads is refused, never ignored."""

from collections.abc import Mapping, Sequence

from assistant.errors import UsageError

ONLY: Mapping[str, frozenset[str]] = {
    "levels": frozenset({"repo"}),
    "folds": frozenset({"repo"}),
    "engine": frozenset({"repo"}),
    "max_bytes": frozenset({"repo"}),
    "prompt_tokens": frozenset({"repo", "repo-exec"}),
    "python": frozenset({"repo-exec"}),
    "data": frozenset({"mbpp", "mbpp-plus", "infill", "review", "review-lines", "review-fix"}),
    "style": frozenset({"humaneval", "mbpp", "mbpp-plus", "review", "review-fix", "speed"}),
    "operators": frozenset({"review", "review-lines"}),
    "history": frozenset({"review", "review-lines"}),
    "repository": frozenset({"repo", "repo-exec", "review", "review-lines"}),
}
"""Parameter -> the tasks that read it."""
_UNASKED = frozenset({"repo", "speed", "review-lines"})
"""Tasks that ask nothing which is judged sample by sample."""
ALL_BUT: Mapping[str, frozenset[str]] = {
    "samples": _UNASKED,
    "temperature": _UNASKED,
    "ablate": _UNASKED,
    "leave_out": _UNASKED,
    "concurrency": frozenset({"repo", "review-lines"}),
    "unsafe": frozenset({"repo", "speed", "review", "review-lines"}),
}
"""Parameter -> the tasks that do not read it."""


def reads(task: str, parameter: str) -> bool:
    """Whether a task, which may be a file of the user's own, reads a parameter of `hone eval`."""
    if parameter in ONLY:
        return task in ONLY[parameter]
    return task not in ALL_BUT.get(parameter, ())


def check(tasks: Sequence[str], given: Mapping[str, str]) -> None:
    """
    Args:
        given: parameter -> its flag, of what stands on the command line.

    Raises:
        UsageError: an option is given that nothing here reads.
    """
    unread = [
        flag
        for parameter, flag in given.items()
        # The app's form keeps the repository of the run before, which harms no other task.
        if parameter != "repository" and not any(reads(task, parameter) for task in tasks)
    ]
    if unread:
        verb, it = ("mean", "them") if len(unread) > 1 else ("means", "it")
        raise UsageError(f"{', '.join(unread)} {verb} nothing to {' and '.join(tasks)}; leave {it} out")
