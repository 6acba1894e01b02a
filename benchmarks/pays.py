"""Does tuning pay? Both pinned repositories, several seeds: held-out bits per byte, single-line completion with and
without retrieval, and what it costs on general code.

`python -m benchmarks.pays [--minutes 20] [--seeds 0,1,2] [--limit 300] [--only NAME] [--replay SHARE]` runs the
commands that a user would and prints one table; reports and samples stay in benchmarks/out/pays, and a run that was
stopped goes on from them. Hours on two cores: each seed tunes for `--minutes` and completes 2 x `--limit` lines, in
batches by transformers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from benchmarks import corpora, machine

BASE = "smollm2-135m"
OUT = corpora.HERE / "out" / "pays"
GENERAL = (
    "argparse ast bdb calendar codecs configparser contextlib csv dataclasses difflib dis doctest enum fractions "
    "ftplib functools gettext heapq imaplib inspect locale mailbox mimetypes netrc optparse pathlib pickle plistlib "
    "pprint sched shlex smtplib statistics string tarfile textwrap threading traceback uuid zipfile"
)
"""Modules of the standard library whose first bytes stand for general code."""
GENERAL_BYTES = 4_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--replay", type=float, default=0.0, help="share of the standard library mixed in")
    parser.add_argument("--only", action="append", help="a corpus of corpora.toml")
    arguments = parser.parse_args()
    print(machine.describe(), flush=True)
    names = arguments.only or tomllib.loads((corpora.HERE / "corpora.toml").read_text("utf-8"))
    rows = [["repository", "seed", "bits/byte", "change", "edit sim.", "with retr.", "exact", "with retr.", "general"]]
    for name in names:
        found = [_one(name, corpora.prepare(name), seed, arguments) for seed in arguments.seeds.split(",")]
        rows += [row for row, _ in found]
        rows.append(_medians(name, [figures for _, figures in found]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n--minutes {arguments.minutes:g} --limit {arguments.limit} --replay {arguments.replay:g}")
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print("change, edit sim. and general are relative to the base; exact is base -> tuned with McNemar's p")
    print(machine.describe(), flush=True)


def _one(name: str, folder: Path, seed: str, arguments: argparse.Namespace) -> tuple[list[str], list[float]]:
    adapter = f"pays-{name}-{arguments.minutes:g}m-{seed}" + (f"-r{arguments.replay:g}" if arguments.replay else "")
    manifest = _tuned(adapter, folder, seed, arguments)
    report = _json(
        "eval",
        "repo",
        *("--repo", str(folder), "--model", BASE, "--model", adapter, "--limit", str(arguments.limit)),
        # One folder for all seeds: the base's completions are made once.
        *("--prompt-tokens", str(arguments.prompt_tokens), "--engine", "torch", "--levels", "line"),
        *("--out", str(OUT / name), "--json"),
    )
    report = report["tasks"][0]["details"]
    (OUT / f"{adapter}.json").write_text(json.dumps(report), "utf-8")
    (compared,) = report["comparisons"]
    bits = compared["bits_per_byte"]["relative"]["value"]
    general = _general(Path(manifest)) / _general(None) - 1
    lines = [compared["lines"][context] for context in ("without_retrieval", "with_retrieval")]
    similar = [line["edit_similarity"]["relative"]["value"] for line in lines]
    exact = [
        f"{first['exact_match']['value']:.1%} -> {second['exact_match']['value']:.1%} "
        f"(p {line['exact_match']['mcnemar_p']:.3f})"
        for context, line in zip(("without_retrieval", "with_retrieval"), lines, strict=True)
        for first, second in [[model["lines"][context] for model in report["models"]]]
    ]
    values = [model["bits_per_byte"]["value"] for model in report["models"]]
    row = [
        *(
            name,
            seed,
            f"{values[0]:.3f} -> {values[1]:.3f}",
            f"{bits:+.1%}",
            f"{similar[0]:+.1%}",
            f"{similar[1]:+.1%}",
        ),
        *(*exact, f"{general:+.1%}"),
    ]
    print("  ".join(row), flush=True)
    return row, [bits, *similar, general]


def _medians(name: str, found: list[list[float]]) -> list[str]:
    bits, plain, retrieved, general = (statistics.median(values) for values in zip(*found, strict=True))
    return [name, "median", "", f"{bits:+.1%}", f"{plain:+.1%}", f"{retrieved:+.1%}", "", "", f"{general:+.1%}"]


def _tuned(adapter: str, folder: Path, seed: str, arguments: argparse.Namespace) -> str:
    """The folder of the adapter, tuned unless it is registered already."""
    listed = _json("models", "list", "--json")
    for one in listed["adapters"]:
        if one["name"] == adapter:
            return str(_json("models", "show", adapter, "--json")["folder"])
    replay = ("--replay", f"{arguments.replay:g}", "--replay-source", _library()) if arguments.replay else ()
    command = ("tune", str(folder), "--name", adapter, "--minutes", f"{arguments.minutes:g}", "--seed", seed, *replay)
    return str(_json(*command, "--restart", "--json")["folder"])


def _library() -> str:
    """The standard library without the modules that general code is measured on, as a folder of links."""
    source, target = Path(sysconfig.get_path("stdlib")), OUT / "library"
    target.mkdir(parents=True, exist_ok=True)
    measured = {f"{name}.py" for name in GENERAL.split()}
    for file in source.glob("*.py"):
        if file.name not in measured and not (target / file.name).exists():
            (target / file.name).write_bytes(file.read_bytes())
    return str(target)


def _general(adapter: Path | None) -> float:
    OUT.mkdir(parents=True, exist_ok=True)
    kept = OUT / f"general-{adapter.name if adapter else 'base'}-{sys.version_info.minor}.json"
    if not kept.exists():
        kept.write_text(json.dumps(general_bits(BASE, adapter)), "utf-8")
    return float(json.loads(kept.read_text("utf-8")))


def general_bits(base: str, adapter: Path | None) -> float:
    """Bits per byte of a fixed slice of the standard library, by transformers in fp32."""
    from assistant.models import store
    from evals.bits import Text, file_bits, load

    scorer, tokenizer, end_token = load(store.tuning_form(store.fetch(base)), adapter)
    scored = []
    for name in GENERAL.split():
        # Of modules that the interpreter holds frozen, importlib.util would name no file.
        found = PathFinder.find_spec(name)
        assert found is not None
        assert found.origin is not None
        text = Path(found.origin).read_text("utf-8")[:GENERAL_BYTES]
        part = file_bits(Text(f"{name}.py", text[: text.rfind("\n") + 1]), scorer, tokenizer, end_token)
        if part is not None:
            scored.append((part.bits, part.bytes))
    return sum(bits for bits, _ in scored) / sum(size for _, size in scored)


def _json(*arguments: str) -> Any:
    """Runs `hone`, its progress on this terminal, and reads its answer."""
    hone = Path(sys.executable).with_name("hone")
    print("$ hone " + " ".join(arguments), file=sys.stderr, flush=True)
    done = subprocess.run([str(hone), *arguments], stdout=subprocess.PIPE, check=False, env=os.environ)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
