"""What the chat skill sends."""

import pytest

from assistant import prompts
from assistant.conversations import Message
from assistant.errors import HoneError
from assistant.skills import chat
from assistant.skills.instructions import Instructions
from assistant.skills.material import Material
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


def test_what_a_question_shows_is_sent_with_it_and_stays_in_later_turns():
    shown = Material("file", "a.py", "x = 1\n", "a.py", 1)
    history = [
        Message("user", "/explain @a.py", asked="Explain this.", materials=(shown,)),
        Message("assistant", "It sets x.", "stop"),
        Message("user", "why?"),
    ]
    prompt = chat.prepare(loaded_client(), history, chat.Options(), 4096)
    assert prompt.messages[1]["content"] == "Explain this.\n\na.py:\n```python\nx = 1\n```"
    assert prompt.messages[3]["content"] == "why?"


def test_materials_are_cut_so_that_question_and_answer_fit():
    client = loaded_client()
    materials = [
        Material("file", f"{name}.py", words(9) + "\n" + (words(9) + "\n") * 200, f"{name}.py", 1) for name in "ab"
    ]
    for length in (300, 600, 2000, 8000):
        fitted = chat.fit_materials(client, "Explain", materials, chat.Options(max_tokens=200), length)
        question = Message("user", "Explain", materials=tuple(fitted))
        prompt = chat.prepare(client, [question], chat.Options(max_tokens=200), length)
        assert prompt.tokens + prompt.max_tokens <= length
        assert prompt.max_tokens >= 100
        assert bool(prompt.cuts) == (length < 8000)


def test_old_turns_make_room_for_what_is_shown_now():
    history = [
        *conversation(words(150), words(150)),
        Message("user", "now", materials=(Material("input", "", words(300)),)),
    ]
    prompt = chat.prepare(loaded_client(), history, chat.Options(max_tokens=100), 600)
    assert [one["role"] for one in prompt.messages] == ["system", "user"]
    assert prompt.cuts == ["0 earlier turns: the oldest turn does not fit"]


def test_the_instruction_file_follows_the_system_prompt_and_is_capped():
    told = Instructions("Be brief.", "AGENTS.md", "\n".join(words(10) for _ in range(100)))
    prompt = chat.prepare(loaded_client(), conversation("one"), chat.Options(max_tokens=50), 800, told)
    system = prompt.messages[0]["content"]
    assert system.startswith("Be brief.\n\nThe repository's AGENTS.md says:\nword word")
    assert len(system.split()) <= 800 // 8 + 6
    assert prompt.cuts == ["instructions: the first 10 of 100 lines are used (at most 100 tokens)"]


def test_the_meter_adds_up_and_says_what_was_cut():
    history = conversation(words(200), words(200), words(50), words(50), "last")
    prompt = chat.prepare(loaded_client(), history, chat.Options(max_tokens=100), 400)
    assert sum(part.tokens for part in prompt.parts) == prompt.tokens
    lines = chat.meter(prompt, 400).splitlines()
    assert lines[0] == f"{prompt.tokens} of 400 tokens, {prompt.max_tokens} left for the answer"
    assert any("1 earlier turns: the oldest turn does not fit" in line for line in lines)


def test_a_conversation_far_longer_than_the_context_is_not_counted_word_by_word():
    client = loaded_client()
    counted: list[int] = []
    tokenize = client.tokenize
    client.tokenize = lambda texts, model=None: counted.append(len(texts)) or tokenize(texts, model)  # type: ignore[method-assign]
    history = conversation(*["some words of a turn that is not short" * 20] * 2001)
    prompt = chat.prepare(client, history, chat.Options(max_tokens=100), 1000)
    assert sum(counted) < 100
    assert prompt.dropped_turns > 900


def test_a_model_without_a_chat_template_is_refused_with_a_hint():
    class Base:
        def models(self):
            return [{"id": "starcoder", "chat": False}, {"id": "tuned", "chat": True}]

    with pytest.raises(HoneError, match=r"starcoder has no chat template, .*-Instruct"):
        chat.check_template(Base(), "starcoder")  # type: ignore[arg-type]
    with pytest.raises(HoneError, match="starcoder has no chat template"):
        chat.check_template(Base(), None)  # type: ignore[arg-type]
    chat.check_template(Base(), "tuned")  # type: ignore[arg-type]


GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
)
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def test_a_template_that_refuses_system_messages_gets_its_text_in_the_first_question():
    assert prompts.chat(ASKED, GEMMA, {}, fold_system=True) == "<user>Be brief.\n\nWhy?"
    with pytest.raises(HoneError, match="System role not supported"):
        prompts.chat(ASKED, GEMMA, {})


@pytest.mark.parametrize(
    "template",
    ["{% for m in messages %}", "{{ messages[9]['content'] }}", "{{ 1 / 0 }}", "{{ nothing.at.all }}", "{{ ''.x() }}"],
)
def test_a_broken_template_is_one_line_with_a_hint(template: str):
    with pytest.raises(HoneError, match="repair it there, or choose another model") as caught:
        prompts.chat(ASKED, template, {})
    assert "\n" not in str(caught.value)
