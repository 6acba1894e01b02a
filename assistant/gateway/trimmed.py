"""What a model without fill-in-the-middle tokens writes at a cursor, ended where `hone complete` ends it.

Such a model is not shown what follows the cursor, so left alone it writes that again, and goes on.
"""

from assistant.engines.base import Cancel, Chunk, Emit, Engine, Request
from assistant.errors import HoneError
from assistant.languages import Language
from assistant.skills import filters
from assistant.skills.ending import Ending
from assistant.skills.point import line_end


def ending_of(prefix: str, suffix: str, language: Language | None, held_back: str = "") -> Ending:
    """For a cursor between `prefix` and `suffix`; `held_back` is the part of the prefix that the prompt leaves out."""
    newline = line_end(prefix + suffix)
    prefix, suffix = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    return Ending(filters.surroundings(prefix, suffix, language=language), held_back, newline)


def start(engine: Engine, ending: Ending, request: Request, emit: Emit) -> Cancel:
    """`engine.start`, ended as soon as `ending` says so. The text comes as one chunk at the end, since a filter may
    take back lines that were written."""
    running: list[Cancel] = []

    def receive(item: Chunk | HoneError) -> None:
        if isinstance(item, HoneError):
            emit(item)
            return
        if ending.cut is None and ending.add(item.text, final=item.finish_reason == "stop"):
            for cancel in running:
                cancel()
        if item.finish_reason is not None:
            emit(Chunk(ending.text))
            emit(Chunk(finish_reason="stop" if ending.cut else item.finish_reason, usage=item.usage))

    cancel = engine.start(request, receive)
    running.append(cancel)
    if ending.cut is not None:
        cancel()
    return cancel
