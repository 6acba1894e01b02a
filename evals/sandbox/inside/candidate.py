"""Loads the candidate and answers for it. Nothing here is trusted: the candidate may have replaced all of it."""

import contextlib
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from .remote import describe, rebuild
from .wire import Channel, Closed, TooLong, Unencodable, decode, encode

_MUTABLE = (list, dict, set, bytearray)


def main(request: dict[str, Any], connection: int) -> None:
    """Says `loaded`, or `failed` with class and detail, then answers until the tests hang up."""
    random.seed(0)
    channel = Channel(socket.socket(fileno=connection), request["message_bytes"])
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    failed = _load(request, module)
    _flush()
    try:
        if failed is not None:
            channel.send(failed)
            return
        channel.send({"loaded": True})
        _Server(channel, module).serve()
    except Closed:
        return


def _load(request: dict[str, Any], module: types.ModuleType) -> dict[str, Any] | None:
    try:
        code = compile(request["candidate"], "<candidate>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        return {"failed": ["syntax", f"{type(error).__name__}: {error}"]}
    try:
        exec(compile(request["setup"], "<setup>", "exec", dont_inherit=True), module.__dict__)
        exec(code, module.__dict__)
    except SystemExit as error:
        return {"exit": _status(error)}
    except BaseException as error:
        name, _, text = describe(error)
        kind = (
            "import" if isinstance(error, ImportError) else "memory" if isinstance(error, MemoryError) else "exception"
        )
        return {"failed": [kind, f"{name}: {text}"]}
    entry = request["entry_point"]
    if entry is not None and not callable(getattr(module, entry, None)):
        return {"failed": ["missing entry point", f"there is no function {entry}"]}
    return None


def _status(error: SystemExit) -> int | str | None:
    return error.code if error.code is None or isinstance(error.code, int) else "a message"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # A stream that the candidate broke is its own loss.
            stream.flush()


class _Server:
    def __init__(self, channel: Channel, module: types.ModuleType) -> None:
        self._channel = channel
        self._module = module
        self._objects: list[Any] = []
        self._process = os.getpid()
        self._operations: dict[str, Callable[[dict[str, Any]], Any]] = {
            "has": lambda ask: hasattr(module, ask["name"]),
            "name": lambda ask: getattr(module, ask["name"]),
            "attr": lambda ask: getattr(self._of(ask), ask["name"]),
            "set": lambda ask: setattr(self._of(ask), ask["name"], self._unpack(ask["v"])),
            "len": lambda ask: len(self._of(ask)),
            "item": lambda ask: self._of(ask)[self._unpack(ask["v"])],
            "put": lambda ask: self._of(ask).__setitem__(self._unpack(ask["v"]), self._unpack(ask["w"])),
            "iter": lambda ask: iter(self._of(ask)),
            "next": lambda ask: next(self._of(ask)),
            "in": lambda ask: self._unpack(ask["v"]) in self._of(ask),
            "str": lambda ask: str(self._of(ask)),
        }

    def serve(self) -> None:
        """Answers requests until the tests hang up (Closed)."""
        while True:
            self._answer(self._channel.receive())

    def _answer(self, ask: dict[str, Any]) -> None:
        answer = self._do(ask)
        if os.getpid() != self._process:  # A child of the candidate came back here: only the parent answers.
            os._exit(0)
        _flush()
        answer["n"] = ask["n"]
        try:
            self._channel.send(answer)
        except (TooLong, MemoryError):
            self._channel.send({"n": ask["n"], "long": True})

    def _do(self, ask: dict[str, Any]) -> dict[str, Any]:
        try:
            if ask["op"] == "call":
                return self._call(ask)
            return {"v": self._pack(self._operations[ask["op"]](ask))}
        except SystemExit as error:
            return {"exit": _status(error)}
        except BaseException as error:
            return {"x": describe(error)}

    def _call(self, ask: dict[str, Any]) -> dict[str, Any]:
        forms = {str(at): form for at, form in enumerate(ask["a"])} | ask["k"]
        values = {key: self._unpack(form) for key, form in forms.items()}
        count = len(ask["a"])
        positional = list(values.values())[:count]
        answer: dict[str, Any] = {}
        try:
            result = self._of(ask)(*positional, **{key: values[key] for key in ask["k"]})
            answer = {"v": self._pack(result)}
        except SystemExit as error:
            answer = {"exit": _status(error)}
        except BaseException as error:
            answer = {"x": describe(error)}
        changed = {key: self._pack(each) for key, each in values.items() if type(each) in _MUTABLE}
        answer["m"] = {key: form for key, form in changed.items() if form != forms[key]}
        return answer

    def _of(self, ask: dict[str, Any]) -> Any:
        return self._objects[ask["o"]]

    def _pack(self, value: Any) -> Any:
        return encode(value, self._export)

    def _export(self, value: Any) -> Any:
        if isinstance(value, _Callback):
            return {"k": value.number}
        self._objects.append(value)
        name = getattr(value, "__name__", None)
        return {"o": [len(self._objects) - 1, name if type(name) is str else type(value).__name__]}

    def _unpack(self, form: Any) -> Any:
        return decode(form, self._import)

    def _import(self, tag: str, content: Any) -> Any:
        return self._objects[content] if tag == "k" else _Callback(self, content[0])

    def call_back(self, number: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Calls a function of the tests; requests that it makes in turn are answered meanwhile."""
        packed = [self._pack(each) for each in arguments], {"d": [[k, self._pack(v)] for k, v in keywords.items()]}
        self._channel.send({"cb": number, "a": packed[0], "k": packed[1]})
        while "op" in (message := self._channel.receive()):
            self._answer(message)
        if "v" in message:
            return self._unpack(message["v"])
        raise rebuild(message["x"]) or Unencodable("exception")


class _Callback:
    """A function of the tests."""

    def __init__(self, server: _Server, number: int) -> None:
        self._server = server
        self.number = number

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._server.call_back(self.number, arguments, keywords)
