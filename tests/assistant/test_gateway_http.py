"""`hone serve` over HTTP, as the openai package and as other programs meet it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.assistant.adapters import register_adapter
from tests.assistant.gateway_processes import Served, serve
from tests.conftest import home_with_models

pytestmark = pytest.mark.model

MODEL = "smollm2-135m"
HELLO = [{"role": "user", "content": "Say hello."}]
PROMPT = "def fibonacci(n):\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, embedded_store: Path) -> Iterator[Served]:
    home = home_with_models(tmp_path_factory.mktemp("gateway") / "home", embedded_store)
    with serve(home, "--port", "0") as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0, timeout=600) as client:
        yield client


@pytest.fixture
def home(served: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The served state folder, also for code that runs in the test itself."""
    monkeypatch.setenv("HONE_HOME", str(served.home))
    return served.home


def test_a_chat_answers_whole_and_streamed_alike(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, temperature=0)  # type: ignore[arg-type]
    stream = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,  # type: ignore[arg-type]
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    assert whole.model == MODEL
    assert whole.choices[0].message.role == "assistant"
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert len([text for text in texts if text]) > 2
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_a_completion_answers_whole_and_streamed_alike(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0)
    chunks = list(client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0, stream=True))
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks)
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "length"
    assert whole.object == chunks[0].object == "text_completion"


def test_the_hone_field_says_what_answered_and_how_fast(served: Served) -> None:
    body = {"model": MODEL, "prompt": PROMPT, "max_tokens": 4, "temperature": 0}
    with served.http() as http:
        first = http.post("/v1/completions", json=body).json()["hone"]
        with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
            events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert events[-1] == "[DONE]"
    last = json.loads(events[-2])["hone"]
    for details in (first, last):
        assert (details["model"], details["base"], details["adapter"]) == (MODEL, MODEL, None)
        assert details["completion_tokens"] == 4
        assert details["tokens_per_second"] > 0
        assert details["context_length"] == 2048 or details["context_length"] == 4096
    assert last["cached_tokens"] > 0


def test_sampling_and_stop_reach_the_engine(client: openai.OpenAI) -> None:
    def sample(seed: int) -> str:
        answer = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=1, seed=seed)
        return answer.choices[0].text

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in (1, 2, 3)}) > 1
    whole = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=24, temperature=0).choices[0].text
    cut = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=24, temperature=0, stop=["return", "zzz"])
    assert "return" in whole
    assert cut.choices[0].text == whole[: whole.index("return")]
    assert cut.choices[0].finish_reason == "stop"


VERDICT = {
    "type": "object",
    "properties": {"severity": {"enum": ["low", "high"]}, "wrong": {"type": "boolean"}},
    "required": ["severity", "wrong"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_answer_is_json_of_the_schema_that_was_asked_for(client: openai.OpenAI, seed: int) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT, "strict": True}}
    common: Any = {"model": MODEL, "max_tokens": 48, "temperature": 1.5, "seed": seed}
    chat = client.chat.completions.create(messages=HELLO, response_format=wanted, **common)
    text = client.completions.create(prompt=PROMPT, extra_body={"response_format": wanted}, **common)
    for choice, answer in ((chat.choices[0], chat.choices[0].message.content), (text.choices[0], text.choices[0].text)):
        assert choice.finish_reason == "stop"
        found = json.loads(answer or "")
        assert list(found) == ["severity", "wrong"]
        assert found["severity"] in ("low", "high")
        assert found["wrong"] in (True, False)


def test_a_stop_string_may_cut_an_answer_of_a_schema(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT, "strict": True}}
    common: Any = {"model": MODEL, "max_tokens": 48, "temperature": 0, "response_format": wanted}
    cut = client.chat.completions.create(messages=HELLO, stop=["wrong"], **common).choices[0]
    assert cut.finish_reason == "stop"
    assert (cut.message.content or "").startswith('{"severity": "')
    assert "wrong" not in (cut.message.content or "")


def test_any_json_object_can_be_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,  # type: ignore[arg-type]
        max_tokens=48,
        temperature=0,
        response_format={"type": "json_object"},
    )
    text = answer.choices[0].message.content or ""
    assert text.startswith("{")
    assert answer.choices[0].finish_reason == "length" or isinstance(json.loads(text), dict)


def test_a_schema_that_the_engine_cannot_enforce_is_the_requests_fault(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "nonsense"}}, "required": ["a"]}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL,
            messages=HELLO,  # type: ignore[arg-type]
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        )
    assert "\n" not in caught.value.message
    assert client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=1).choices


def test_token_ids_are_a_prompt_too(served: Served, client: openai.OpenAI) -> None:
    with served.http() as http:
        answer = http.post("/v1/tokenize", json={"model": MODEL, "texts": [PROMPT, "", "<|im_end|>"]}).json()
    tokens, empty, special = answer["tokens"]
    assert empty == []
    assert len(special) > 1
    by_ids = client.completions.create(model=MODEL, prompt=tokens, max_tokens=8, temperature=0)
    by_text = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=8, temperature=0)
    assert by_ids.choices[0].text == by_text.choices[0].text


def test_the_models_are_listed_the_default_first(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert models[0].id == MODEL
    extra = models[0].model_extra
    assert extra is not None
    assert extra["completion_mode"] == "prefix"
    assert extra["fim_tokens"] is None
    assert extra["context_length"] > 0


def test_several_answers_differ_and_report_their_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,  # type: ignore[arg-type]
        max_tokens=6,
        temperature=1.5,
        n=3,
        seed=1,
        logprobs=True,
        top_logprobs=2,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    for choice in answer.choices:
        assert choice.logprobs is not None
        entries = choice.logprobs.content or []
        assert "".join(entry.token for entry in entries) == choice.message.content
        assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in entries)
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 3


def test_a_suffix_without_infilling_is_answered_left_to_right_and_says_so(client: openai.OpenAI) -> None:
    fields: Any = {"model": MODEL, "prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    plain = client.completions.create(**fields, extra_body={"parse_special": False})
    raw = client.completions.with_raw_response.create(**fields, suffix="\nprint(1)\n")
    assert raw.headers["x-hone-completion-mode"] == "prefix"
    assert raw.parse().choices[0].text == plain.choices[0].text


def test_llama_vim_warms_up_and_is_answered_from_what_it_warmed(served: Served) -> None:
    extra = [{"text": "VALUE = 1\n" * 40, "filename": "values.py"}]
    with served.http() as http:
        warm = {"input_prefix": "", "input_suffix": "", "input_extra": extra, "prompt": "", "n_predict": 0}
        assert http.post("/infill", json={**warm, "samplers": [], "response_fields": [""]}).json() == {}
        body = {"input_prefix": "import values\n", "input_suffix": "\n", "input_extra": extra, "prompt": "x = "}
        limits = {"n_predict": 8, "n_indent": 0, "t_max_predict_ms": 1000, "samplers": ["top_k", "top_p", "infill"]}
        answer = http.post("/infill", json={**body, **limits}).json()
    assert answer["tokens_predicted"] <= 8
    assert answer["timings"]["cache_n"] > 0.8 * answer["tokens_evaluated"]
    assert answer["hone"].get("ignored_samplers") is None


def test_wrong_requests_raise_openais_exceptions(served: Served, client: openai.OpenAI) -> None:
    def complete(**fields) -> None:
        client.completions.create(**{"model": MODEL, "prompt": PROMPT, "max_tokens": 2, **fields})

    with pytest.raises(openai.NotFoundError, match="did you mean smollm2-135m") as unknown:
        complete(model="smollm2-153m")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="temperature") as bad:
        complete(temperature=3)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        complete(prompt=[100] * 5000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as streamed:
        complete(prompt=[100] * 5000, stream=True)
    assert streamed.value.code == "context_length_exceeded"
    stranger = openai.OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/tokenize", "/", "/nothing"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("key", ["", "wrong"])
def test_no_path_answers_without_the_key(served: Served, path: str, method: str, key: str) -> None:
    with served.http(key) as http:
        response = http.request(method, path)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_health_without_a_key_tells_nothing_but_the_status(served: Served) -> None:
    with served.http("") as http:
        assert http.get("/health").json() in ({"status": "ok"}, {"status": "loading"})
    with served.http("wrong") as http:
        assert http.get("/health").status_code == 401
    with served.http() as http:
        http.get("/v1/models")
        known = http.get("/health").json()
    assert (known["status"], known["base"], known["requests"]) == ("ok", MODEL, 0)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8873", "localhost.evil.example"])
def test_a_foreign_host_name_is_refused_even_with_the_key(served: Served, host: str) -> None:
    with served.http() as http:
        response = http.get("/v1/models", headers={"Host": host})
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b'{"prompt": "\xff\xfe"}', 400),
        (b'{"prompt": "\\ud800"}', 400),
        (b'{"prompt": NaN}', 400),
        (b'{"prompt": ' + b"[" * 100_000 + b"}", 400),
        (b'{"prompt": "' + b"x" * (5 * 1024 * 1024) + b'"}', 413),
    ],
)
def test_a_malformed_body_is_refused_in_openais_shape(served: Served, body: bytes, status: int) -> None:
    with served.http() as http:
        response = http.post("/v1/completions", content=body)
        assert response.status_code == status
        assert "\n" not in response.json()["error"]["message"]
        chunked = http.post("/v1/completions", content=iter([body[: len(body) // 2], body[len(body) // 2 :]]))
        assert chunked.status_code == status


def test_unknown_urls_and_methods_are_named(served: Served) -> None:
    with served.http() as http:
        assert http.get("/v1/nothing").status_code == 404
        wrong = http.get("/v1/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_a_request_cannot_name_a_path(served: Served, tmp_path: Path) -> None:
    with served.http() as http:
        file = tmp_path / "x.gguf"
        file.write_bytes(b"GGUF")
        names = (
            "/etc/passwd",
            "../models",
            "org/model",
            "https://example.com/x.gguf",
            "tuned@../..",
            "x\0",
            "x" * 99_999,
        )
        for model in (*names, str(file), str(tmp_path)):
            response = http.post("/v1/completions", json={"model": model, "prompt": "x"})
            assert response.status_code == 404


def test_a_client_that_leaves_frees_the_engine(served: Served) -> None:
    with served.http() as http:
        # Four whole answers would take minutes.
        body = {"prompt": PROMPT, "max_tokens": 2000, "temperature": 0.8, "stream": True, "n": 4}
        with http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            for _ in range(3):
                next(lines)
            assert http.get("/health").json()["requests"] == 4
        assert _idle(http)
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/completions", json={**body, "stream": False}, timeout=0.5)
        assert _idle(http)


def _idle(http: httpx.Client) -> bool:
    """Whether no request runs any more, long before a whole answer could have been written."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if http.get("/health").json()["requests"] == 0:
            return True
        time.sleep(0.02)
    return False


def test_a_promotion_takes_effect_with_the_next_request(client: openai.OpenAI, home: Path) -> None:
    from assistant.models.registry import Registry

    first, second = register_adapter("tuned", seed=1), register_adapter("tuned", seed=3)

    def ask(model: str) -> tuple[str, str]:
        answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=24, temperature=0)
        return answer.model, answer.choices[0].text

    base = ask(MODEL)
    with pytest.raises(openai.NotFoundError):
        ask("champion")
    Registry().promote(first.id)
    one = ask("champion")
    Registry().promote(second.id)
    two = ask("champion")
    Registry().rollback()

    assert (one[0], two[0]) == (first.id, second.id)
    assert ask("champion") == one
    assert ask("tuned") == two
    assert ask(first.id) == one
    assert ask(MODEL) == base
    assert len({base[1], one[1], two[1]}) == 3
    listed = {model.id for model in client.models.list()}
    assert {MODEL, "tuned", first.id, second.id, "champion"} <= listed


def test_a_new_adapter_does_not_interrupt_a_running_answer(client: openai.OpenAI, home: Path) -> None:
    running = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=60, temperature=0, stream=True)
    pieces = [next(iter(running)).choices[0].text]
    version = register_adapter("later", seed=3)
    assert client.completions.create(model=version.id, prompt=PROMPT, max_tokens=2).model == version.id
    chunks = list(running)
    pieces += [chunk.choices[0].text for chunk in chunks]
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")
    alone = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=60, temperature=0)
    assert "".join(pieces)[:40] == alone.choices[0].text[:40]


def test_a_changed_adapter_is_refused_in_one_line(client: openai.OpenAI, home: Path) -> None:
    version = register_adapter("changed", seed=4)
    file = version.folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(openai.BadRequestError, match="were changed"):
        client.completions.create(model="changed", prompt=PROMPT, max_tokens=2)
