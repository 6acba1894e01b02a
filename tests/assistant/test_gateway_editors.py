"""Requests as editors send them: llama.vim, Continue, Zed, Tabby's plugins; the engine answers from a script."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from assistant import prompts
from assistant.engines.base import Request
from assistant.prompts import Snippet
from tests.assistant.gateway_fakes import FIM, ScriptedEngine, client, events, gateway

PREFIX = "def area(width, height):\n    return "
SUFFIX = "\n\nprint(area(2, 3))\n"
VIM_FIELDS = [
    "content",
    *(f"timings/{kind}_{what}" for kind in ("prompt", "predicted") for what in ("n", "ms", "per_token_ms")),
    *("timings/prompt_per_second", "timings/predicted_per_second", "truncated", "tokens_cached"),
]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda request: "width * height")


@pytest.fixture
async def fim(engine: ScriptedEngine) -> AsyncIterator[httpx.AsyncClient]:
    """A model with fill-in-the-middle tokens."""
    async with client(gateway(engine, FIM)) as http:
        yield http


@pytest.fixture
async def plain(engine: ScriptedEngine) -> AsyncIterator[httpx.AsyncClient]:
    """A model without."""
    async with client(gateway(engine)) as http:
        yield http


def vim(**fields: Any) -> dict[str, Any]:
    return {
        "input_prefix": "def area(width, height):\n",
        "input_suffix": SUFFIX,
        "input_extra": [{"text": "PI = 3\n", "time": [1, 2], "filename": "a/constants.py"}],
        "prompt": "    return ",
        "n_predict": 128,
        "n_indent": 4,
        "top_k": 40,
        "top_p": 0.99,
        "stream": False,
        "samplers": ["top_k", "top_p", "infill"],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000,
        "response_fields": VIM_FIELDS,
        **fields,
    }


async def test_llama_vim_gets_the_fields_that_it_reads(engine: ScriptedEngine, fim: httpx.AsyncClient) -> None:
    response = await fim.post("/infill", json=vim())
    answer = response.json()
    assert response.headers["x-hone-completion-mode"] == "fim"
    assert set(answer) == set(VIM_FIELDS)
    assert answer["content"] == "width * height"
    assert answer["timings/predicted_n"] == 3
    assert answer["timings/predicted_per_second"] > 0
    assert answer["truncated"] is False
    (asked,) = engine.requests
    before = prompts.context([Snippet("a/constants.py", "PI = 3\n")]) + PREFIX
    assert asked.prompt == prompts.infill(before, SUFFIX, FIM)
    assert asked.parse_special
    assert (asked.max_tokens, asked.min_indent, asked.line_seconds) == (128, 4, 1.0)


async def test_samplers_that_the_engine_lacks_are_left_out_and_named(
    engine: ScriptedEngine, fim: httpx.AsyncClient
) -> None:
    answer = (await fim.post("/infill", json=vim(response_fields=None))).json()
    assert engine.requests[0].samplers == ("top_k", "top_p")
    assert answer["hone"]["ignored_samplers"] == ["infill"]
    assert (answer["stop"], answer["stop_type"]) == (True, "eos")


async def test_a_warm_up_computes_the_prompt_that_the_next_request_begins_with(
    engine: ScriptedEngine, fim: httpx.AsyncClient
) -> None:
    warm_up = vim(
        input_prefix="", input_suffix="", prompt="", n_predict=0, samplers=[], response_fields=[""], t_max_predict_ms=1
    )
    response = await fim.post("/infill", json=warm_up)
    assert (response.status_code, response.json()) == (200, {})
    await fim.post("/infill", json=vim())
    warmed, asked = engine.requests
    assert warmed.max_tokens == 0
    assert isinstance(warmed.prompt, str)
    shared = warmed.prompt.partition(FIM.suffix)[0]
    assert "PI = 3" in shared
    assert isinstance(asked.prompt, str)
    assert asked.prompt.startswith(shared)


async def test_a_warm_up_of_nothing_is_answered_without_the_engine(
    engine: ScriptedEngine, plain: httpx.AsyncClient
) -> None:
    response = await plain.post("/infill", json={"n_predict": 0})
    assert response.status_code == 200
    assert response.json()["content"] == ""
    assert engine.requests == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/infill", {}),
        ("/infill", {"input_suffix": "\n"}),
        ("/infill", {"prompt": " "}),
        ("/v1/completions", {"segments": {"prefix": ""}}),
        ("/v1/completions", {"prompt": "", "suffix": ""}),
        ("/v1/completions", {"prompt": "", "suffix": "\n", "n": 2}),
        ("/v1/fim/completions", {"prompt": "", "suffix": "\n"}),
    ],
)
async def test_in_an_empty_file_nothing_is_written(
    engine: ScriptedEngine, plain: httpx.AsyncClient, path: str, body: dict[str, Any], stream: bool
) -> None:
    response = await plain.post(path, json={**body, "stream": stream})
    assert response.status_code == 200, response.text
    assert response.headers["x-hone-completion-mode"] == "prefix"
    assert "width" not in response.text
    assert engine.requests == []


@pytest.mark.parametrize("path", ["/infill", "/v1/completions", "/v1/fim/completions"])
async def test_a_model_without_infilling_continues_the_prefix_and_says_so(
    engine: ScriptedEngine, plain: httpx.AsyncClient, path: str
) -> None:
    body = vim(response_fields=None) if path == "/infill" else {"prompt": PREFIX, "suffix": SUFFIX}
    response = await plain.post(path, json=body)
    assert response.headers["x-hone-completion-mode"] == "prefix"
    assert response.json()["hone"]["completion_mode"] == "prefix"
    (asked,) = engine.requests
    assert isinstance(asked.prompt, str)
    # What is trimmed is expected to begin with the space.
    assert asked.prompt.endswith(PREFIX.rstrip() if path == "/infill" else PREFIX)
    assert SUFFIX not in asked.prompt
    assert not asked.parse_special


async def test_code_that_spells_control_tokens_does_not_become_control_tokens(
    engine: ScriptedEngine, fim: httpx.AsyncClient
) -> None:
    response = await fim.post("/v1/completions", json={"prompt": f'END = "{FIM.middle}"\nx = ', "suffix": "\n"})
    assert response.headers["x-hone-completion-mode"] == "prefix"
    assert not engine.requests[0].parse_special


@pytest.mark.parametrize("path", ["/infill", "/v1/completions", "/v1/completions of segments"])
async def test_other_control_tokens_that_code_spells_stay_text(path: str) -> None:
    engine = ScriptedEngine(control=frozenset({"<|endoftext|>", "<|im_end|>"}))
    before, after = 'END = "<|endoftext|>"\nx: list<int> = ', '\nprint("<|im_end|>")\n'
    async with client(gateway(engine, FIM)) as http:
        for prefix, suffix in ((before, after), ("x: list<int> = ", "\n")):
            body: dict[str, Any] = {"prompt": prefix, "suffix": suffix}
            if path == "/infill":
                body = {"prompt": prefix, "input_suffix": suffix}
            elif path.endswith("segments"):
                body = {"segments": {"prefix": prefix, "suffix": suffix}}
            response = await http.post(path.removesuffix(" of segments"), json=body)
            assert response.headers["x-hone-completion-mode"] == "fim"
    spelled, plain = engine.requests
    text = str(spelled.prompt)
    assert text == prompts.infill(before, after, FIM)
    # All of the code, as it was encoded in training.
    assert [text[start:end] for start, end in spelled.verbatim] == [before, after]
    assert plain.verbatim == ()


async def test_a_program_says_where_the_code_of_its_own_prompt_stands(
    engine: ScriptedEngine, fim: httpx.AsyncClient
) -> None:
    engine.control = frozenset({"<|endoftext|>"})
    code = '"<|endoftext|>"'
    prompt = f"{FIM.prefix}{code}{FIM.suffix}{FIM.middle}"
    start = len(FIM.prefix)
    asked = {"prompt": prompt, "verbatim": [[start, start + len(code)]]}
    assert (await fim.post("/v1/completions", json=asked)).status_code == 200
    assert engine.requests[0].verbatim == ((start, start + len(code)),)
    for wrong in ([[0, 10**6]], [[5, 5]], [[5, 9], [7, 12]], [[3]], "x", [[True, 4]], [["0", 4]]):
        refused = await fim.post("/v1/completions", json={"prompt": prompt, "verbatim": wrong})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "verbatim")


async def test_what_does_not_fit_the_context_is_cut_far_from_the_cursor(
    engine: ScriptedEngine, fim: httpx.AsyncClient
) -> None:
    near = "x = 1\nvalue = "
    extra = [{"text": f"part {number}\n" * 20, "filename": f"{number}.py"} for number in range(8)]
    body = vim(
        input_prefix="far = 0\n" * 900 + near,
        prompt="",
        input_suffix="\nnear = 2\n" + "z = 3\n" * 900,
        input_extra=extra,
    )
    answer = (await fim.post("/infill", json={**body, "response_fields": ["truncated"]})).json()
    assert answer == {"truncated": True}
    (asked,) = engine.requests
    assert isinstance(asked.prompt, str)
    before, _, after = asked.prompt.partition(FIM.suffix)
    assert before.endswith(near)
    assert after.startswith("\nnear = 2\n")
    assert len(engine.tokenize(asked.prompt)) <= engine.context_length - 128
    shown = [number for number in range(8) if f"part {number}\n" in before]
    assert shown == list(range(8))[len(range(8)) - len(shown) :]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input_prefix": 3}, "input_prefix"),
        ({"input_extra": {"text": "x"}}, "input_extra"),
        ({"input_extra": [{"filename": "x"}]}, "input_extra[0]"),
        ({"input_extra": [{"text": "x", "filename": 3}]}, "input_extra[0]"),
        ({"input_extra": [{"text": ""}] * 300}, "input_extra"),
        ({"n_predict": -2}, "n_predict"),
        ({"n_indent": -1}, "n_indent"),
        ({"samplers": "top_k"}, "samplers"),
        ({"samplers": ["top_k"] * 17}, "samplers"),
        ({"t_max_predict_ms": -1}, "t_max_predict_ms"),
        ({"response_fields": ["a"] * 65}, "response_fields"),
    ],
)
async def test_a_wrong_field_is_named(fim: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    response = await fim.post("/infill", json={"input_prefix": "x", **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


async def test_continue_streams_from_llama_cpps_own_completion(
    engine: ScriptedEngine, plain: httpx.AsyncClient
) -> None:
    body = {"prompt": "<fim>x", "stream": True, "n_predict": 2, "stop": ["\n\n"], "temperature": 0.01, "mirostat": 0}
    received = events(await plain.post("/completion", json=body))
    assert "".join(event["content"] for event in received) == "width *"
    assert [event["stop"] for event in received] == [False, False, True]
    assert received[-1]["stop_type"] == "limit"
    assert received[-1]["tokens_predicted"] == 2
    assert engine.requests[0].prompt == "<fim>x"


async def test_continue_streams_infilling_in_mistrals_form(engine: ScriptedEngine, fim: httpx.AsyncClient) -> None:
    body = {"model": "fake", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 64, "stream": True, "stop": ["\n"]}
    *received, end = events(await fim.post("/v1/fim/completions", json=body))
    assert end == "[DONE]"
    deltas = [event["choices"][0]["delta"] for event in received]
    assert "".join(delta.get("content", "") for delta in deltas) == "width * height"
    assert engine.requests[0].prompt == prompts.infill(PREFIX, SUFFIX, FIM)


async def test_zed_sends_a_prompt_with_the_models_tokens_in_it(engine: ScriptedEngine, fim: httpx.AsyncClient) -> None:
    prompt = prompts.infill(PREFIX, SUFFIX, FIM)
    body = {"model": "fake", "prompt": prompt, "max_tokens": 150, "temperature": 0.2, "stop": ["<|endoftext|>"]}
    answer = (await fim.post("/v1/completions", json=body)).json()
    assert answer["choices"][0]["text"] == "width * height"
    (asked,) = engine.requests
    assert asked.prompt == prompt
    assert asked.parse_special


def segments(**fields: Any) -> dict[str, Any]:
    return {"language": "python", "segments": {"prefix": PREFIX, "suffix": SUFFIX, **fields}, "user": "me"}


async def test_tabby_completes_between_segments(engine: ScriptedEngine, fim: httpx.AsyncClient) -> None:
    body = segments(
        filepath="shapes/area.py",
        git_url="https://example.com/x.git",
        declarations=[{"filepath": "a.py", "body": "A = 1\n"}],
        relevant_snippets_from_changed_files=[{"filepath": "b.py", "body": "B = 2\n", "score": 0.5}],
        clipboard="secret",
    )
    answer = (await fim.post("/v1/completions", json=body)).json()
    assert answer["choices"] == [{"index": 0, "text": "width * height"}]
    assert answer["id"].startswith("cmpl-")
    (asked,) = engine.requests
    snippets = [Snippet("b.py", "B = 2\n"), Snippet("a.py", "A = 1\n")]
    assert asked.prompt == prompts.fim("shapes/area.py", PREFIX, SUFFIX, FIM, snippets)
    assert asked.max_tokens == 64


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"segments": "x"}, "segments"),
        ({"segments": {"prefix": 3}}, "prefix"),
        ({"segments": {"prefix": "x", "declarations": [{"filepath": "a"}]}}, "declarations"),
        ({"segments": {"prefix": "x"}, "mode": "next_edit_suggestion"}, "mode"),
        ({"segments": {"prefix": "x"}, "seed": "x"}, "seed"),
    ],
)
async def test_a_wrong_field_of_tabbys_is_named(fim: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    response = await fim.post("/v1/completions", json=body)
    assert response.json()["error"]["param"] == field


async def test_tabby_learns_what_it_talks_to(plain: httpx.AsyncClient) -> None:
    for ask in (plain.get, plain.post):
        health = (await ask("/v1/health")).json()
        assert health["model"] == "fake"
        assert health["version"]["git_describe"].startswith("hone-")
    assert (await plain.get("/v1beta/server_setting")).json() == {"disable_client_side_telemetry": True}


@pytest.mark.parametrize("stream", [False, True])
async def test_several_answers_come_with_their_numbers_and_seeds(
    engine: ScriptedEngine, plain: httpx.AsyncClient, stream: bool
) -> None:
    engine.answer = lambda request: f"seed {request.seed}"
    body = {"prompt": "x", "n": 3, "seed": 7, "stream": stream, "stream_options": {"include_usage": True}}
    response = await plain.post("/v1/completions", json=body if stream else {**body, "stream_options": None})
    texts = ["", "", ""]
    if stream:
        *received, counted, end = events(response)
        assert end == "[DONE]"
        for event in received:
            texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
        usage = counted["usage"]
    else:
        for choice in response.json()["choices"]:
            texts[choice["index"]] = choice["text"]
        usage = response.json()["usage"]
    assert texts == ["seed 7", "seed 8", "seed 9"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1, 6)


@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_come_in_both_of_openais_shapes(
    engine: ScriptedEngine, plain: httpx.AsyncClient, stream: bool
) -> None:
    chat_body = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 2, "stream": stream}
    text_body = {"prompt": "x", "logprobs": 2, "stream": stream}
    chat: list[Any] = []
    text: list[Any] = []
    for path, body, found in (("/v1/chat/completions", chat_body, chat), ("/v1/completions", text_body, text)):
        response = await plain.post(path, json=body)
        bodies = events(response)[:-1] if stream else [response.json()]
        found += [choice["logprobs"] for body in bodies for choice in body["choices"] if choice["logprobs"]]
    entries = [entry for logprobs in chat for entry in logprobs["content"]]
    assert "".join(entry["token"] for entry in entries) == "width * height"
    assert all(bytes(entry["bytes"]).decode() == entry["token"] for entry in entries)
    assert [other["token"] for other in entries[0]["top_logprobs"]] == ["width", "other"]
    assert entries[0]["logprob"] == -0.5
    tokens = [token for logprobs in text for token in logprobs["tokens"]]
    offsets = [offset for logprobs in text for offset in logprobs["text_offset"]]
    assert offsets == [sum(map(len, tokens[:index])) for index in range(len(tokens))]
    assert text[0]["top_logprobs"][0] == {"width": -0.5, "other": -1.5}


async def test_only_known_fields_reach_the_engine(engine: ScriptedEngine, plain: httpx.AsyncClient) -> None:
    injected = {
        "lora": [{"id": 0, "scale": 9.0}],
        "id_slot": 0,
        "n_discard": -5,
        "n_keep": -5,
        "grammar": "root ::= [",
        "json_schema": {"type": "object"},
        "adapter": "other",
        "n_probs": 10**9,
        "cache_prompt": False,
        "image_data": [{"data": "x"}],
        "lora_path": "/etc/passwd",
        "slot_save_path": "/tmp",
        "min_keep": 10**9,
        "return_tokens": True,
        "line_seconds": 5,
        "dry_multiplier": 9,
    }
    # llama.cpp's own paths know it.
    further = {**injected, "n_predict": 10**9}
    for path, body, added in (
        ("/v1/completions", {"prompt": "x"}, further),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, further),
        ("/v1/fim/completions", {"prompt": "x", "suffix": "y"}, further),
        ("/v1/completions", segments(), further),
        ("/infill", {"input_prefix": "x", "n_predict": 8}, injected),
        ("/completion", {"prompt": "x", "n_predict": 8}, injected),
    ):
        engine.requests.clear()
        for fields in ({}, added):
            assert (await plain.post(path, json={**body, "seed": 1, **fields})).status_code == 200
        bare, with_more = engine.requests
        assert bare == with_more


def test_the_child_passes_on_a_fixed_list_of_fields() -> None:
    from assistant.engines.llamacpp_child import engine_fields

    asked = vars(
        Request("x", json_schema={"type": "object"}, samplers=("top_k",), logprobs=0, min_indent=4, line_seconds=0.5)
    )
    assert set(
        engine_fields({**asked, "n_discard": -5, "id_slot": 3, "grammar": "x"}, [1], 8, ["first", "second"])
    ) == {
        *("prompt", "n_predict", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty"),
        *("presence_penalty", "seed", "stop", "stream", "cache_prompt", "return_progress", "timings_per_token"),
        *("json_schema", "samplers", "n_probs", "t_max_predict_ms", "lora"),
    }
    assert json.dumps(engine_fields({**asked, "seed": None}, [1], 8, []))
