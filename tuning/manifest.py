"""What a tuning run leaves beside its adapter: everything needed to say what it was made from, and a card to read."""

import platform
from collections import Counter
from dataclasses import asdict
from typing import Any

from assistant.models.identity import BaseIdentity
from tuning.data import Data
from tuning.proof import Proof
from tuning.train import Outcome, Plan

FILE_NAME = "manifest.json"


def manifest(
    name: str,
    digest: str,
    created: str,
    base_name: str,
    identity: BaseIdentity,
    data: Data,
    plan: Plan,
    dtype: str,
    outcome: Outcome,
    proof: Proof,
) -> dict[str, Any]:
    """The manifest as JSON values. Paths are from each repository's root; hashes are sha256 of raw bytes."""
    return {
        "schema_version": 1,
        "name": name,
        "digest": digest,
        "created": created,
        "base": {"name": base_name, **asdict(identity), "digest": identity.digest},
        "corpus": {
            "sources": [asdict(source) for source in data.collection.sources],
            "files": [
                {
                    "source": document.source,
                    "path": document.path,
                    "sha256": document.sha256,
                    "bytes": document.bytes,
                    "language": document.language,
                    "split": data.sides[document.path],
                }
                for document in data.collection.documents
            ],
            "dropped": [asdict(dropped) for dropped in data.collection.dropped],
            "redactions": data.redactions,
        },
        "configuration": {
            **asdict(plan),
            "dtype": dtype,
            "target_modules": "all-linear",
            "train_tokens": data.train_tokens,
        },
        "versions": versions(),
        "figures": asdict(outcome),
        "proof": asdict(proof),
    }


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("hone-assistant", "torch", "transformers", "peft", "accelerate", "gguf", "xllamacpp")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def card(content: dict[str, Any]) -> str:
    """A model card in Markdown, from the manifest alone."""
    corpus, figures, proof, configuration = (content[key] for key in ("corpus", "figures", "proof", "configuration"))
    counts = Counter(file["split"] for file in corpus["files"])
    languages = Counter(file["language"] for file in corpus["files"])
    validation = "not measured"
    if figures["validation_before"] is not None:
        change = figures["validation_after"] / figures["validation_before"] - 1
        validation = f"{figures['validation_before']:.3f} -> {figures['validation_after']:.3f} ({change:+.1%})"
    commits = (
        f"commit {source['commit']}" + (" with local changes" if source["dirty"] else "")
        for source in corpus["sources"]
    )
    rows = {
        "sources": "; ".join(commits),
        "files": f"{counts['train']} train, {counts['validation']} validation, {counts['test']} held out for tests; "
        f"{len(corpus['dropped'])} left out",
        "languages": ", ".join(f"{language} {count}" for language, count in languages.most_common()),
        "secrets replaced": sum(corpus["redactions"].values()),
        "rank, alpha, learning rate": f"{configuration['rank']}, {configuration['alpha']}, "
        f"{configuration['learning_rate']:g}",
        "trained": f"{figures['steps']} steps, {figures['tokens']:,} tokens in {figures['seconds'] / 60:.1f} min "
        f"({configuration['dtype']})",
        "validation, bits per byte": validation,
        "llama.cpp agrees with transformers": f"{proof['agreement']:.1%} of {proof['positions']} next tokens "
        f"(bare base {proof['base_agreement']:.1%})",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""---
library_name: peft
base_model: {content["base"]["name"]}
tags: [lora, code]
---

# {content["name"]}@{content["digest"][:12]}

A LoRA of {content["base"]["name"]} (weights {content["base"]["weights"][:12]}), tuned by Hone on {content["created"]}.

| | |
|---|---|
{table}

The adapter runs only on the base it was trained on; Hone checks the digest. It was tuned on one corpus: expect it to
imitate that code's habits, its mistakes included. `manifest.json` has every file's hash and side of the split.
"""
