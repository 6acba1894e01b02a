"""Runs the trusted tests in a process of their own and says what came of them."""

import ast
import builtins
import json
import os
import random
import socket
import traceback
from typing import Any

from .remote import Failed, Handle, NotPlain, Remote, exit_class, one_line
from .wire import Channel

_TESTS = "<tests>"
_SETUP = "<setup>"
_EQUAL = "__equal__"
_CLASSES = frozenset({"syntax", "missing entry point", "import", "exception", "memory"})


class _Namespace(dict[str, Any]):
    """Globals of the tests: a name that nobody defines is asked of the candidate, once."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(__name__="tests")
        self.remote = remote
        self.missing: list[str] = []
        self.tests_run = False

    def __missing__(self, name: str) -> Any:
        if not self.tests_run or name.startswith("__") or hasattr(builtins, name):
            raise KeyError(name)
        if self.remote.ask("has", name=name) is not True:
            self.missing.append(name)
            raise KeyError(name)
        self[name] = self.remote.ask("name", name=name)
        self.remote.answers += 1
        return self[name]


class _Equality(ast.NodeTransformer):
    """`assert a == b` asks `__equal__(a, b)`, which remembers both sides for the report."""

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            sides: list[ast.expr] = [test.left, test.comparators[0]]
            call = ast.Call(func=ast.Name(id=_EQUAL, ctx=ast.Load()), args=sides, keywords=[])
            node.test = ast.copy_location(call, test)
        return node


class _Compared:
    """The two sides of the last equality."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.sides: tuple[Any, Any] | None = None

    def __call__(self, left: Any, right: Any) -> Any:
        self.sides = (left, right)
        equal = left == right
        if equal:
            self.sides = None
        return equal

    def words(self) -> str | None:
        if self.sides is None:
            return None
        left, right = self.sides
        swapped = self.remote.last is not None and self.remote.last[1] is right and right is not None
        got, want = (right, left) if swapped else (left, right)
        return f"want {_short(want)}, got {_short(got)}"


def main(request: dict[str, Any], connection: int, result: int) -> None:
    """Writes one JSON object to the file descriptor `result`: `error`, `detail`, and after the last assertion `nonce`;
    or `fault`, if the tests themselves are broken."""
    random.seed(0)
    channel = Channel(socket.socket(fileno=connection), request["message_bytes"])
    verdict = _judge(request, Remote(channel))
    body = json.dumps(verdict).encode("ascii")
    while body:
        body = body[os.write(result, body) :]


def _judge(request: dict[str, Any], remote: Remote) -> dict[str, Any]:
    names = _Namespace(remote)
    equal = names[_EQUAL] = _Compared(remote)
    try:
        exec(compile(request["setup"], _SETUP, "exec"), names)
        tree = _Equality().visit(ast.parse(request["tests"], _TESTS))
        code = compile(ast.fix_missing_locations(tree), _TESTS, "exec")
    except BaseException as error:
        return {"fault": f"the tests cannot be run: {_words(error)}"}
    try:
        _await_candidate(remote)
        names.tests_run = True
        _run(code, names, request["entry_point"])
    except Failed as failed:
        return {"error": failed.error, "detail": failed.detail}
    except BaseException as error:
        return _classify(error, remote, names, equal)
    if remote.failure is not None:
        return {"error": remote.failure.error, "detail": remote.failure.detail}
    return {"error": None, "detail": "", "nonce": request["nonce"]}


def _await_candidate(remote: Remote) -> None:
    message = remote.receive()
    if message.get("loaded") is True:
        return
    if "exit" in message:
        remote.fail(*exit_class(message["exit"]))
    failed = message.get("failed")
    if not isinstance(failed, list) or [type(each) for each in failed] != [str, str] or failed[0] not in _CLASSES:
        remote.fail("forged", "wrote into the channel of the answers")
    remote.fail(failed[0], one_line(failed[1]))


def _run(code: Any, names: _Namespace, entry_point: str | None) -> None:
    if entry_point is not None:
        entry = names[entry_point] = names.remote.ask("name", name=entry_point)
        if not isinstance(entry, Handle):
            names.remote.fail("missing entry point", f"{entry_point} is no function")
    exec(code, names)
    check = names.get("check")
    if entry_point not in {None, "check"} and callable(check) and not isinstance(check, Handle):
        check(names[entry_point])


def _classify(error: BaseException, remote: Remote, names: _Namespace, equal: _Compared) -> dict[str, Any]:
    if remote.failure is not None:
        return {"error": remote.failure.error, "detail": remote.failure.detail}
    if any(error is each for each in remote.raised):
        name = error.__notes__[0]
        kind = {"MemoryError": "memory", "ImportError": "import", "ModuleNotFoundError": "import"}
        return {"error": kind.get(type(error).__name__, "exception"), "detail": one_line(f"{name}: {error}")}
    if isinstance(error, NameError) and error.name in names.missing:
        return {"error": "missing entry point", "detail": f"the tests use {error.name}, which is not defined"}
    if remote.answers == 0 and not isinstance(error, AssertionError):
        # No value of the candidate is in it, so no candidate can bring this about.
        return {"fault": f"the tests cannot be run: {_words(error)}"}
    if isinstance(error, NotPlain):
        return {"error": "wrong answer", "detail": one_line(f"got {error}")}
    if isinstance(error, AssertionError):
        return {"error": "wrong answer", "detail": equal.words() or _assertion(error)}
    if isinstance(error, MemoryError):
        return {"error": "memory", "detail": "the tests ran out of memory on the answers"}
    return {"error": "wrong answer", "detail": f"the tests failed on the answer: {_words(error)}"}


def _assertion(error: AssertionError) -> str:
    text = str(error)
    return one_line(f"assertion failed{_place(error)}" + (f": {text}" if text else ""))


def _words(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}{_place(error)}")


def _place(error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _TESTS]
    return f" (line {lines[-1]} of the tests)" if lines else ""


def _short(value: Any) -> str:
    try:
        return one_line(repr(value), 200)
    except Exception as error:
        return f"<{type(error).__name__} in repr>"
