"""The parts of SARIF 2.1.0 (OASIS Standard, 27 March 2020) that Hone writes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def log(runs: Sequence[Mapping[str, Any]]) -> str:
    """A whole file; ends with a newline."""
    whole = {"$schema": SCHEMA, "version": "2.1.0", "runs": list(runs)}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def driver(version: str, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `tool` of a run."""
    return {"driver": {"name": "Hone", "version": version, "rules": list(rules)}}


def region(first: int, last: int) -> dict[str, int]:
    """Whole lines, from 1; a first line below 1 is the first of the file."""
    first = max(1, first)
    return {"startLine": first, "endLine": last} if last > first else {"startLine": first}


def artifact(path: str) -> dict[str, str]:
    """The location of a file by its path from the repository's root."""
    return {"uri": quote(PurePosixPath(path).as_posix().lstrip("/"))}


def place(path: str, lines: Mapping[str, int]) -> dict[str, Any]:
    """A location: a region of a file."""
    return {"physicalLocation": {"artifactLocation": artifact(path), "region": dict(lines)}}


def fix(path: str, description: str, replacements: Sequence[tuple[Mapping[str, int], str]]) -> dict[str, Any]:
    """A change of one file: deleted regions, each with the text put there."""
    return {
        "description": {"text": description},
        "artifactChanges": [
            {
                "artifactLocation": artifact(path),
                "replacements": [
                    {"deletedRegion": dict(deleted), "insertedContent": {"text": text}}
                    for deleted, text in replacements
                ],
            }
        ],
    }
