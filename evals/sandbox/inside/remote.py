"""The candidate as the tests see it: its functions and objects by proxy, its values as plain built-in values."""

import builtins
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from .wire import Channel, Closed, ProtocolError, TooLong, Unencodable, decode, encode

_MUTABLE = (list, dict, set, bytearray)


class Failed(BaseException):
    """The candidate gave no value and no exception. No Exception, so that no handler of the tests takes it for one."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail


class NotPlain(AssertionError):
    """A test compared an object of the candidate: its own `__eq__` and `__bool__` are never asked."""


class Unpassable(Exception):
    """The tests pass something to the candidate that cannot cross: a fault of the tests."""


class Remote:
    """Asks the candidate's process and answers what it asks back. One request at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._count = 0
        self._exports: list[Callable[..., Any]] = []
        self.failure: Failed | None = None
        """The first one; it stands even if the tests went on."""
        self.raised: list[BaseException] = []
        """The exceptions of the candidate that the tests were given."""
        self.answers = 0
        """Values that the candidate gave, but for the function under test itself."""
        self.last: tuple[str, Any] | None = None
        """The last call in words and its result."""

    def fail(self, error: str, detail: str) -> NoReturn:
        self.failure = self.failure or Failed(error, detail)
        raise self.failure

    def receive(self) -> dict[str, Any]:
        """The next message of the candidate.

        Raises:
            Failed: the candidate is gone ("gone"), or wrote something else ("forged"), or too much ("output limit").
        """
        try:
            message = self._channel.receive()
        except Closed:
            self.fail("gone", "ended without an answer")
        except ProtocolError:
            self.fail("forged", "wrote into the channel of the answers")
        except (TooLong, MemoryError):
            self.fail("output limit", "an answer is too large")
        if not isinstance(message, dict):
            self.fail("forged", "wrote into the channel of the answers")
        return message

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except Closed:
            self.fail("gone", "ended without an answer")
        except TooLong as error:
            raise Unpassable(f"an argument is too large ({error})") from error

    def ask(self, operation: str, **fields: Any) -> Any:
        """The value that the candidate's process answers with.

        Raises:
            Failed: it did not answer.
            Exception: what the candidate raised, as the nearest built-in exception.
        """
        return self._value(self._exchange(operation, fields))

    def call(self, number: int, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Calls the candidate's object; changes of mutable arguments are brought back."""
        packed = [self.pack(each) for each in arguments], {key: self.pack(each) for key, each in keywords.items()}
        answer = self._exchange("call", {"o": number, "a": packed[0], "k": packed[1]})
        self._bring_back(answer.get("m"), arguments, keywords)
        self.last = (name, None)
        value = self._value(answer)
        self.last = (name, value)
        return value

    def pack(self, value: Any) -> Any:
        try:
            return encode(value, self._export)
        except Unencodable as error:
            raise Unpassable(f"a {error.kind} cannot be passed to the candidate") from error

    def _export(self, value: Any) -> Any:
        if isinstance(value, Handle):
            return {"k": object.__getattribute__(value, "_number")}
        if not callable(value) or isinstance(value, type):
            raise Unencodable(type(value).__name__)
        self._exports.append(value)
        return {"o": [len(self._exports) - 1, type(value).__name__]}

    def unpack(self, form: Any) -> Any:
        try:
            return decode(form, self._import)
        except ProtocolError:
            self.fail("forged", "wrote into the channel of the answers")
        except MemoryError:
            self.fail("output limit", "an answer is too large")

    def _import(self, tag: str, content: Any) -> Any:
        if tag == "k":
            if type(content) is not int or not 0 <= content < len(self._exports):
                raise ProtocolError("no such function")
            return self._exports[content]
        if not isinstance(content, list) or [type(each) for each in content] != [int, str]:
            raise ProtocolError("no object")
        return Handle(self, content[0], content[1])

    def _exchange(self, operation: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._count += 1
        number = self._count
        self.send({"n": number, "op": operation, **fields})
        while "cb" in (message := self.receive()):
            self.send(self._call_back(message))
        if message.get("n") != number or type(message["n"]) is not int:
            self.fail("forged", "wrote into the channel of the answers")
        self.answers += operation not in {"has", "name"}
        return message

    def _call_back(self, message: dict[str, Any]) -> dict[str, Any]:
        function = self.unpack({"k": message["cb"]})
        arguments = self.unpack(message.get("a"))
        keywords = self.unpack(message.get("k"))
        if not isinstance(arguments, list) or not isinstance(keywords, dict):
            self.fail("forged", "wrote into the channel of the answers")
        try:
            return {"v": self.pack(function(*arguments, **keywords))}
        except Exception as error:
            return {"x": describe(error)}

    def _value(self, answer: dict[str, Any]) -> Any:
        if "v" in answer:
            return self.unpack(answer["v"])
        if "exit" in answer:
            self.fail(*exit_class(answer["exit"]))
        if "long" in answer:
            self.fail("output limit", "an answer is too large")
        error = rebuild(answer.get("x"))
        if error is None:
            self.fail("forged", "wrote into the channel of the answers")
        self.raised.append(error)
        raise error

    def _bring_back(self, changes: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        for key, form in changes.items() if isinstance(changes, dict) else ():
            found = {str(at): each for at, each in enumerate(arguments)} | keywords
            old, new = found.get(key), self.unpack(form)
            if type(old) not in _MUTABLE or type(new) is not type(old):
                self.fail("forged", "wrote into the channel of the answers")
            _overwrite(old, new)


def _overwrite(old: Any, new: Any) -> None:
    if isinstance(old, list | bytearray):
        old[:] = new
    else:
        old.clear()
        old.update(new)


def exit_class(status: Any) -> tuple[str, str]:
    """Leaving with success before the tests were through claims a pass; with failure it is an error as any other."""
    if status in (None, 0):
        return "forged", "left with success before the tests were through"
    return "exception", f"SystemExit: {one_line(str(status))}"


def describe(error: BaseException) -> list[str]:
    """Type, nearest built-in type and text of an exception."""
    base = next(kind for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    try:
        # The text of a KeyError is the repr of its argument.
        only = error.args[0] if len(error.args) == 1 else None
        text = (only if type(only) is str else str(error))[:2000]
    except Exception:
        text = ""
    return [type(error).__name__, base.__name__, text]


def rebuild(form: Any) -> Exception | None:
    """The built-in exception of `describe`; None: there is no such form."""
    if not isinstance(form, list) or [type(each) for each in form] != [str, str, str]:
        return None
    kind = getattr(builtins, form[1], None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        kind = Exception
    try:
        error = kind(form[2])
    except TypeError:  # UnicodeDecodeError wants five arguments.
        error = Exception(form[2])
    error.__notes__ = [form[0]]
    return error


def one_line(text: str, limit: int = 500) -> str:
    """Printable and short: text of a candidate may hold anything, escape codes of terminals too."""
    line = " ".join(text[: 4 * limit].split())
    line = "".join(mark if mark.isprintable() else "?" for mark in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Handle:
    """An object of the candidate's process. It can be used, but it is equal to nothing and neither true nor false."""

    __slots__ = ("_kind", "_number", "_remote")

    def __init__(self, remote: Remote, number: int, kind: str) -> None:
        object.__setattr__(self, "_remote", remote)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_kind", kind)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._remote.call(self._number, self._kind, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        return self._remote.ask("attr", o=self._number, name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._remote.ask("set", o=self._number, name=name, v=self._remote.pack(value))

    def __len__(self) -> int:
        return int(self._remote.ask("len", o=self._number))

    def __getitem__(self, key: Any) -> Any:
        return self._remote.ask("item", o=self._number, v=self._remote.pack(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._remote.ask("put", o=self._number, v=self._remote.pack(key), w=self._remote.pack(value))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._remote.ask("iter", o=self._number)
        return iterator if isinstance(iterator, Handle) else iter(iterator)

    def __next__(self) -> Any:
        return self._remote.ask("next", o=self._number)

    def __contains__(self, value: Any) -> bool:
        return self._remote.ask("in", o=self._number, v=self._remote.pack(value)) is True

    def __str__(self) -> str:
        return str(self._remote.ask("str", o=self._number))

    def __repr__(self) -> str:
        return f"<{self._kind} of the candidate>"

    def __hash__(self) -> int:
        return self._number

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotPlain(f"an object of type {self._kind}, which is no plain value")

    # Deliberately no comparison: the object would be asked whether it is right.
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = _refuse
