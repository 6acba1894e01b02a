"""What the chat skill sends."""

import pytest

from assistant.errors import HoneError
from assistant.sessions import Message
from assistant.skills import chat
from tests.tui.fake_client import Script, loaded_client


def conversation(*texts: str) -> list[Message]:
    return [Message("assistant" if index % 2 else "user", text, "stop") for index, text in enumerate(texts)]


def words(count: int) -> str:
    return " ".join(["word"] * count)


def test_a_short_conversation_is_sent_whole_after_the_system_prompt():
    history = conversation("one", "two", "three")
    prompt = chat.prepare(loaded_client(), history, chat.Options(max_tokens=100), 4096)
    assert [message["role"] for message in prompt.messages] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in prompt.messages[1:]] == ["one", "two", "three"]
    assert prompt.dropped_turns == 0
    assert prompt.max_tokens == 100


def test_the_oldest_turns_are_dropped_whole_and_counted():
    history = conversation(words(200), words(200), words(200), words(200), "last question")
    prompt = chat.prepare(loaded_client(), history, chat.Options(max_tokens=200), 700)
    assert [len(message["content"].split()) for message in prompt.messages[1:]] == [200, 200, 2]
    assert prompt.messages[1]["role"] == "user"
    assert prompt.dropped_turns == 1


def test_prompt_and_answer_never_exceed_the_context():
    for length in range(300, 1500, 50):
        history = conversation(words(120), words(120), words(120), words(120), words(120))
        prompt = chat.prepare(loaded_client(), history, chat.Options(max_tokens=400), length)
        assert prompt.tokens + prompt.max_tokens <= length
        assert prompt.max_tokens >= 32


def test_a_message_longer_than_the_context_is_refused_with_its_size():
    with pytest.raises(HoneError, match=r"this message is 5008 tokens and the model takes about \d+; make it shorter"):
        chat.prepare(loaded_client(), conversation(words(5000)), chat.Options(), 4096)


def test_questions_that_got_no_answer_are_left_out_so_that_turns_alternate():
    history = [
        Message("user", "stopped at once"),
        Message("assistant", "", "cancelled"),
        Message("user", "process died"),
        Message("user", "asked again"),
        Message("assistant", "answer", "stop"),
        Message("user", "now"),
    ]
    prompt = chat.prepare(loaded_client(), history, chat.Options(), 4096)
    assert [message["content"] for message in prompt.messages[1:]] == ["asked again", "answer", "now"]


def test_the_answer_is_asked_with_the_fitted_length_and_streams():
    client = loaded_client(Script(["a", "b"]))
    prompt = chat.prepare(client, conversation("one"), chat.Options(model="m"), 4096)
    assert "".join(delta.text for delta in chat.stream(client, prompt, chat.Options(model="m"))) == "ab"
    assert client.models_asked == ["m"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (chat.Options(max_tokens=0), "--max-tokens must be at least 1, not 0"),
        (chat.Options(temperature=-1), "--temperature must be between 0 and 2, not -1"),
        (chat.Options(temperature=float("nan")), "--temperature must be between 0 and 2"),
    ],
)
def test_options_out_of_range_are_named(options: chat.Options, line: str):
    with pytest.raises(HoneError, match=line):
        options.checked()


def test_piped_text_follows_the_prompt_in_a_fence_of_its_own():
    assert chat.with_context("Why?", "a\nb\n") == "Why?\n\n```\na\nb\n```"
    assert chat.with_context("Why?", "```\ncode\n```\n").splitlines()[2] == "````"
    assert chat.with_context("Why?", "  \n") == "Why?"
    assert chat.with_context("", "only this\n") == "only this"
