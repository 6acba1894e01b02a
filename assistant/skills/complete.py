"""Completion at a point of a file: context from the repository, a prompt in the model's own mode, and filters.

Two modes. `fim`: the model's tokenizer has fill-in-the-middle tokens, so it reads what stands before and after the
cursor. `prefix`: it has none, so it continues from the left, and what stands after the cursor only decides where the
completion ends.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from assistant import prompts
from assistant.errors import HoneError, UnknownModel
from assistant.languages import language_of
from assistant.skills import context, filters, repository, window
from assistant.skills.counts import LineCounts
from assistant.skills.ending import Ending
from assistant.skills.index import of_repository
from assistant.skills.point import Point, line_end, read_source, split


class CompletionClient(Protocol):
    """What completion needs of `assistant.client.Client`."""

    def models(self) -> list[dict[str, Any]]: ...

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]: ...

    @property
    def complete(self) -> Callable[..., Iterator[Any]]: ...


MIN_SNIPPET_LINES = 4
"""Fewer lines of another file say nothing."""


@dataclass(frozen=True)
class Budget:
    """Tokens of the prompt and how they are shared out."""

    prompt: int = 1024
    snippets: int = 384
    """At most; what retrieval does not use goes to the prefix."""
    suffix: int = 160
    """Fill-in-the-middle only."""
    snippet_count: int = 2
    """Chunks by BM25; definitions of imported names come before them."""


@dataclass(frozen=True)
class ModelForm:
    """How a model is asked."""

    name: str
    """Immutable: the base's name, or NAME@DIGEST."""
    adapter: str | None
    fim: prompts.FimTokens | None
    context_length: int

    @property
    def mode(self) -> prompts.CompletionMode:
        return "fim" if self.fim else "prefix"


@dataclass(frozen=True)
class Plan:
    """One completion, ready to be asked for."""

    prompt: str
    mode: prompts.CompletionMode
    snippets: tuple[prompts.Snippet, ...]
    snippet_tokens: int
    start: int
    """Where the window of the file begins, in characters from the file's beginning."""
    prompt_tokens: int
    """Estimated by lines; an upper bound as a rule."""
    held_back: str
    """The space before the cursor that the prompt leaves to the model; see `plan`."""
    around: filters.Surroundings
    newline: str
    stop: tuple[str, ...]
    verbatim: tuple[tuple[int, int], ...] = ()
    """Where the prompt is code, in which control tokens stay text; only in a prompt that has others."""


@dataclass(frozen=True)
class Completion:
    text: str
    """To insert at the cursor; its line ends are the file's."""
    mode: prompts.CompletionMode
    shape: filters.Shape
    prompt: str
    held_back: str
    """What the model wrote between the prompt and `text`; see `plan`."""
    snippets: tuple[prompts.Snippet, ...]
    finish_reason: Literal["stop", "length"] | filters.StopReason
    """`stop`: the model ended it; `length`: the token limit did; otherwise the filter that did."""
    model: str
    adapter: str | None
    seconds: float
    first_token_seconds: float | None
    details: dict[str, Any]
    """The gateway's counts (prompt_tokens, cached_tokens, completion_tokens, tokens_per_second...); empty when a filter
    ended the completion, since the gateway counts at the end."""
    note: str | None = None
    raw: str = ""
    """What the model wrote, up to where a filter ended it: `text` is cut from it."""


def complete(
    client: CompletionClient,
    point: Point,
    model: str | None = None,
    *,
    max_tokens: int = 128,
    root: Path | None = None,
    exclude: AbstractSet[str] = frozenset(),
    retrieval: bool = True,
) -> Completion:
    """Completes at a point of a file on disk.

    Args:
        root: the repository that the file belongs to; None finds it. A file outside every git repository is completed
            without retrieval, which `note` then says.
        exclude: repository paths that retrieval must not show; the file itself is never shown.

    Raises:
        HoneError: the file or the place is not usable, or the gateway fails; see `point` and `client`.
    """
    text = read_source(point.path)
    prefix, suffix = split(text, point)
    file = point.path.resolve()
    base = root.resolve() if root is not None else repository.root_of(file)
    note = None
    if base is None:
        note = f"{point.path} is in no git repository, so nothing was retrieved from other files"
    if base is not None and not file.is_relative_to(base):
        raise HoneError(f"{point.path} is not inside {base}")
    name = file.relative_to(base).as_posix() if base else file.name
    if not retrieval or base is None:
        form = model_form(client, model)
        made = plan(client, form, name, prefix, suffix, max_tokens=max_tokens)
        return generate(client, form, made, max_tokens, note=note)
    names = repository.tracked_sources(base)
    if not set(names) - exclude - {name}:
        note = "the repository has no other source files tracked by git, so nothing was retrieved"
    with closing(of_repository(base)) as retriever:
        retriever.update(names)
        # Not before: a gateway that was started for this loads its model meanwhile.
        form = model_form(client, model)
        made = plan(client, form, name, prefix, suffix, retriever=retriever, exclude=exclude, max_tokens=max_tokens)
    return generate(client, form, made, max_tokens, note=note)


def model_form(client: CompletionClient, model: str | None) -> ModelForm:
    """Asks the gateway how a model completes.

    Raises:
        UnknownModel: the gateway does not have the model.
        HoneError: the gateway fails.
    """
    entry = next((entry for entry in client.models() if model is None or entry["id"] == model), None)
    if entry is None:
        raise UnknownModel(f"the running gateway does not serve {model}; stop it, or run `hone serve --model {model}`")
    tokens = entry["fim_tokens"]
    return ModelForm(
        name=entry["name"],
        adapter=entry["adapter"],
        fim=prompts.FimTokens(**tokens) if tokens else None,
        context_length=entry["context_length"],
    )


def plan(
    client: CompletionClient,
    form: ModelForm,
    path: str,
    prefix: str,
    suffix: str,
    *,
    retriever: context.Retriever | None = None,
    exclude: Collection[str] = (),
    max_tokens: int = 128,
    budget: Budget = Budget(),
    shape: filters.Shape | None = None,
    one_line: bool = False,
    near: Plan | None = None,
    recent: Sequence[prompts.Snippet] = (),
    count: window.TokenCounts | None = None,
) -> Plan:
    """Builds the prompt for a cursor between `prefix` and `suffix`.

    In prefix mode one space right before the cursor is held back from the prompt and expected as the beginning of the
    answer: byte-level tokenizers keep a space with the word after it, so a prompt that ends in one asks for a token
    sequence that the model never saw in training.

    Args:
        path: the repository path, which names the file in the prompt.
        retriever: None searches no other files.
        exclude: repository paths that retrieval must not show.
        shape: None chooses; see `filters`.
        one_line: end at the first newline whatever the shape.
        near: the last plan for this file. The window begins at the same line while it fits; without a retriever the
            same snippets are shown again, with one those found again keep their order. So the prompts begin alike and
            the engine computes only what was typed.
        recent: places of other files that were edited; see `context.find`.
        count: None asks the gateway for each text.
    """
    newline = line_end(prefix + suffix)
    # As in training, where every line ends in \n.
    prefix, suffix = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    room = min(budget.prompt, form.context_length - max_tokens - 16)
    if room < 64:
        raise HoneError(
            f"{max_tokens} tokens leave no room for a prompt in a context of {form.context_length}; ask for fewer"
        )

    count = count or LineCounts(client, form.name).exact
    fim = form.fim if form.fim and not _holds(form.fim, prefix + suffix) else None
    held_back = " " if fim is None and prefix.endswith(" ") else ""
    visible = prefix[: len(prefix) - len(held_back)]
    snippets: tuple[prompts.Snippet, ...] = ()
    snippet_tokens = 0
    used = count([prompts.header(path)])[0]
    if retriever is not None:
        found = context.find(retriever, path, prefix, budget.snippet_count, {*exclude, path}, recent)
        snippets, snippet_tokens = _fit_snippets(
            [s for s in found if not (fim and _holds(fim, s.text))], min(budget.snippets, room // 2), count
        )
        snippets = _in_order(snippets, near.snippets if near else ())
    elif near is not None:
        snippets, snippet_tokens = near.snippets, near.snippet_tokens
    used += snippet_tokens
    after = ""
    if fim is not None:
        after = window.fit_suffix(suffix, min(budget.suffix, room // 5), count)
        used += sum(count(window.lines_of(after))) + 4
    before = window.fit_prefix(visible, max(room - used, 16), count, near.start if near else None)
    verbatim: tuple[tuple[int, int], ...] = ()
    if fim is not None:
        prompt = prompts.fim(path, before, after, fim, snippets)
        verbatim = prompts.infill_code(prompts.completion(path, before, snippets), after, fim)
    else:
        prompt = prompts.completion(path, before, snippets)
    return Plan(
        prompt=prompt,
        mode="fim" if fim else "prefix",
        snippets=snippets,
        snippet_tokens=snippet_tokens,
        start=len(visible) - len(before),
        prompt_tokens=used + sum(count(window.lines_of(before))),
        held_back=held_back,
        around=filters.surroundings(prefix, suffix, shape, language_of(path)),
        newline=newline,
        stop=(*(("\n",) if one_line else ()), *(prompts.fim_stops(fim) if fim else ())),
        verbatim=verbatim,
    )


def generate(
    client: CompletionClient,
    form: ModelForm,
    made: Plan,
    max_tokens: int,
    *,
    note: str | None = None,
    seed: int | None = None,
    **options: Any,
) -> Completion:
    """Asks the gateway, greedily, and stops it as soon as a filter says that the completion has ended.

    Args:
        options: further ones of the client's `complete`, such as `cancel`.
    """
    started = time.perf_counter()
    first: float | None = None
    finish = "stop"
    ending = Ending(made.around, made.held_back, made.newline)
    details: dict[str, Any] = {}
    stream = client.complete(
        made.prompt,
        model=form.name,
        max_tokens=max_tokens,
        temperature=0.0,
        stop=made.stop,
        seed=seed,
        parse_special=made.mode == "fim",
        verbatim=made.verbatim,
        **options,
    )
    with closing(stream):  # type: ignore[type-var]
        for delta in stream:
            if delta.text and first is None:
                first = time.perf_counter() - started
            details = delta.details or details
            finish = delta.finish_reason or finish
            if ending.add(delta.text, final=delta.finish_reason == "stop") or delta.finish_reason is not None:
                break
    reason: Any = ending.cut.reason if ending.cut else finish
    return Completion(
        text=ending.text,
        mode=made.mode,
        shape=made.around.shape,
        prompt=made.prompt,
        held_back=made.held_back,
        snippets=made.snippets,
        finish_reason=reason,
        model=form.name,
        adapter=form.adapter,
        seconds=time.perf_counter() - started,
        first_token_seconds=first,
        details=details,
        note=note,
        raw=ending.raw,
    )


def _fit_snippets(
    found: Sequence[prompts.Snippet], limit: int, count: window.TokenCounts
) -> tuple[tuple[prompts.Snippet, ...], int]:
    """The best snippets that fit together, the best one last: next to the file that is completed.

    The first one that does not fit gives its first lines.
    """
    costs = count([prompts.context([snippet]) for snippet in found])
    kept: list[prompts.Snippet] = []
    used = 0
    for snippet, cost in zip(found, costs, strict=True):
        if used + cost <= limit:
            kept.append(snippet)
            used += cost
            continue
        lines = snippet.text.splitlines(keepends=True)
        some = lines[: int(len(lines) * 0.9 * (limit - used) / cost)]
        if len(some) >= MIN_SNIPPET_LINES:
            part = prompts.Snippet(snippet.path, "".join(some))
            cost_of_part = count([prompts.context([part])])[0]
            if used + cost_of_part <= limit:
                kept.append(part)
                used += cost_of_part
        break
    return tuple(reversed(kept)), used


def _in_order(
    snippets: tuple[prompts.Snippet, ...], before: tuple[prompts.Snippet, ...]
) -> tuple[prompts.Snippet, ...]:
    """Those that were shown before come first, in the order they had."""
    kept = tuple(snippet for snippet in before if snippet in snippets)
    return kept + tuple(snippet for snippet in snippets if snippet not in kept)


def _holds(tokens: prompts.FimTokens, text: str) -> bool:
    """Code that spells the tokens of the form itself would be read as them where `verbatim` is not known."""
    return any(token and token in text for token in (tokens.prefix, tokens.suffix, tokens.middle))
