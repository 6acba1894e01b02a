"""The gateway on a model without a GGUF whose tokenizer has fill-in-the-middle tokens: tiny, with random weights."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from assistant import prompts
from assistant.models import store
from tests.assistant.gateway_processes import Served, serve

pytestmark = pytest.mark.model

TOKENS = prompts.FIM_FAMILIES[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, session_home: Path) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(session_home))
        base = store.find("smollm2-135m")
        assert base is not None
        tokenizer = AutoTokenizer.from_pretrained(store.tuning_form(base))
    tokenizer.add_special_tokens({"additional_special_tokens": [TOKENS.prefix, TOKENS.suffix, TOKENS.middle]})
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("fim") / "home"
    home.mkdir()
    with serve(home, "--port", "0", "--model", str(folder)) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0, timeout=600) as client:
        yield client


def test_a_suffix_is_put_between_the_models_own_tokens(client: openai.OpenAI) -> None:
    def complete(prompt: str, suffix: str | None = None) -> tuple[str, int]:
        answer = client.completions.create(
            model=client.models.list().data[0].id, prompt=prompt, suffix=suffix, max_tokens=8, temperature=0
        )
        assert answer.usage is not None
        return answer.choices[0].text, answer.usage.prompt_tokens

    by_suffix = complete("def area(w, h):\n    return ", "\n\nprint(area(2, 3))\n")
    by_hand = complete(prompts.infill("def area(w, h):\n    return ", "\n\nprint(area(2, 3))\n", TOKENS))
    assert by_suffix == by_hand
    plain = complete("def area(w, h):\n    return ")
    assert by_suffix[1] > plain[1] + 3


def test_the_model_list_says_how_it_completes(client: openai.OpenAI) -> None:
    extra = client.models.list().data[0].model_extra
    assert extra is not None
    assert extra["completion_mode"] == "fim"
    assert prompts.FimTokens(**extra["fim_tokens"]) == TOKENS
    assert extra["context_length"] == 256


def test_the_torch_engine_answers_like_the_other(client: openai.OpenAI, folder: Path) -> None:
    fields = {"model": str(folder), "prompt": "x = ", "max_tokens": 8}
    whole = client.completions.create(**fields, temperature=1, seed=3)  # type: ignore[call-overload]
    chunks = list(client.completions.create(**fields, temperature=1, seed=3, stream=True))  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    chat = client.chat.completions.create(
        model=str(folder), messages=[{"role": "user", "content": "hi"}], max_tokens=4, temperature=0
    )
    assert chat.choices[0].finish_reason in ("length", "stop")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=str(folder), prompt=[5] * 300)
    assert long.value.code == "context_length_exceeded"


def test_special_tokens_in_a_plain_prompt_can_be_kept_text(served: Served, folder: Path) -> None:
    body = {"model": str(folder), "prompt": TOKENS.prefix, "max_tokens": 1, "temperature": 0}
    with served.http() as http:
        special = http.post("/v1/completions", json=body).json()["usage"]["prompt_tokens"]
        plain = http.post("/v1/completions", json={**body, "parse_special": False}).json()["usage"]["prompt_tokens"]
    assert special == 1
    assert plain > 1


def test_a_schema_is_refused_where_nothing_can_enforce_it(client: openai.OpenAI, folder: Path) -> None:
    with pytest.raises(openai.BadRequestError, match="no JSON schema can be enforced"):
        client.chat.completions.create(
            model=str(folder),
            messages=[{"role": "user", "content": "hi"}],
            response_format={"type": "json_object"},
        )
