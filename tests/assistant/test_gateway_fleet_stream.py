"""Server-sent events as they pass through, however the connection cuts them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.gateway import fleet_stream
from assistant.gateway.fleet_stream import OversizeError, Passed, event_blocks


def blocks(pieces: Sequence[bytes]) -> list[bytes]:
    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def read() -> list[bytes]:
        return [block async for block in event_blocks(sent())]

    return asyncio.run(read())


@given(
    st.lists(st.text(), min_size=1, max_size=6),
    st.lists(st.integers(0, 400), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_events_are_whole_and_the_same_however_they_come(
    texts: list[str], cuts: list[int], newline: str, comments: bool
) -> None:
    events = [f"data: {json.dumps({'id': 'a', 'choices': [{'index': 0, 'text': text}]})}" for text in texts]
    between = f": ping{newline * 2}" if comments else ""
    data = "".join(f"{event}{newline * 2}{between}" for event in [*events, "data: [DONE]"]).encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = blocks([data[low:high] for low, high in itertools.pairwise(edges)])
    assert b"".join(found) == "".join(f"{event}\n\n" for event in [*events, "data: [DONE]"]).encode()
    passed = Passed()
    for block in found:
        passed.add_events(block)
    assert (passed.ended, passed.failure, passed.identifier) == (True, None, "a")
    assert "".join(passed.choices) == "".join(texts)


def test_an_event_that_was_cut_off_is_not_passed_on() -> None:
    assert blocks([b'data: {"a": 1}\n\ndata: {"b"', b": 2}\n"]) == [b'data: {"a": 1}\n\n']


def test_an_event_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_stream, "MOST_BYTES", 100)
    with pytest.raises(OversizeError):
        blocks([b"data: " + b"x" * 60] * 3)


@pytest.mark.parametrize(
    "data", ["not json", "[1]", '"text"', '{"choices": 3}', '{"choices": [3, {"delta": 3}, {"text": 3}]}', "{}"]
)
def test_strange_events_do_no_harm(data: str) -> None:
    passed = Passed()
    passed.add_events(f"data: {data}\n\n".encode())
    assert passed.choices == ()


def test_each_shape_of_an_answer_is_read() -> None:
    chat = Passed()
    chat.add(
        {"id": "x", "choices": [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]}
    )
    chat.add({"usage": {"completion_tokens": 3}, "choices": []})
    assert (chat.choices, chat.identifier, chat.completion_tokens) == (("a", "b"), "x", 3)
    streamed = Passed()
    for index in range(2):
        streamed.add({"choices": [{"index": index, "finish_reason": "length"}], "hone": {"completion_tokens": 4}})
    assert (streamed.completion_tokens, streamed.cut) == (8, 2)
    streamed.add({"usage": {"completion_tokens": 9}, "choices": []})
    assert streamed.completion_tokens == 9
    native = Passed()
    native.add_events(
        b'data: {"content": "a", "stop": false}\n\ndata: {"content": "", "stop": true, "stop_type": "limit"}\n\n'
    )
    assert (native.choices, native.ended, native.cut) == (("a",), True, 1)
    failed = Passed()
    failed.add({"error": {"message": "too\nmuch"}})
    assert failed.failure == "too much"
