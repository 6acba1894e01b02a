"""`hone eval repo`: held-out completion of a repository and bits per byte, several models on the same places."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant import paths
from assistant.errors import HoneError
from assistant.models.identity import BaseIdentity, base_identity
from assistant.models.resolve import ServedModel, resolve
from assistant.models.serving_form import form_name
from assistant.skills import chunks, context, repository
from assistant.skills.complete import Budget, CompletionClient, model_form
from evals import bits, completion, environment, folds, samples
from evals.errors import NotHeldOutError
from evals.progress import Progress
from evals.report.levels import summarise_levels
from evals.report.summary import summarise
from evals.tasks.heldout import HeldOut, TuningRecord, held_out, read_record
from evals.tasks.levels import LEVELS, MAX_TOKENS, choose
from evals.tasks.places import Level, Place

PROMPT_TOKENS = 768

Connect = Callable[[str], AbstractContextManager[CompletionClient]]
"""Opens a client that serves the model of this name."""
LoadScorer = Callable[[Path, Path | None], tuple[bits.Scorer, Any, int]]


@dataclass(frozen=True)
class Options:
    repository: Path
    models: tuple[str, ...]
    limit: int = 200
    """Places of each level at most."""
    seed: int = 0
    prompt_tokens: int = PROMPT_TOKENS
    """Of a prompt at most; five twelfths of them for retrieved code."""
    max_bytes: int = 120_000
    """Of held-out text scored for bits per byte."""
    out: Path | None = None
    """None keeps samples in Hone's state folder."""
    levels: tuple[Level, ...] = LEVELS
    """That are completed; the line is always one of them."""
    folds: int | None = None
    """Shares the held-out files out to this many folds and reports how the figures vary between them."""

    @property
    def budget(self) -> Budget:
        return Budget(prompt=self.prompt_tokens, snippets=self.prompt_tokens * 5 // 12)


@dataclass(frozen=True)
class Subject:
    """One model under evaluation."""

    asked: str
    served: ServedModel
    identity: BaseIdentity

    @property
    def digest(self) -> str:
        """The adapter's digest (it covers the base), or the base's."""
        return self.served.adapter.digest if self.served.adapter else self.identity.digest


@dataclass(frozen=True)
class Work:
    """What all models are measured on, and with."""

    places: Mapping[Level, Sequence[Place]]
    texts: tuple[bits.Text, ...]
    conditions: completion.Conditions


def evaluate(
    options: Options, connect: Connect, load_scorer: LoadScorer = bits.load, engine: str | None = None
) -> dict[str, Any]:
    """Runs the evaluation and returns the report (JSON-ready, schema version 1).

    Samples already in `options.out`, or without it in Hone's state folder, are not measured again.

    Args:
        engine: that `connect` opens, with its version; None: what serves.

    Raises:
        NotHeldOutError: the repository's held-out files cannot be told, or were trained on.
        HarnessError: the evaluation checked itself and failed.
        HoneError: a model, the repository or the output folder is not usable.
    """
    if "line" not in options.levels:
        raise HoneError("the line is always completed; name the levels besides it, such as line,block,body")
    root = _root(options.repository)
    subjects = [_subject(spec) for spec in dict.fromkeys(options.models)]
    if len({subject.digest for subject in subjects}) < len(subjects):
        raise HoneError("two of the models are the same one; name different models")
    held = held_out(root, _records(subjects, root))
    chosen = {
        level: found
        for level in LEVELS
        if level in options.levels and (found := choose(held.files, level, options.limit, options.seed))
    }
    texts = bits.sample(held.files, options.max_bytes, options.seed)
    if "line" not in chosen or not texts:
        raise NotHeldOutError(f"the {len(held.files)} held-out files of {root} have no line of code to complete")
    for places in chosen.values():
        completion.check_harness(places, held)
    shared_out = folds.assign((file.path for file in held.files), options.folds, options.seed) if options.folds else {}
    retriever = context.index(root, exclude=held.excluded)
    conditions = completion.Conditions(retriever, held.excluded, options.budget, options.seed)
    work = Work(chosen, tuple(texts), conditions)
    completers = {subject.digest: _completer(subject, engine) for subject in subjects}
    before = environment.describe(completers[subjects[0].digest].engine)
    with samples.Samples(options.out or _kept(root)) as store:
        completed = {
            subject.digest: _completed(subject, completers[subject.digest], work, connect, store)
            for subject in subjects
        }
        scored = {subject.digest: _bits(subject, work, load_scorer, store) for subject in subjects}
        resumed = store.resumed
    common = set.intersection(*({row["path"] for row in rows} for rows in scored.values()))
    if not common:
        raise NotHeldOutError(f"no held-out file of {root} fits the windows of all models")
    scored = {digest: [row for row in rows if row["path"] in common] for digest, rows in scored.items()}
    models = [
        _facts(subject) | {"digest": subject.digest, "served": completers[subject.digest].form} for subject in subjects
    ]
    lines = {digest: found["line"] for digest, found in completed.items()}
    return {
        "schema_version": 1,
        "task": "repo",
        "task_versions": [*(completion.VERSIONS[level] for level in chosen), bits.VERSION],
        "repository": {"path": str(root), "commit": repository.head(root)},
        "held_out": _held_out_facts(held, chosen["line"], common),
        "settings": {
            "limit": options.limit,
            "seed": options.seed,
            "max_bytes": options.max_bytes,
            "max_tokens": MAX_TOKENS["line"],
            "levels": {
                level: {"places": len(found), "max_tokens": MAX_TOKENS[level]} for level, found in chosen.items()
            },
            "temperature": 0.0,
            "budget": asdict(options.budget),
            "window_tokens": bits.WINDOW_TOKENS,
            "retrieval": {
                "method": "BM25 (SQLite FTS5), definitions of imported names first",
                "chunk_lines": chunks.CHUNK_LINES,
                "query_lines": context.QUERY_LINES,
                "files": retriever.files,
                "chunks": retriever.chunks,
            },
        },
        "environment": before | {"load_average_at_end": environment.describe()["load_average"]},
        "samples": {"file": str(store.path) if store.path else None, "resumed": resumed},
        **summarise(models, lines, scored, options.seed),
        "levels": summarise_levels(models, completed, scored, options.seed),
        "folds": folds.spread(models, completed, scored, shared_out) if shared_out else None,
        "rows": completed,
    }


def _kept(root: Path) -> Path:
    """One for each repository, so that none grows without end."""
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return paths.home() / "evals" / f"repo-{name}"


def _root(folder: Path) -> Path:
    if not folder.is_dir():
        raise HoneError(f"{folder} is not a folder; give --repo a git repository")
    root = repository.root_of(folder)
    if root is None:
        raise HoneError(f"{folder} is in no git repository; held-out files are told by what git tracks")
    return root


def _subject(spec: str) -> Subject:
    served = resolve(spec)
    return Subject(spec, served, base_identity(served.base))


def _records(subjects: Sequence[Subject], root: Path) -> list[TuningRecord]:
    return [
        read_record(subject.served.name, subject.served.adapter.folder / "manifest.json", root)
        for subject in subjects
        if subject.served.adapter
    ]


def _completer(subject: Subject, batches: str | None) -> completion.Completer:
    """
    Args:
        batches: the engine that completes in batches; None: what serves.
    """
    base = subject.served.base
    if batches is not None:
        return completion.Completer(subject.digest, batches, None)
    return completion.Completer(subject.digest, environment.describe_serving(base), form_name(base.gguf))


def _completed(
    subject: Subject, completer: completion.Completer, work: Work, connect: Connect, store: samples.Samples
) -> dict[str, dict[str, completion.Rows]]:
    """Level -> context -> judged samples."""
    with connect(subject.served.name) as client:
        form = model_form(client, subject.served.name)
        return {
            level: completion.complete_places(client, form, completer, level, chosen, work.conditions, store)
            for level, chosen in work.places.items()
        }


def _bits(subject: Subject, work: Work, load_scorer: LoadScorer, store: samples.Samples) -> list[dict[str, Any]]:
    """Bits of each text; texts that no window holds are left out."""
    keys = [
        samples.key(
            task=bits.VERSION,
            model=subject.digest,
            path=text.path,
            text=hashlib.sha256(text.text.encode()).hexdigest(),
            window=bits.WINDOW_TOKENS,
        )
        for text in work.texts
    ]
    total = sum(len(text.text.encode()) for text in work.texts)
    progress = Progress(f"scoring with {subject.served.name}", total, "bytes")
    loaded: tuple[bits.Scorer, Any, int] | None = None
    rows: list[dict[str, Any]] = []
    for wanted, text in zip(keys, work.texts, strict=True):
        found = store.get(wanted)
        fresh = found is None
        if found is None:
            if loaded is None:
                loaded = load_scorer(*_scorer_paths(subject))
            scored = bits.file_bits(text, *loaded)
            if scored is None:
                continue
            found = {"key": wanted, "task": bits.VERSION, "model": subject.served.name, **asdict(scored)}
            store.add(found)
        progress.add(len(text.text.encode()), worked=fresh)
        rows.append(found)
    progress.finish()
    return rows


def _scorer_paths(subject: Subject) -> tuple[Path, Path | None]:
    from assistant.models.store import tuning_form

    return tuning_form(subject.served.base), subject.served.adapter.folder if subject.served.adapter else None


def _facts(subject: Subject) -> dict[str, Any]:
    adapter = subject.served.adapter
    return {
        "asked": subject.asked,
        "name": subject.served.name,
        "base": {"name": subject.served.base.name, **asdict(subject.identity), "digest": subject.identity.digest},
        "adapter": {"id": adapter.id, "digest": adapter.digest, "created": adapter.created} if adapter else None,
    }


def _held_out_facts(held: HeldOut, chosen: Sequence[Place], scored: set[str]) -> dict[str, Any]:
    return {
        "files": len(held.files),
        "bytes": sum(file.raw_bytes for file in held.files),
        "places": len(chosen),
        "place_files": len({place.path for place in chosen}),
        "scored_files": len(scored),
        "from_commit": list(held.from_commit),
        "skipped": [{"path": path, "reason": reason} for path, reason in held.skipped],
        "hidden_from_retrieval": len(held.excluded),
        "sha256": hashlib.sha256("\n".join(f"{file.sha256} {file.path}" for file in held.files).encode()).hexdigest(),
    }
