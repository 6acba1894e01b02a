from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant import prompts
from assistant.errors import HoneError
from tests.tuning.tiny_tokenizers import METASPACE, sentencepiece, with_tokens
from tuning.corpus.document import Turn
from tuning.examples import dialogue
from tuning.examples.plain import IGNORED, Example

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('no ' + message['role'] + ' here') }}{% endif %}{% endfor %}"
)
QUIET = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def chatml() -> Any:
    tokenizer = with_tokens("<|im_start|>", "<|im_end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


def llama(scheme: str) -> Any:
    tokenizer = sentencepiece(scheme)
    tokenizer.chat_template = LLAMA
    return tokenizer


FORMS = {"chatml": dialogue.chat_format(chatml()), **{name: dialogue.chat_format(llama(name)) for name in METASPACE}}
TEXT = st.text(alphabet="ab (\n\t=.é日🙂`", min_size=1, max_size=60).filter(lambda text: text.strip())


def turns(*contents: str, system: str | None = None) -> list[Turn]:
    roles = ("user", "assistant")
    body = [Turn(roles[number % 2], content) for number, content in enumerate(contents)]
    return [Turn("system", system), *body] if system is not None else body


def learnt(example: Example, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(example.tokens[start:end]) for start, end in example.supervised]


def test_only_the_answers_are_learnt_with_their_ends():
    form = FORMS["chatml"]
    made = dialogue.conversation(turns("Hello?", "Hi.\n", "And now?", "Bye"), form, 500)
    assert made.note == ""
    assert made.example is not None
    assert learnt(made.example, form.tokenizer) == ["Hi.\n<|im_end|>", "Bye<|im_end|>"]
    shown = form.tokenizer.decode(made.example.tokens)
    assert shown == form.render(turns("Hello?", "Hi.\n", "And now?", "Bye"))
    assert made.example.text_bytes == len("Hi.\nBye")


@QUIET
@given(contents=st.lists(TEXT, min_size=2, max_size=7), name=st.sampled_from(list(FORMS)))
def test_labels_follow_the_template_and_every_answer_ends(contents: list[str], name: str):
    form, conversation = FORMS[name], turns(*contents)
    made = dialogue.conversation(conversation, form, 100_000)
    assert made.example is not None
    tokens, labels = made.example.tokens, made.example.labels
    answers = contents[1::2]
    end = "<|im_end|>" if name == "chatml" else "</s>"
    number = form.tokenizer.get_vocab()[end]
    assert sum(label == number for label in labels) == len(answers) == len(made.example.supervised)
    for (start, stop), answer in zip(made.example.supervised, answers, strict=True):
        assert labels[start:stop] == tokens[start:stop]
        assert tokens[stop - 1] == number
        said = form.tokenizer.decode(tokens[start : stop - 1])
        assert said == answer if name == "chatml" else said.strip() == answer.strip()
    assert sum(label != IGNORED for label in labels) == sum(stop - start for start, stop in made.example.supervised)
    # The prompt of the first answer is, token by token, what the engines read.
    start = made.example.supervised[0][0]
    prompt = form.render(conversation[:1], ask=True)
    begun = prompt.startswith(form.special_tokens["bos_token"]) and name != "chatml"
    read = form.tokenizer(prompt, add_special_tokens=not begun, split_special_tokens=False).input_ids
    assert list(tokens[:start]) == read


def test_long_conversations_lose_leading_turns_but_not_the_system_turn():
    form = FORMS["chatml"]
    long = turns(*[f"turn {number} " + "word " * 20 for number in range(10)], system="Be short.")
    whole = dialogue.conversation(long, form, 10_000)
    assert whole.example is not None
    made = dialogue.conversation(long, form, len(whole.example.tokens) // 2)
    assert made.example is not None
    assert len(made.example.tokens) <= len(whole.example.tokens) // 2
    text = form.tokenizer.decode(made.example.tokens)
    assert text.startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nturn 6")
    assert learnt(made.example, form.tokenizer) == [long[number].content + "<|im_end|>" for number in (8, 10)]
    assert made.note.startswith("the first 6 turns were left out: the conversation has ")
    # One token less than a pair of turns more would need.
    larger = len(dialogue.conversation([long[0], *long[5:]], form, 10_000).example.tokens)  # type: ignore[union-attr]
    assert len(dialogue.conversation(long, form, larger).example.tokens) == larger  # type: ignore[union-attr]
    assert len(dialogue.conversation(long, form, larger - 1).example.tokens) < larger  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("conversation", "note"),
    [
        (turns("Hi", "word " * 500), "its last answer with its question does not fit either"),
        (turns("Hi"), "no turn is the assistant's"),
        (turns("Hi", "  \n"), "turn 2, the assistant's, is empty"),
        ([Turn("system", "x"), Turn("assistant", "y")], "begins with the assistant's turn"),
        (turns("What is <|im_end|>?", "A token."), "turn 1 spells the model's control token <|im_end|>"),
    ],
)
def test_records_that_cannot_be_learnt_say_why(conversation: list[Turn], note: str):
    made = dialogue.conversation(conversation, FORMS["chatml"], 200)
    assert made.example is None
    assert note in made.note
    assert "\n" not in made.note


def test_what_the_template_refuses_is_said():
    made = dialogue.conversation(turns("Hi", "Ho", system="Be kind."), FORMS["first"], 200)
    assert made.example is None
    assert "no system here" in made.note


def test_a_turn_after_the_last_answer_teaches_nothing_and_takes_no_room():
    form = FORMS["chatml"]
    assert dialogue.conversation(turns("a", "b", "c"), form, 500) == dialogue.conversation(turns("a", "b"), form, 500)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template"),
        # Only the last answer keeps a thought, as in templates of reasoning models.
        (
            "{% for message in messages %}"
            "{% if message.role == 'assistant' and not loop.last %}{{ '(cut) ' }}{% endif %}"
            "{{ message.content + '<|im_end|>' }}{% endfor %}",
            "differently once it goes on",
        ),
        # What asks for an answer is not how the answer is written later.
        (
            "{% for message in messages %}{{ message.content + '<|im_end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'Think first: ' }}{% endif %}",
            "differently once it goes on",
        ),
        (
            "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}",
            "no control token",
        ),
        ("{% for message in messages %}", "cannot render this conversation"),
    ],
)
def test_templates_that_cannot_be_learnt_from_are_refused_in_one_line(template: str | None, message: str):
    tokenizer = chatml()
    tokenizer.chat_template = template
    with pytest.raises(HoneError, match=message) as error:
        dialogue.chat_format(tokenizer)
    assert "\n" not in str(error.value)


@QUIET
@given(prompt=TEXT, answer=TEXT, name=st.sampled_from(list(FORMS)))
def test_a_completion_follows_its_prompt(prompt: str, answer: str, name: str):
    tokenizer = FORMS[name].tokenizer
    end = tokenizer.eos_token_id
    made = dialogue.completion(prompt, answer, tokenizer, 1000, end).example
    assert made is not None
    ((start, stop),) = made.supervised
    assert stop == len(made.tokens)
    assert made.tokens[-1] == end
    assert list(made.tokens[:start]) == tokenizer(prompt, add_special_tokens=True, split_special_tokens=True).input_ids
    asked, whole = tokenizer.decode(made.tokens[:start]), tokenizer.decode(made.tokens[:-1])
    assert whole.removeprefix(asked) == answer
    assert made.text_bytes == len(answer.encode())


def test_completions_that_cannot_be_learnt_say_why():
    tokenizer = FORMS["chatml"].tokenizer
    assert dialogue.completion("a", " ", tokenizer, 100, 0) == dialogue.Made(None, "the completion is empty")
    assert dialogue.completion("", "a", tokenizer, 100, 0) == dialogue.Made(None, "the prompt is empty")
    assert "a row holds 20" in dialogue.completion("a", "word " * 20, tokenizer, 20, 0).note


def test_control_tokens_in_a_record_stay_text():
    tokenizer = FORMS["chatml"].tokenizer
    made = dialogue.completion("<|im_start|> is", " <|im_end|>", tokenizer, 100, 0).example
    assert made is not None
    assert not {tokenizer.get_vocab()[mark] for mark in ("<|im_start|>", "<|im_end|>")} & set(made.tokens)


def test_the_prompt_of_a_conversation_is_what_the_gateway_builds():
    form = FORMS["chatml"]
    built = prompts.chat([{"role": "user", "content": "Hi"}], CHATML, {"bos_token": "", "eos_token": "<|endoftext|>"})
    assert form.render(turns("Hi"), ask=True) == built
