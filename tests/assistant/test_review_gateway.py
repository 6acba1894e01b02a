"""A review by an adapter that a running gateway serves."""

import json
from pathlib import Path

import pytest

from assistant.client import connect
from assistant.review_context import build
from assistant.review_rewriting import log_odds, rewriting
from assistant.skills.review import explain, model
from assistant.skills.review.request import Request
from assistant.skills.review.run import review
from tests.assistant.adapters import register_adapter


@pytest.mark.model
def test_a_review_by_an_adapter_that_the_gateway_serves(
    embedded_home: Path, make_repository, monkeypatch: pytest.MonkeyPatch
):
    adapter = register_adapter("judge", seed=1)
    raw = {"slope": 1.0, "intercept": 0.0}
    reviewer = {"threshold": 0.0, "precision": 0.5, "usual": 0.0, "per_log_length": 0.0, "validation": {}}
    described = {"schema_version": 3, "formulation": "rewriting", **reviewer, "added": raw, "replaced": raw}
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
    # Its own probability, not its base's.
    hunk = build("x.py", ["def area(w, h):", "    return w + h"], {2}, {2: ["    return w * h"]})
    asked = rewriting(hunk)
    with connect(model=adapter.id) as client:
        ours, base = (
            log_odds(hunk, asked.asked, client.likelihoods(asked.texts, asked.answers, model=name))
            for name in (adapter.id, "smollm2-135m")
        )
    assert evidence.details["logit"] == pytest.approx(ours[1], abs=0.3)
    assert ours[1] != pytest.approx(base[1], abs=1e-3)
