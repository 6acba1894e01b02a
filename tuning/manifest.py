"""What a tuning run leaves beside its adapter: everything needed to say what it was made from."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from assistant.models.identity import BaseIdentity
from tuning.data import Data
from tuning.plan import Plan, to_json
from tuning.proof import Proof
from tuning.train import Outcome

FILE_NAME = "manifest.json"
SCHEMA = 1


def identified(
    content: Mapping[str, Any], name: str, digest: str, created: str, base_name: str, identity: BaseIdentity
) -> dict[str, Any]:
    """A manifest as JSON values: which adapter it is, on which base, and `content`."""
    return {
        "schema_version": SCHEMA,
        "name": name,
        "digest": digest,
        "created": created,
        "base": {"name": base_name, **asdict(identity), "digest": identity.digest},
        **content,
    }


def tuned(
    data: Data, plan: Plan, dtype: str, outcome: Outcome, proof: Proof, rest: Mapping[str, Any]
) -> dict[str, Any]:
    """What the manifest of a tuning run says beside identities.

    Paths are from each repository's root; hashes are sha256 of raw bytes.

    Args:
        rest: further JSON values: the sweep, the scales that were tried.
    """
    return {
        "corpus": {
            "sources": [asdict(source) for source in data.corpus.sources],
            "files": [asdict(file) for file in data.corpus.files()],
            "dropped": [asdict(dropped) for dropped in data.corpus.dropped()],
            "redactions": data.corpus.summary.redactions,
            "digest": data.corpus.summary.digest,
        },
        "configuration": {
            **to_json(plan),
            "rank": plan.rank,
            "alpha": plan.alpha,
            "dtype": dtype,
            "target_modules": plan.lora.target_modules,
            "train_tokens": data.train_tokens,
            "supervised_tokens": data.supervised_tokens,
            "examples_of_kind": data.counts,
        },
        "versions": versions(),
        "figures": asdict(outcome),
        "proof": asdict(proof),
        **rest,
    }


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("hone-assistant", "torch", "transformers", "peft", "accelerate", "gguf", "xllamacpp")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
