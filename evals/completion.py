"""Completions of one model at places of one level, without and with retrieval, and what they are worth."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.skills import context
from assistant.skills.complete import Budget, CompletionClient, ModelForm, Plan, generate, plan
from evals import samples
from evals.batched import BatchedClient
from evals.errors import HarnessError
from evals.metrics import edit_similarity, exact_match, identifier_f1, identifiers
from evals.progress import Progress
from evals.tasks.heldout import HeldOut
from evals.tasks.levels import MAX_TOKENS
from evals.tasks.places import Level, Place

VERSIONS: dict[Level, str] = {"line": "line@2", "block": "block@2", "body": "body@2"}

Rows = list[dict[str, Any]]
"""Judged samples, in the order of the places."""


@dataclass(frozen=True)
class Conditions:
    """What all models complete under."""

    retriever: context.Retriever
    hidden: frozenset[str]
    """Paths that retrieval must not show."""
    budget: Budget
    seed: int


@dataclass(frozen=True)
class Completer:
    """Which weights complete, and how."""

    digest: str
    """Of the model."""
    engine: str
    """With its version."""
    form: str | None
    """Of the weights that are served, as `serving_form.form_name` names it; None: batches read the tuning form."""


def complete_places(
    client: CompletionClient,
    form: ModelForm,
    completer: Completer,
    level: Level,
    places: Sequence[Place],
    conditions: Conditions,
    store: samples.Samples,
) -> dict[str, Rows]:
    """Completions at all places, first without and then with retrieval; context -> rows.

    Places come in file and line order, so that a prompt begins like the one before it and the prompt cache answers.
    """
    asked = [
        _asked(client, form, completer, place, conditions, name, retriever)
        for name, retriever in (("without_retrieval", None), ("with_retrieval", conditions.retriever))
        for place in places
    ]
    missing = [index for index, one in enumerate(asked) if store.get(one.key) is None]
    what = "places" if level == "line" else "blocks" if level == "block" else "bodies"
    progress = Progress(f"completing with {form.name}", len(asked), what)
    progress.add(len(asked) - len(missing), worked=False)
    for batch in _batches(client, level, asked, missing):
        for index in batch:
            one = asked[index]
            if store.get(one.key) is None:
                store.add(_sample(client, form, conditions, one))
                progress.add()
    progress.finish()
    results: dict[str, Rows] = {}
    for one in asked:
        found = store.get(one.key)
        assert found is not None
        # Judged anew, so that a sample holds what the model wrote and never an old verdict.
        results.setdefault(one.context, []).append(judged(found, one.place))
    return results


def judged(sample: dict[str, Any], place: Place) -> dict[str, Any]:
    names = identifiers(sample["text"], place.path)
    return sample | {
        "exact": exact_match(sample["text"], place.expected),
        "similarity": edit_similarity(sample["text"], place.expected),
        "identifier_f1": identifier_f1(names, identifiers(place.expected, place.path)),
    }


def check_harness(chosen: Sequence[Place], held: HeldOut) -> None:
    """The right answers must score 100 % and empty ones 0 %, at places that give back the file they come from.

    Raises:
        HarnessError: they do not.
    """
    texts = {file.path: file.text for file in held.files}
    for place in chosen:
        whole = texts[place.path]
        if place.level == "line":
            lines = whole.split("\n")
            lines[place.line - 1] = lines[place.line - 1].rstrip()
            whole = "\n".join(lines)
        right, empty = judged({"text": place.expected}, place), judged({"text": ""}, place)
        sound = (
            right["exact"]
            and right["similarity"] == 1.0
            and right["identifier_f1"] in (1.0, None)
            and not empty["exact"]
            and empty["similarity"] == 0.0
            and empty["identifier_f1"] in (0.0, None)
            and place.prefix + place.expected + place.suffix == whole
        )
        if not sound:
            raise HarnessError(
                f"{place.path}:{place.line}: the right answer does not score 1 and the empty one 0; no model was run"
            )


@dataclass(frozen=True)
class _Asked:
    """One completion to be made."""

    key: str
    context: str
    place: Place
    made: Plan
    seconds: float
    """That planning took."""


def _asked(
    client: CompletionClient,
    form: ModelForm,
    completer: Completer,
    place: Place,
    conditions: Conditions,
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
        exclude=conditions.hidden,
        max_tokens=MAX_TOKENS[place.level],
        budget=conditions.budget,
        shape=place.level,
        one_line=place.level == "line",
    )
    seconds = time.perf_counter() - started
    return _Asked(_key(completer, place.level, made, conditions.seed), context_name, place, made, seconds)


def _batches(
    client: CompletionClient, level: Level, asked: Sequence[_Asked], missing: Sequence[int]
) -> Iterator[Sequence[int]]:
    """Indices of what to complete, in the order in which the client can."""
    if isinstance(client, BatchedClient):
        prompts = [(one.made.prompt, one.made.mode == "fim") for one in asked]
        if missing:
            yield from client.ahead(prompts, MAX_TOKENS[level], asked[0].made.stop, frozenset(missing))
    else:
        yield from ((index,) for index in missing)


def _sample(client: CompletionClient, form: ModelForm, conditions: Conditions, one: _Asked) -> dict[str, Any]:
    answer = _complete(client, form, one.place, one.made, seed=conditions.seed)
    if isinstance(client, BatchedClient):
        # Many prompts were computed together: none of them has a time of its own.
        answer |= {"seconds": None, "first_token_seconds": None}
    else:
        # What a user waits for: retrieval and prompt, then the answer.
        answer["seconds"] += one.seconds
    task = VERSIONS[one.place.level]
    return {"key": one.key, "task": task, "model": form.name, "context": one.context, **answer}


def _key(completer: Completer, level: Level, made: Plan, seed: int) -> str:
    identity: dict[str, Any] = {
        "task": VERSIONS[level],
        "model": completer.digest,
        "prompt": prompt_hash(made),
        "mode": made.mode,
        "stop": list(made.stop),
        "rest": made.around.rest,
        "next_line": made.around.next_line,
        "max_tokens": MAX_TOKENS[level],
        "temperature": 0.0,
        "seed": seed,
        "engine": completer.engine,
    }
    if completer.form is not None:
        identity["served"] = completer.form
    if level != "line":
        # They decide where the answer ends, and are the same for all lines.
        identity |= {"indent": made.around.indent, "shape": made.around.shape}
    return samples.key(**identity)


def _complete(client: CompletionClient, form: ModelForm, place: Place, made: Plan, *, seed: int) -> dict[str, Any]:
    done = generate(client, form, made, MAX_TOKENS[place.level], seed=seed)
    return {
        "path": place.path,
        "line": place.line,
        "column": place.column,
        "expected": place.expected,
        "text": done.text,
        "raw": done.raw,
        "mode": done.mode,
        "finish_reason": done.finish_reason,
        "prompt": made.prompt,
        "stop": list(made.stop),
        "max_tokens": MAX_TOKENS[place.level],
        "prompt_sha256": prompt_hash(made),
        "snippets": [snippet.path for snippet in done.snippets],
        "seconds": done.seconds,
        "first_token_seconds": done.first_token_seconds,
        **{name: done.details.get(name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
    }


def prompt_hash(made: Plan) -> str:
    return hashlib.sha256(made.prompt.encode()).hexdigest()
