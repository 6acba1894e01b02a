"""`hone eval repo`: held-out completion of a repository and bits per byte, several models on the same places."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models.identity import BaseIdentity, base_identity
from assistant.models.resolve import ServedModel, resolve
from assistant.skills import context, repository
from assistant.skills.complete import Budget, CompletionClient, ModelForm, Plan, generate, model_form, plan
from evals import bits, environment, samples
from evals.batched import BatchedClient
from evals.errors import HarnessError, NotHeldOutError
from evals.metrics import edit_similarity, exact_match
from evals.progress import Progress
from evals.report.summary import summarise
from evals.tasks import places
from evals.tasks.heldout import HeldOut, TuningRecord, held_out, read_record

LINE_VERSION = "line@1"
MAX_TOKENS = 48
PROMPT_TOKENS = 768

Connect = Callable[[str], AbstractContextManager[CompletionClient]]
"""Opens a client that serves the model of this name."""
LoadScorer = Callable[[Path, Path | None], tuple[bits.Scorer, Any, int]]


@dataclass(frozen=True)
class Options:
    repository: Path
    models: tuple[str, ...]
    limit: int = 200
    seed: int = 0
    prompt_tokens: int = PROMPT_TOKENS
    """Of a prompt at most; five twelfths of them for retrieved code."""
    max_bytes: int = 120_000
    """Of held-out text scored for bits per byte."""
    out: Path | None = None

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

    places: tuple[places.Place, ...]
    texts: tuple[bits.Text, ...]
    retriever: context.Retriever
    hidden: frozenset[str]
    """Paths that retrieval must not show."""
    budget: Budget
    seed: int
    engine: str
    """That completes, with its version."""


def evaluate(
    options: Options, connect: Connect, load_scorer: LoadScorer = bits.load, engine: str | None = None
) -> dict[str, Any]:
    """Runs the evaluation and returns the report (JSON-ready, schema version 1).

    Samples already in `options.out` are not measured again.

    Args:
        engine: that `connect` opens, with its version; None: what serves.

    Raises:
        NotHeldOutError: the repository's held-out files cannot be told, or were trained on.
        HarnessError: the evaluation checked itself and failed.
        HoneError: a model, the repository or the output folder is not usable.
    """
    root = _root(options.repository)
    subjects = [_subject(spec) for spec in dict.fromkeys(options.models)]
    if len({subject.digest for subject in subjects}) < len(subjects):
        raise HoneError("two of the models are the same one; name different models")
    held = held_out(root, _records(subjects, root))
    chosen = places.choose(held.files, options.limit, options.seed)
    texts = bits.sample(held.files, options.max_bytes, options.seed)
    if not chosen or not texts:
        raise NotHeldOutError(f"the {len(held.files)} held-out files of {root} have no line of code to complete")
    check_harness(chosen, held)
    retriever = context.index(root, exclude=held.excluded)
    named = engine or environment.describe_engine()
    work = Work(tuple(chosen), tuple(texts), retriever, held.excluded, options.budget, options.seed, named)
    before = environment.describe(engine)
    with samples.Samples(options.out) as store:
        lines = {subject.digest: _lines(subject, work, connect, store) for subject in subjects}
        scored = {subject.digest: _bits(subject, work, load_scorer, store) for subject in subjects}
        resumed = store.resumed
    common = set.intersection(*({row["path"] for row in rows} for rows in scored.values()))
    if not common:
        raise NotHeldOutError(f"no held-out file of {root} fits the windows of all models")
    return {
        "schema_version": 1,
        "task": "repo",
        "task_versions": [LINE_VERSION, bits.VERSION],
        "repository": {"path": str(root), "commit": repository.head(root)},
        "held_out": _held_out_facts(held, chosen, common),
        "settings": {
            "limit": options.limit,
            "seed": options.seed,
            "max_bytes": options.max_bytes,
            "max_tokens": MAX_TOKENS,
            "temperature": 0.0,
            "budget": asdict(options.budget),
            "window_tokens": bits.WINDOW_TOKENS,
            "retrieval": {
                "method": "BM25 (bm25s, lucene)",
                "chunk_lines": context.CHUNK_LINES,
                "query_lines": context.QUERY_LINES,
                "files": retriever.files,
                "chunks": len(retriever.chunks),
            },
        },
        "environment": before | {"load_average_at_end": environment.describe()["load_average"]},
        "samples": {"file": str(store.path) if store.path else None, "resumed": resumed},
        **summarise(
            [_facts(subject) | {"digest": subject.digest} for subject in subjects],
            lines,
            {digest: [row for row in rows if row["path"] in common] for digest, rows in scored.items()},
            options.seed,
        ),
    }


def check_harness(chosen: Sequence[places.Place], held: HeldOut) -> None:
    """The right answers must score 100 % and empty ones 0 %, at places that give back the file they come from.

    Raises:
        HarnessError: they do not.
    """
    texts = {file.path: file.text for file in held.files}
    for place in chosen:
        lines = texts[place.path].split("\n")
        lines[place.line - 1] = lines[place.line - 1].rstrip()
        sound = (
            exact_match(place.expected, place.expected)
            and edit_similarity(place.expected, place.expected) == 1.0
            and not exact_match("", place.expected)
            and edit_similarity("", place.expected) == 0.0
            and place.prefix + place.expected + place.suffix == "\n".join(lines)
        )
        if not sound:
            raise HarnessError(
                f"{place.path}:{place.line}: the right answer does not score 1 and the empty one 0; no model was run"
            )


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


def _lines(subject: Subject, work: Work, connect: Connect, store: samples.Samples) -> dict[str, list[dict[str, Any]]]:
    """Single-line completions at all places, first without and then with retrieval.

    Places come in file and line order, so that a prompt begins like the one before it and the prompt cache answers.
    """
    with connect(subject.served.name) as client:
        form = model_form(client, subject.served.name)
        asked = [
            _asked(client, form, subject, work, place, context_name, retriever)
            for context_name, retriever in (("without_retrieval", None), ("with_retrieval", work.retriever))
            for place in work.places
        ]
        missing = [index for index, one in enumerate(asked) if store.get(one.key) is None]
        progress = Progress(f"completing with {subject.served.name}", len(asked), "places")
        progress.add(len(asked) - len(missing), worked=False)
        for batch in _batches(client, asked, missing):
            for index in batch:
                one = asked[index]
                if store.get(one.key) is None:
                    store.add(_sample(client, form, subject, work, one))
                    progress.add()
        progress.finish()
    results: dict[str, list[dict[str, Any]]] = {}
    for one in asked:
        found = store.get(one.key)
        assert found is not None
        # Judged anew, so that a sample holds what the model wrote and never an old verdict.
        results.setdefault(one.context, []).append(_judged(found, one.place))
    return results


@dataclass(frozen=True)
class _Asked:
    """One completion to be made."""

    key: str
    context: str
    place: places.Place
    made: Plan
    seconds: float
    """That planning took."""


def _asked(
    client: CompletionClient,
    form: ModelForm,
    subject: Subject,
    work: Work,
    place: places.Place,
    context_name: str,
    retriever: context.Retriever | None,
) -> _Asked:
    started = time.perf_counter()
    made = plan(
        client,
        form,
        place.path,
        place.prefix,
        place.suffix,
        retriever=retriever,
        exclude=work.hidden,
        max_tokens=MAX_TOKENS,
        budget=work.budget,
        shape="line",
        one_line=True,
    )
    seconds = time.perf_counter() - started
    return _Asked(_line_key(subject, made, work), context_name, place, made, seconds)


def _batches(client: CompletionClient, asked: Sequence[_Asked], missing: Sequence[int]) -> Iterator[Sequence[int]]:
    """Indices of what to complete, in the order in which the client can."""
    if isinstance(client, BatchedClient):
        prompts = [(one.made.prompt, one.made.mode == "fim") for one in asked]
        if missing:
            yield from client.ahead(prompts, MAX_TOKENS, asked[0].made.stop, frozenset(missing))
    else:
        yield from ((index,) for index in missing)


def _sample(client: CompletionClient, form: ModelForm, subject: Subject, work: Work, one: _Asked) -> dict[str, Any]:
    answer = _complete(client, form, one.place, one.made, seed=work.seed)
    if isinstance(client, BatchedClient):
        # Many prompts were computed together: none of them has a time of its own.
        answer |= {"seconds": None, "first_token_seconds": None}
    else:
        # What a user waits for: retrieval and prompt, then the answer.
        answer["seconds"] += one.seconds
    return {"key": one.key, "task": LINE_VERSION, "model": subject.served.name, "context": one.context, **answer}


def _line_key(subject: Subject, made: Plan, work: Work) -> str:
    return samples.key(
        task=LINE_VERSION,
        model=subject.digest,
        prompt=_prompt_hash(made),
        mode=made.mode,
        stop=list(made.stop),
        rest=made.around.rest,
        next_line=made.around.next_line,
        max_tokens=MAX_TOKENS,
        temperature=0.0,
        seed=work.seed,
        engine=work.engine,
    )


def _complete(
    client: CompletionClient, form: ModelForm, place: places.Place, made: Plan, *, seed: int
) -> dict[str, Any]:
    done = generate(client, form, made, MAX_TOKENS, seed=seed)
    return {
        "path": place.path,
        "line": place.line,
        "column": place.column,
        "expected": place.expected,
        "text": done.text,
        "mode": done.mode,
        "finish_reason": done.finish_reason,
        "prompt_sha256": _prompt_hash(made),
        "snippets": [snippet.path for snippet in done.snippets],
        "seconds": done.seconds,
        "first_token_seconds": done.first_token_seconds,
        **{name: done.details.get(name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
    }


def _judged(sample: dict[str, Any], place: places.Place) -> dict[str, Any]:
    return sample | {
        "exact": exact_match(sample["text"], place.expected),
        "similarity": edit_similarity(sample["text"], place.expected),
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


def _held_out_facts(held: HeldOut, chosen: Sequence[places.Place], scored: set[str]) -> dict[str, Any]:
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


def _prompt_hash(made: Plan) -> str:
    return hashlib.sha256(made.prompt.encode()).hexdigest()
