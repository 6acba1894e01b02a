"""What the gateway's paths do."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from assistant import languages, prompts
from assistant.answer_counts import Recorder, measured
from assistant.engines.base import Cancel, Chunk, Emit, Request, Usage
from assistant.feedback_events import Source
from assistant.gateway import around, conversation, likelihoods, native, openai, outcomes, tabby, trimmed
from assistant.gateway.admission import Admission, Limits, seconds_allowed
from assistant.gateway.answers import Answer, Kind
from assistant.gateway.app import Endpoint, Exchange, Routes
from assistant.gateway.failures import DeadlineError
from assistant.gateway.fields import BadFieldError
from assistant.gateway.results import Result, Writer
from assistant.gateway.sampling import Sampling, engine_requests, ignored_samplers
from assistant.gateway.serving import Lease, Serving
from assistant.gateway.stream import Headers, generation, send_events, send_whole, while_connected
from assistant.gateway.told import Told
from assistant.skills.ending import Ending

_CHAT = "chatcmpl"
_GRACE_SECONDS = 5.0
"""After the deadline, for the engine to say that it has ended and for the client to read what there is."""


@dataclass(frozen=True)
class _Asked:
    """A prompt that is ready for the engine, and what the answer says about it."""

    prompt: str | tuple[int, ...]
    parse_special: bool
    verbatim: tuple[tuple[int, int], ...] = ()
    """Where control tokens that it spells stay text all the same."""
    mode: prompts.CompletionMode | None = None
    """Of a prompt that was built around a cursor."""
    truncated: bool = False
    language: str | None = None
    ending: Ending | None = None
    """Where the answer is to be ended; None leaves that to the model."""

    @property
    def details(self) -> dict[str, Any]:
        if self.mode is None:
            return {}
        return {"completion_mode": self.mode, "truncated": self.truncated}


class Endpoints:
    """One method for each path; `routes` says which."""

    def __init__(self, serving: Serving, limits: Limits, counting: Recorder | None = None) -> None:
        self._serving = serving
        self._limits = limits
        self._counting = counting
        self._admission = Admission(limits.queue)
        self._journal = outcomes.Journal()

    def routes(self) -> Routes:
        def post(endpoint: Endpoint) -> Mapping[str, Endpoint]:
            return {"POST": endpoint}

        return {
            "/health": {"GET": self._health},
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": post(self._chat),
            "/v1/completions": post(self._complete),
            "/v1/fim/completions": post(self._fim_chat),
            "/v1/tokenize": post(self._tokenize),
            "/apply-template": post(self._apply_template),
            "/v1/likelihoods": post(self._likelihoods),
            "/infill": post(self._infill),
            "/completion": post(self._native),
            **Told(self._journal, self._serving.spec).routes(),
        }

    def status(self) -> str:
        return str(self._serving.health()["status"])

    async def _health(self, exchange: Exchange) -> None:
        await exchange.reply(200, {**self._serving.health(), "requests": self._admission.taken})

    async def _models(self, exchange: Exchange) -> None:
        async with self._in_time({}, exchange):
            models = await while_connected(self._serving.models(), exchange.receive)
            await exchange.reply(200, openai.model_list(models))

    async def _tokenize(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = openai.parse_tokenize(body)
        async with self._in_time(body, exchange), self._lease(request.model, exchange) as lease:
            tokens = await while_connected(lease.tokenize(request.texts, request.parse_special), exchange.receive)
            await exchange.reply(200, {"model": lease.served.name, "tokens": tokens})

    async def _apply_template(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = openai.parse_chat(body)
        async with self._in_time(body, exchange), self._lease(request.sampling.model, exchange) as lease:
            rendered = await while_connected(_rendered(request, lease), exchange.receive)
            told = {"prompt": rendered.prompt, "verbatim": rendered.verbatim}
            await exchange.reply(200, {"model": lease.served.name, **told})

    async def _likelihoods(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = likelihoods.parse_likelihoods(body)
        async with self._turn(exchange, body, request.model, 1) as (lease, expires):
            asking = lease.likelihoods(request.texts, request.answers)
            async with asyncio.timeout_at(expires):
                logprobs = await while_connected(asking, exchange.receive)
            await exchange.reply(200, likelihoods.answer(lease.served.name, logprobs))

    async def _chat(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = openai.parse_chat(body)
        async with self._turn(exchange, body, request.sampling.model, request.sampling.choices) as (lease, expires):
            rendered = await while_connected(_rendered(request, lease), exchange.receive)
            asked = _Asked(rendered.prompt, True, verbatim=rendered.verbatim)
            await self._answer("chat", asked, request.sampling, lease, expires, exchange)

    async def _complete(self, exchange: Exchange) -> None:
        body = await exchange.body()
        if tabby.is_tabby(body):
            await self._segments(body, exchange)
        else:
            await self._text("text", body, exchange)

    async def _fim_chat(self, exchange: Exchange) -> None:
        """Mistral's form of a completion with a suffix: the request of one, the answer of a chat."""
        await self._text("chat", await exchange.body(), exchange)

    async def _text(self, kind: Kind, body: Mapping[str, Any], exchange: Exchange) -> None:
        request = openai.parse_completion(body)
        async with self._turn(exchange, body, request.sampling.model, request.sampling.choices) as (lease, expires):
            asked = _Asked(request.prompt, request.parse_special)
            if isinstance(request.prompt, str) and request.parse_special and request.verbatim:
                finding = _verbatim(request.prompt, request.verbatim, lease)
                asked = replace(asked, verbatim=await while_connected(finding, exchange.receive))
            if request.suffix is not None:
                assert isinstance(request.prompt, str)
                place = around.Around(request.prompt, request.suffix)
                asked = await while_connected(_ask_around(place, request.sampling, lease), exchange.receive)
            await self._answer(kind, asked, request.sampling, lease, expires, exchange)

    async def _answer(
        self, kind: Kind, asked: _Asked, sampling: Sampling, lease: Lease, expires: float, exchange: Exchange
    ) -> None:
        identifier = _identifier(_CHAT if kind == "chat" and asked.mode is None else "cmpl")
        details = {**lease.details, **asked.details}
        writer = Answer(kind, identifier, lease.served.name, details, sampling.include_usage, sampling.choices)
        await self._generate(identifier, writer, asked, sampling, lease, expires, exchange)

    async def _segments(self, body: Mapping[str, Any], exchange: Exchange) -> None:
        request = tabby.parse_segments(body)
        async with self._turn(exchange, body, request.sampling.model, request.sampling.choices) as (lease, expires):
            asked = await while_connected(_ask_around(request.around, request.sampling, lease), exchange.receive)
            asked = replace(_trimmed(asked, request.around, request.language), language=request.language)
            identifier = _identifier("cmpl")
            writer = tabby.TabbyAnswer(identifier, lease.served.name, {**lease.details, **asked.details})
            await self._generate(identifier, writer, asked, request.sampling, lease, expires, exchange)

    async def _infill(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = native.parse_infill(body)
        place = around.Around(request.prefix + request.middle, request.suffix, snippets=request.snippets)
        async with self._turn(exchange, body, request.sampling.model, request.sampling.choices) as (lease, expires):
            asked = await while_connected(_ask_around(place, request.sampling, lease), exchange.receive)
            asked = _trimmed(asked, place)
            await self._answer_native(asked, request.sampling, request.response_fields, lease, expires, exchange)

    async def _native(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = native.parse_raw(body)
        async with self._turn(exchange, body, request.sampling.model, request.sampling.choices) as (lease, expires):
            asked = _Asked(request.prompt, True)
            await self._answer_native(asked, request.sampling, request.response_fields, lease, expires, exchange)

    async def _answer_native(
        self,
        asked: _Asked,
        sampling: Sampling,
        response_fields: Sequence[str] | None,
        lease: Lease,
        expires: float,
        exchange: Exchange,
    ) -> None:
        identifier = _identifier("cmpl")
        ignored = ignored_samplers(sampling, lease.engine)
        details = {**lease.details, **asked.details, **({"ignored_samplers": ignored} if ignored else {})}
        writer = native.NativeAnswer(identifier, lease.served.name, details, response_fields)
        if not asked.prompt and sampling.max_tokens == 0:
            # A warm-up with nothing to warm up.
            await exchange.reply(200, writer.whole([Result(reason="length")]))
            return
        await self._generate(identifier, writer, asked, sampling, lease, expires, exchange)

    @asynccontextmanager
    async def _turn(
        self, exchange: Exchange, body: Mapping[str, Any], model: str | None, answers: int
    ) -> AsyncIterator[tuple[Lease, float]]:
        """An engine for one request, and the time of the loop at which the request must have ended.

        Raises:
            BusyError: too much runs and waits already.
            DeadlineError: its time was over before it was answered.
        """
        async with self._in_time(body, exchange, _GRACE_SECONDS) as expires:
            with self._admission.place(answers):
                async with self._lease(model, exchange) as lease:
                    yield lease, expires

    @asynccontextmanager
    async def _in_time(self, body: Mapping[str, Any], exchange: Exchange, grace: float = 0.0) -> AsyncIterator[float]:
        """The time of the loop at which the request must have ended.

        Raises:
            DeadlineError: its time was over, and the seconds of grace.
        """
        seconds = seconds_allowed(body, exchange.headers, self._limits.deadline)
        expires = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(expires + grace):
                yield expires
        except TimeoutError as error:
            raise DeadlineError(f"the request was not answered within its {seconds:g} seconds") from error

    @asynccontextmanager
    async def _lease(self, model: str | None, exchange: Exchange) -> AsyncIterator[Lease]:
        """An engine, which may have to be loaded first.

        Raises:
            ClientLeftError: the client did not wait for it.
        """
        async with AsyncExitStack() as stack:
            leasing = stack.enter_async_context(self._serving.lease(model))
            yield await while_connected(leasing, exchange.receive)

    async def _generate(
        self,
        identifier: str,
        writer: Writer,
        asked: _Asked,
        sampling: Sampling,
        lease: Lease,
        expires: float,
        exchange: Exchange,
    ) -> None:
        adapter = lease.served.adapter.id if lease.served.adapter else None
        requests = engine_requests(sampling, asked.prompt, asked.parse_special, adapter, lease.engine, asked.verbatim)
        deliver = send_events if sampling.stream else send_whole
        start = lease.engine.start if asked.ending is None else partial(trimmed.start, lease.engine, asked.ending)
        # An editor asks in an empty file too; there is nothing to continue.
        nothing = asked.mode is not None and not asked.prompt
        if nothing:
            start = _write_nothing
        running = generation(start, requests, exchange.receive, expires)
        began = time.monotonic()
        results = await deliver(running, writer, exchange.send, _headers(identifier, lease, asked))
        texts = tuple(result.text for result in results)
        prompt = asked.prompt if isinstance(asked.prompt, str) else None
        source: Source = "chat" if identifier.startswith(_CHAT) else "complete"
        given = outcomes.Given(lease.served.name, adapter, source, asked.language, prompt, texts)
        self._journal.add(identifier, given)
        if self._counting is not None and not nothing:
            tokens = sum(result.usage.completion_tokens for result in results)
            cut = sum(result.reason == "length" for result in results)
            took = time.monotonic() - began
            self._counting.add(measured(lease.served.name, source, texts, took, tokens, cut))


async def _rendered(request: openai.ChatRequest, lease: Lease) -> conversation.Conversation:
    template = lease.engine.chat_template
    if template is None:
        raise BadFieldError("model", f"{lease.served.name} has no chat template; use /v1/completions")
    return await conversation.render(request.messages, template, lease.engine)


async def _ask_around(place: around.Around, sampling: Sampling, lease: Lease) -> _Asked:
    prompt = await around.build_fitting(place, lease, sampling.max_tokens)
    verbatim = await _verbatim(prompt.text, prompt.code, lease)
    return _Asked(prompt.text, prompt.parse_special, verbatim, mode=prompt.mode, truncated=prompt.truncated)


async def _verbatim(prompt: str, code: Sequence[tuple[int, int]], lease: Lease) -> tuple[tuple[int, int], ...]:
    """The whole of the code, as training reads it, where it spells a control token at all: most prompts need no
    tokenizing piece by piece."""
    spelled = await conversation.control_tokens([prompt[start:end] for start, end in code], lease.engine)
    return tuple(code) if spelled else ()


def _trimmed(asked: _Asked, place: around.Around, language: str | None = None) -> _Asked:
    """A model that is shown what follows the cursor ends by itself."""
    if asked.mode != "prefix" or not isinstance(asked.prompt, str):
        return asked
    known = languages.language_of(place.path or "") or languages.named(language or "")
    # As for `hone complete`: tokenizers keep a space with the word after it.
    held_back = " " if asked.prompt.endswith(" ") else ""
    ending = trimmed.ending_of(place.prefix, place.suffix, known, held_back)
    return replace(asked, prompt=asked.prompt.removesuffix(held_back), ending=ending)


def _headers(identifier: str, lease: Lease, asked: _Asked) -> Headers:
    """What an answer says in its head too, for programs that do not read its body."""
    headers = [(b"x-hone-id", identifier.encode()), (b"x-hone-model", quote(lease.served.name, safe="/@:+").encode())]
    if asked.mode is not None:
        headers.append((b"x-hone-completion-mode", asked.mode.encode()))
    return headers


def _write_nothing(request: Request, emit: Emit) -> Cancel:
    emit(Chunk(finish_reason="stop", usage=Usage(0, 0, 0, 0.0, 0.0)))
    return lambda: None


def _identifier(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"
