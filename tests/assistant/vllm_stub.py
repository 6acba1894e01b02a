"""A server that behaves as vLLM's documentation and sources say that `vllm serve` does, without a model."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASE = "tiny-base"


@dataclass
class VllmStub:
    """An ASGI application. It answers `ADAPTER says: PROMPT`, a word in each event.

    Args:
        updating: started with VLLM_ALLOW_RUNTIME_LORA_UPDATING.
        hang: it takes requests for answers and does not answer them for now; `frozen`: nor any other.
        fail: a status with which it answers every generation.
        slow_load: it does not answer for now when it is told to load an adapter.
        break_after: events after which it drops the connection.
    """

    key: str | None = None
    max_lora_rank: int = 16
    updating: bool = True
    health: int = 200
    fail: int | None = None
    retry_after: str | None = None
    break_after: int | None = None
    hang: bool = False
    slow_load: bool = False
    frozen: bool = False
    redirect: str | None = None
    special: tuple[str, ...] = ()
    """Special tokens of its tokenizer."""
    loaded: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Of the generations that it was asked for."""
    headers: list[dict[str, str]] = field(default_factory=list)
    running: int = 0
    loads: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.headers.append(headers)
        path = scope["path"]
        if self.frozen:
            await _left(receive)
        elif self.redirect:
            await _reply(send, 307, b"", [(b"location", self.redirect.encode())])
        elif path.startswith("/v1") and self.key and headers.get("authorization") != f"Bearer {self.key}":
            await _json(send, 401, {"error": "Unauthorized"})
        elif path == "/health":
            await _reply(send, self.health, b"")
        elif path == "/v1/models":
            await _json(send, 200, {"object": "list", "data": self._models()})
        elif path == "/v1/load_lora_adapter" and self.updating:
            await self._load(await _body(receive), send)
        elif path == "/tokenize":
            await self._tokenize(await _body(receive), send)
        elif path in ("/v1/completions", "/v1/chat/completions"):
            self.running += 1
            try:
                await self._generate(path, await _body(receive), receive, send)
            finally:
                self.running -= 1
        else:
            await _error(send, 404, "Not Found", "Not Found")

    def _models(self) -> list[dict[str, Any]]:
        common = {"object": "model", "created": 1, "owned_by": "vllm", "permission": []}
        base = {"id": BASE, "root": "/models/tiny", "parent": None, "max_model_len": 2048}
        adapters = [{"id": name, "root": path, "parent": BASE} for name, path in self.loaded.items()]
        return [{**common, **each} for each in (base, *adapters)]

    async def _load(self, body: dict[str, Any], send: Any) -> None:
        self.loads += 1
        while self.slow_load:
            await asyncio.sleep(0.02)
        name, path = body["lora_name"], body["lora_path"]
        if name in self.loaded and not body.get("load_inplace"):
            message = f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place,"
            await _error(send, 400, message + " set 'load_inplace' to True.", "InvalidUserInput")
            return
        try:
            configuration = json.loads((Path(path) / "adapter_config.json").read_text())
        except OSError:
            await _error(send, 404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
            return
        if configuration["r"] > self.max_lora_rank:
            message = f"LoRA rank {configuration['r']} is greater than max_lora_rank {self.max_lora_rank}."
            await _error(send, 500, f"Call to add_lora method failed: {message}", "InternalServerError")
            return
        self.loaded[name] = path
        await _reply(send, 200, f"Success: LoRA adapter '{name}' added successfully.".encode())

    async def _tokenize(self, body: dict[str, Any], send: Any) -> None:
        """A character a token, but for the special ones."""
        text = body["prompt"]
        tokens = [1000 + self.special.index(text)] if text in self.special else [ord(character) for character in text]
        await _json(send, 200, {"count": len(tokens), "max_model_len": 2048, "tokens": tokens, "token_strs": None})

    async def _generate(self, path: str, body: dict[str, Any], receive: Any, send: Any) -> None:
        self.bodies.append(body)
        leaving = asyncio.ensure_future(_left(receive))
        while self.hang and not leaving.done():
            await asyncio.sleep(0.02)
        if leaving.done():
            return
        leaving.cancel()
        if self.fail is not None:
            extra = [(b"retry-after", self.retry_after.encode())] if self.retry_after else []
            message = "EngineCore encountered an issue."
            content = json.dumps({"error": {"message": message, "type": "InternalServerError", "code": self.fail}})
            await _reply(send, self.fail, content.encode(), extra)
            return
        if body["model"] not in (BASE, *self.loaded):
            await _error(send, 404, f"The model `{body['model']}` does not exist.", "NotFoundError")
            return
        if body.get("suffix"):
            await _error(send, 400, "suffix is not currently supported", "BadRequestError")
            return
        chat = path.endswith("chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        words = f"{body['model']} says: {prompt}".split(" ")
        if body.get("stream"):
            await self._stream(chat, body["model"], words, send)
            return
        text = " ".join(words)
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        answer = {"id": "cmpl-stub", "object": "x", "model": body["model"], "usage": {"completion_tokens": len(words)}}
        await _json(send, 200, {**answer, "choices": [{"index": 0, **choice, "finish_reason": "stop"}]})

    async def _stream(self, chat: bool, model: str, words: list[str], send: Any) -> None:
        kind = (b"content-type", b"text/event-stream; charset=utf-8")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        parts: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}] if chat else []
        for index, word in enumerate(words):
            piece = word if index == 0 else f" {word}"
            parts.append({"delta": {"content": piece}} if chat else {"text": piece})
        parts.append({"delta": {}, "finish_reason": "stop"} if chat else {"text": "", "finish_reason": "stop"})
        for number, part in enumerate(parts):
            if number == self.break_after:
                # The server closes a connection whose answer is not complete.
                raise RuntimeError("broken on purpose")
            choice = {"index": 0, "logprobs": None, "finish_reason": None, **part}
            event = {"id": "cmpl-stub", "object": "x", "created": 1, "model": model, "choices": [choice]}
            data = f"data: {json.dumps(event)}\n\n".encode()
            await send({"type": "http.response.body", "body": data, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _body(receive: Any) -> dict[str, Any]:
    data = b""
    more = True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    loaded: dict[str, Any] = json.loads(data)
    return loaded


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _json(send: Any, status: int, body: Any) -> None:
    await _reply(send, status, json.dumps(body).encode(), [(b"content-type", b"application/json")])


async def _error(send: Any, status: int, message: str, kind: str) -> None:
    await _json(send, status, {"error": {"message": message, "type": kind, "param": None, "code": status}})


async def _reply(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
