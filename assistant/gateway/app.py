"""The OpenAI-compatible server: routes, and what each does with a request."""

import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

from assistant import prompts
from assistant.engines.base import Request
from assistant.errors import HoneError, UsageError
from assistant.gateway import choices, openai
from assistant.gateway.auth import host_allowed, key_matches
from assistant.gateway.fields import BadFieldError
from assistant.gateway.openai import Answer, Sampling, failure
from assistant.gateway.serving import Lease, Serving
from assistant.gateway.stream import (
    ClientLeftError,
    Receive,
    Scope,
    Send,
    generation,
    send_error,
    send_events,
    send_json,
    send_whole,
)

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request."""
MAX_REQUESTS = 64
"""Generations running or waiting."""
_DRAINED = 4 * MAX_BODY
"""Bytes of a too large body that are read and dropped, so that its sender gets to read the answer."""

Endpoint = Callable[[Receive, Send], Awaitable[None]]


class _TooLargeError(Exception):
    pass


class Gateway:
    """The ASGI application.

    Args:
        serving: the models.
        key: what every request must carry as its bearer key.
        host_names: further Host names to answer to.
    """

    def __init__(self, serving: Serving, key: str, host_names: Collection[str] = ()) -> None:
        self._serving = serving
        self._key = key
        self._host_names = frozenset(name.lower() for name in host_names)
        self._active = 0
        self._routes: dict[str, dict[str, Endpoint]] = {
            "/health": {"GET": self._health},
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/completions": {"POST": self._complete},
            "/v1/tokenize": {"POST": self._tokenize},
            "/v1/choices": {"POST": self._choices},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except ClientLeftError:
            return
        except _TooLargeError:
            message = f"the request is larger than {MAX_BODY // 1024 // 1024} MiB"
            body = failure(message, "invalid_request_error", "request_too_large")
            await send_json(send, 413, body, [(b"connection", b"close")])
        except HoneError as error:
            await send_error(send, error)
        except RecursionError:
            await send_error(send, UsageError("the request is nested too deeply"))
        except Exception as error:
            # A bug. What it says may hold parts of a prompt, so only where it happened is logged.
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"hone: {type(error).__name__} at {where.filename}:{where.lineno}", file=sys.stderr)  # noqa: T201
            body = failure("the gateway failed on this request; its log says where", "server_error", "internal_error")
            # Refused when the answer had begun, which then simply ends.
            with suppress(RuntimeError):
                await send_json(send, 500, body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if not host_allowed(headers.get(b"host", b""), self._host_names):
            message = "this Host name is not served; use localhost or the address"
            await send_json(send, 403, failure(message, "permission_error", "host_not_allowed"))
            return
        path = scope["path"]
        if not key_matches(headers.get(b"authorization", b""), self._key):
            if path == "/health" and scope["method"] == "GET" and b"authorization" not in headers:
                await send_json(send, 200, {"status": self._serving.health()["status"]})
                return
            message = "no valid key: send the content of the gateway's key file as Authorization: Bearer KEY"
            body = failure(message, "authentication_error", "invalid_api_key")
            await send_json(send, 401, body, [(b"www-authenticate", b"Bearer")])
            return
        methods = self._routes.get(path)
        if methods is None:
            known = ", ".join(self._routes)
            message = f"there is no {path:.80} here; there are {known}"
            await send_json(send, 404, failure(message, "invalid_request_error", "unknown_url"))
            return
        endpoint = methods.get(scope["method"])
        if endpoint is None:
            allowed = ", ".join(methods)
            body = failure(f"{path} takes {allowed}", "invalid_request_error", "method_not_allowed")
            await send_json(send, 405, body, [(b"allow", allowed.encode())])
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            await _drain(receive)
            raise _TooLargeError
        await endpoint(receive, send)

    async def _health(self, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {**self._serving.health(), "requests": self._active})

    async def _models(self, receive: Receive, send: Send) -> None:
        await send_json(send, 200, openai.model_list(await self._serving.models()))

    async def _tokenize(self, receive: Receive, send: Send) -> None:
        request = openai.parse_tokenize(await _read_json(receive))
        async with self._serving.lease(request.model) as lease:
            tokens = await lease.tokenize(request.texts, request.parse_special)
        await send_json(send, 200, {"model": lease.served.name, "tokens": tokens})

    async def _choices(self, receive: Receive, send: Send) -> None:
        request = choices.parse_choices(await _read_json(receive))
        async with self._serving.lease(request.model) as lease:
            logprobs = await lease.choose(request.texts, request.choices, request.assumed)
        await send_json(send, 200, choices.answer(lease.served.name, logprobs))

    async def _chat(self, receive: Receive, send: Send) -> None:
        request = openai.parse_chat(await _read_json(receive))
        async with self._serving.lease(request.sampling.model) as lease:
            template = lease.engine.chat_template
            if template is None:
                raise BadFieldError("model", f"{lease.served.name} has no chat template; use /v1/completions")
            prompt = prompts.chat(request.messages, template, lease.engine.special_tokens, fold_system=True)
            await self._generate("chat", prompt, True, request.sampling, lease, receive, send)

    async def _complete(self, receive: Receive, send: Send) -> None:
        request = openai.parse_completion(await _read_json(receive))
        async with self._serving.lease(request.sampling.model) as lease:
            prompt, special = request.prompt, request.parse_special
            if request.suffix is not None:
                if lease.fim_tokens is None:
                    raise BadFieldError(
                        "suffix", f"{lease.served.name} has no fill-in-the-middle tokens, so it cannot use a suffix"
                    )
                assert isinstance(prompt, str)
                prompt, special = prompts.infill(prompt, request.suffix, lease.fim_tokens), True
            await self._generate("text", prompt, special, request.sampling, lease, receive, send)

    async def _generate(
        self,
        kind: openai.Kind,
        prompt: str | tuple[int, ...],
        parse_special: bool,
        sampling: Sampling,
        lease: Lease,
        receive: Receive,
        send: Send,
    ) -> None:
        if self._active >= MAX_REQUESTS:
            message = f"{MAX_REQUESTS} requests are running or waiting; try again later"
            await send_json(send, 429, failure(message, "rate_limit_error", "too_many_requests"))
            return
        limit = lease.context_length
        request = Request(
            prompt=prompt,
            max_tokens=limit if sampling.max_tokens is None else min(sampling.max_tokens, limit),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repeat_penalty=sampling.repeat_penalty,
            seed=sampling.seed,
            stop=sampling.stop,
            json_schema=sampling.json_schema,
            adapter=lease.served.adapter.id if lease.served.adapter else None,
            parse_special=parse_special,
        )
        answer = Answer(kind, lease.served.name, sampling.include_usage, lease.details)
        self._active += 1
        try:
            deliver = send_events if sampling.stream else send_whole
            await deliver(generation(lease.engine, request, receive), answer, send)
        finally:
            self._active -= 1


async def _read_json(receive: Receive) -> dict[str, Any]:
    """
    Raises:
        BadFieldError: the body is not a JSON object in UTF-8.
    """
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        more = message.get("more_body", False)
        if size > MAX_BODY:
            if more:
                await _drain(receive)
            raise _TooLargeError
    data = b"".join(pieces)
    try:
        body = json.loads(data.decode("utf-8"))
        if b"\\u" in data:
            # JSON can spell half of a surrogate pair, which is no text.
            json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFieldError(None, f"the body is not valid UTF-8: {error.reason} at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise BadFieldError(None, "the body has an unpaired surrogate escape, which is no text") from error
    except ValueError as error:
        raise BadFieldError(None, f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadFieldError(None, "the body must be a JSON object")
    return body


async def _drain(receive: Receive) -> None:
    size = 0
    while size < _DRAINED:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
