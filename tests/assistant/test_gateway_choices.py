"""`/v1/choices` of a running gateway, and through the client."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from assistant.client import connect
from assistant.errors import HoneError
from assistant.gateway.choices import parse_choices
from assistant.gateway.fields import BadFieldError
from assistant.skills.review import explain, model
from assistant.skills.review.request import Request
from assistant.skills.review.run import review
from tests.assistant.adapters import register_adapter

TEXTS = ["Is it right?\n+1 return width * height =>", "\n+2 return width + height =>"]
CHOICES = [" ok", " wrong"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "texts"),
        ({"texts": "x", "choices": CHOICES}, "texts"),
        ({"texts": ["x"], "choices": [" ok", 1]}, "choices"),
        ({"texts": ["x"], "choices": [" ok"]}, "choices"),
        ({"texts": [], "choices": CHOICES}, "choices"),
        ({"texts": ["x"], "choices": CHOICES, "assumed": -1}, "assumed"),
        ({"texts": ["x"], "choices": CHOICES, "assumed": 2}, "choices"),
        ({"texts": ["x"], "choices": CHOICES, "model": 1}, "model"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str):
    with pytest.raises(BadFieldError) as caught:
        parse_choices(body)
    assert caught.value.field == field


@pytest.mark.model
def test_a_review_by_an_adapter_that_the_gateway_serves(
    embedded_home: Path, make_repository, monkeypatch: pytest.MonkeyPatch
):
    adapter = register_adapter("judge", seed=1)
    reviewer = {"threshold": 0.0, "precision": 0.5, "slope": 1.0, "intercept": 0.0, "validation": {}}
    described = {"schema_version": 1, "formulation": "verdicts", **reviewer}
    (adapter.folder / "reviewer.json").write_text(json.dumps(described))
    root = make_repository({"x.py": "def area(w, h):\n    return w * h\n"})
    (root / "x.py").write_text("def area(w, h):\n    return w + h\n")
    monkeypatch.chdir(root)
    # Enough to see that the engine takes the schema.
    monkeypatch.setattr(explain, "MAX_TOKENS", 8)
    found, note = model.find()
    assert found is not None
    assert note is None
    done = review(Request(root, samples=1), found)
    assert done.model == adapter.id
    assert done.hunks == 1
    finding = next(one for one in done.findings if one.line == 2)
    (evidence,) = finding.evidence
    assert 0 < evidence.confidence < 1
    assert finding.message == "this line is probably wrong"
    with connect(model=adapter.id) as client:
        ours = client.choose(TEXTS, CHOICES)
        base = client.choose(TEXTS, CHOICES, model="smollm2-135m")
        with pytest.raises(HoneError, match="apart by one token"):
            client.choose(TEXTS, [" ok", " ok then"])
    assert [len(row) for row in ours] == [2, 2]
    assert sum(map(math.exp, ours[0])) == pytest.approx(1, abs=1e-5)
    assert ours[0] != pytest.approx(base[0], abs=1e-4)
