"""`/v1/likelihoods` of a running gateway, and through the client."""

from pathlib import Path
from typing import Any

import pytest

from assistant.client import connect
from assistant.errors import HoneError
from assistant.gateway.fields import BadFieldError
from assistant.gateway.likelihoods import parse_likelihoods
from tests.assistant.adapters import register_adapter
from tests.assistant.gateway_fakes import MODEL, ScriptedEngine, client, gateway

TEXTS = ["def double(value):\n", ""]
ANSWERS = ["    return value * 2\n", "\nprint(double(3))\n"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "texts"),
        ({"texts": "x", "answers": ["y"]}, "texts"),
        ({"texts": [], "answers": []}, "texts"),
        ({"texts": ["", "x"], "answers": ["y", "z"]}, "texts"),
        ({"texts": ["x"] * 1025, "answers": ["y"] * 1025}, "texts"),
        ({"texts": ["x"]}, "answers"),
        ({"texts": ["x"], "answers": [1]}, "answers"),
        ({"texts": ["x"], "answers": [""]}, "answers"),
        ({"texts": ["x"], "answers": ["y", "z"]}, "answers"),
        ({"texts": ["x"], "answers": ["y"], "model": 1}, "model"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str):
    with pytest.raises(BadFieldError) as caught:
        parse_likelihoods(body)
    assert caught.value.field == field


async def test_the_answer_has_a_row_for_each_answer():
    async with client(gateway(ScriptedEngine())) as http:
        answer = (await http.post("/v1/likelihoods", json={"texts": ["x", ""], "answers": ["one two", "three"]})).json()
        wrong = await http.post("/v1/likelihoods", json={"texts": ["x"], "answers": []})
    assert answer["object"] == "likelihoods"
    assert answer["model"].startswith(MODEL)
    assert answer["logprobs"] == [[-0.5, -0.5], [-0.5]]
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "answers")


@pytest.mark.model
def test_an_adapter_and_its_base_are_asked_through_the_client(embedded_home: Path):
    adapter = register_adapter("judge", seed=1)
    with connect(model=adapter.id) as gate:
        ours = gate.likelihoods(TEXTS, ANSWERS)
        base = gate.likelihoods(TEXTS, ANSWERS, model="smollm2-135m")
        sizes = [len(tokens) for tokens in gate.tokenize(ANSWERS)]
        with pytest.raises(HoneError, match="as many answers as texts"):
            gate.likelihoods(TEXTS, ANSWERS[:1])
    assert [len(row) for row in ours] == [len(row) for row in base] == sizes
    assert all(value < 0 for row in ours for value in row)
    assert ours[0] != pytest.approx(base[0], abs=1e-4)
