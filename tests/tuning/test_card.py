"""The card and the plot that a run leaves."""

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.card import card, write_card
from tuning.formats.hashes import file_hashes
from tuning.plan import CorpusOptions, LoraOptions, Plan, to_json
from tuning.plot import Curves, loss_svg, read_metrics, thinned

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def manifest() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "shop",
        "digest": "ab" * 32,
        "created": "2026-01-02T03:04:05+00:00",
        "base": {"name": "smollm2-135m", "weights": "cd" * 32, "digest": "ef" * 32},
        "corpus": {
            "sources": [
                {"path": "/private/place/shop", "commit": "1" * 40, "remote": None, "dirty": True},
                {"path": "/private/place/notes", "commit": None, "remote": None, "dirty": False},
            ],
            "files": [
                {
                    "source": 0,
                    "path": "a.py",
                    "sha256": "0" * 64,
                    "bytes": 700,
                    "language": "python",
                    "licence": "MIT",
                    "split": "train",
                },
                {
                    "source": 0,
                    "path": "b.go",
                    "sha256": "1" * 64,
                    "bytes": 300,
                    "language": "go",
                    "licence": None,
                    "split": "test",
                },
                {
                    "source": 1,
                    "path": "c.py",
                    "sha256": "2" * 64,
                    "bytes": 5,
                    "language": "python",
                    "licence": "MIT",
                    "split": "validation",
                },
            ],
            "dropped": [
                {"source": 0, "path": "d.py", "verdict": "vendored", "reason": "in vendor/"},
                {"source": 0, "path": "e.py", "verdict": "near duplicate", "reason": "of a.py (0.91)"},
                {"path": "f.py", "reason": "too long: 9 bytes, at most 8 are taken"},
            ],
            "redactions": {"AWS Access Key": 2, "Email": 0},
        },
        "configuration": {
            "steps": 30,
            "minutes": None,
            "rank": 32,
            "learning_rate": 1e-3,
            "rank_pattern": {},
            "spans": ["line", "syntax"],
        },
        "versions": {"python": "3.11.7", "peft": "0.21.2"},
        "figures": {
            "steps": 30,
            "tokens": 30720,
            "seconds": 120.0,
            "tokens_per_second": 256.0,
            "validation_before": 0.8,
            "validation_after": 0.6,
            "interrupted": False,
            "scales": {"0.5": 0.65, "1.0": None},
        },
        "proof": {
            "positions": 500,
            "agreement": 0.984,
            "base_agreement": 0.964,
            "reload_difference": 0.0,
            "changed": 0.3,
            "merged_difference": 2e-5,
            "quantized_type": "Q4_1",
            "quantized_bits_per_byte": 0.612,
            "unmerged_bits_per_byte": 0.6,
        },
    }


def test_the_card_tells_what_the_manifest_has(manifest: dict[str, Any]) -> None:
    manifest["evals"] = [{"name": "bits per byte, held-out files", "base": 0.685, "tuned": 0.516, "note": "-24.7%"}]
    text = card(manifest, "loss.svg")
    for expected in (
        "# shop@abababababab",
        "commit " + "1" * 40 + " with local changes; notes",
        "| files | 1 train, 1 validation, 1 held out for tests |",
        "| bytes | 1,005 |",
        "| languages | python 2, go 1 |",
        "| licences | MIT 2, unknown 1 |",
        "| left out | near duplicate 1, too long 1, vendored 1 |",
        "| secrets and personal data replaced | AWS Access Key 2 |",
        "| learning rate | 0.001 |",
        "| spans | line, syntax |",
        "| validation, bits per byte | 0.800 -> 0.600 (-25.0%) |",
        "0.5: 0.650, 1.0: not measured",
        "| bits per byte, held-out files | 0.685 -> 0.516 (-24.7%) |",
        "98.4% of 500 next tokens (bare base 96.4%)",
        "| merged and stored as Q4_1, bits per byte | 0.612, unmerged 0.600 (+2.00%) |",
        "Hone checks the digest",
        "![Loss by optimizer step](loss.svg)",
    ):
        assert expected in text, expected
    assert "minutes" not in text
    # Cards are shared.
    assert "/private" not in text


def test_the_card_has_a_table_of_each_section_of_the_settings_and_no_path(manifest: dict[str, Any]) -> None:
    corpus = CorpusOptions(
        sources=("/private/place/shop",),
        languages=("python", "go"),
        excluded_licences=("GPL-3.0-only",),
        decontaminate_files=("/private/place/exam.jsonl",),
        replay=0.1,
        replay_source="/private/place/general@v1",
    )
    plan = Plan(steps=30, lora=LoraOptions(rank=8, use_rslora=True), corpus=corpus)
    manifest["configuration"] = {
        **to_json(plan),
        "rank": plan.rank,
        "alpha": plan.alpha,
        "target_modules": plan.lora.target_modules,
        "dtype": "float32",
        "train_tokens": 12345,
    }
    text = card(manifest)
    own, lora, examples, rest = (
        part.partition("\n## ")[0]
        for part in re.split(r"^(?:## Configuration|### LoRA|### Examples|### Corpus settings)$", text, flags=re.M)[1:]
    )
    assert "| steps | 30 |" in own
    assert "| dtype | float32 |" in own
    assert "| train tokens | 12345 |" in own
    for line in ("| rank | 8 |", "| alpha | 16 |", "| target modules | all-linear |", "| use rslora | True |"):
        assert line in lora
        assert line not in own
    assert "| fim rate | 0.5 |" in examples
    assert "teach fim" not in examples
    for line in (
        "| languages | python, go |",
        "| excluded licences | GPL-3.0-only |",
        "| near duplicates | 0.7 |",
        "| redact | yes |",
        "| replay source | general@v1 |",
        "| decontaminate files | exam.jsonl |",
        "| split by | cluster |",
    ):
        assert line in rest
    assert "/private" not in text


def test_a_corpus_without_redaction_says_so_in_its_card(manifest: dict[str, Any]) -> None:
    options = CorpusOptions(redact=False, replay=0.1)
    manifest["configuration"] = to_json(Plan(steps=1, corpus=options))
    assert "| redact | no |" in card(manifest)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hf:some/set:part@train", "hf:some/set:part@train"),
        ("hf:/private/place/set@train", "set@train"),
        ("hf:~/private/set", "set"),
        ("../private/general", "general"),
    ],
)
def test_a_data_set_is_told_by_its_name_and_a_path_by_its_end(manifest: dict[str, Any], source: str, told: str) -> None:
    options = CorpusOptions(replay=0.1, replay_source=source)
    manifest["configuration"] = to_json(Plan(steps=1, corpus=options))
    text = card(manifest)
    assert f"| replay source | {told} |" in text
    assert "private" not in text


def test_a_card_of_little_is_still_a_card(manifest: dict[str, Any]) -> None:
    for key in ("figures", "proof", "versions", "configuration"):
        del manifest[key]
    manifest["corpus"] = {"sources": [], "files": [], "redactions": {}}
    manifest["parents"] = [{"id": "a@123456789012", "weight": 0.5}, {"id": "b@123456789012", "weight": 0.5}]
    text = card(manifest)
    assert "combined by Hone" in text
    assert "- a@123456789012, weight 0.5" in text
    assert "## Training" not in text
    assert "hone eval repo" in text


def test_names_with_bars_do_not_break_the_table(manifest: dict[str, Any]) -> None:
    manifest["configuration"] = {"pattern": "a|b\nc"}
    assert "| pattern | a\\|b c |" in card(manifest)


def test_card_plot_and_hashes_are_written_together(manifest: dict[str, Any], tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 3 - step / 20, "validation": 0.7 if step == 20 else None} for step in range(1, 31)]
    metrics = "\n".join(map(json.dumps, lines)) + '\n{"step": 31, "lo'
    (tmp_path / "metrics.jsonl").write_text(metrics)
    write_card(tmp_path, manifest)
    assert (tmp_path / "card.md").read_text("utf-8") == (tmp_path / "README.md").read_text("utf-8")
    assert "(loss.svg)" in (tmp_path / "card.md").read_text("utf-8")
    picture = ElementTree.parse(tmp_path / "loss.svg").getroot()
    assert len(list(picture.iter(f"{SVG}circle"))) == 1
    assert len(list(picture.iter(f"{SVG}polyline"))) == 3
    (tmp_path / "manifest.json").write_text("{}")
    hashes = file_hashes(tmp_path)
    assert set(hashes) == {"metrics.jsonl", "card.md", "README.md", "loss.svg"}
    assert hashes["metrics.jsonl"]["bytes"] == len(metrics)


def test_without_metrics_there_is_no_plot(manifest: dict[str, Any], tmp_path: Path) -> None:
    write_card(tmp_path, manifest)
    assert not (tmp_path / "loss.svg").exists()
    assert "loss.svg" not in (tmp_path / "card.md").read_text("utf-8")


def test_a_step_computed_twice_counts_as_last_computed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 9.0}\nnot json\n[]\n'
        '{"step": 2, "loss": 2.0, "validation": 0.5}\n'
        '{"loss": 1.0}\n{"step": 3, "loss": NaN}\n{"step": 4, "loss": "two"}\n'
    )
    assert read_metrics(file) == Curves(((1.0, 3.0), (2.0, 2.0)), ((2.0, 0.5),))


values = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(values, max_size=1500), st.lists(values, max_size=5))
def test_every_curve_is_drawn_inside_its_picture(losses: list[float], bits: list[float]) -> None:
    loss = tuple((float(step), value) for step, value in enumerate(losses, 1))
    validation = tuple((float(step * 10), value) for step, value in enumerate(bits, 1))
    text = loss_svg(Curves(loss, validation))
    if len(loss) < 2:
        assert text is None
        return
    assert text is not None
    picture = ElementTree.fromstring(text)
    width, height = (float(picture.get(side) or 0) for side in ("width", "height"))
    for line in picture.iter(f"{SVG}polyline"):
        points = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        assert len(points) <= 600
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 40_000


@given(st.integers(0, 5000))
def test_thinning_keeps_both_ends(count: int) -> None:
    points = [(float(step), math.sin(step)) for step in range(count)]
    kept = thinned(points)
    assert len(kept) == min(count, 600)
    assert kept[:1] == points[:1]
    assert kept[-1:] == points[-1:]
