"""What vLLM has beside OpenAI's API: adapters loaded while it runs, and its tokenizer.

Sources: vLLM's documentation of LoRA adapters and its `entrypoints/serve/lora` and `entrypoints/serve/tokenize`, read
in November 2026.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from assistant import prompts
from assistant.engines.remote import error_message

if TYPE_CHECKING:
    import httpx

_LOAD_SECONDS = 120.0
_AT_ONCE = 16
_NO_ROUTE = "Not Found"
"""What it answers on a path that it does not have."""


class NotLoadedError(Exception):
    """The server did not load an adapter."""


class NoTokensError(Exception):
    """The server did not tokenize a text."""


async def load_adapter(http: "httpx.AsyncClient", url: str, name: str, path: str) -> None:
    """`name` must mean the same files for ever: what was computed with them is kept by their name.

    Args:
        url: ends with `/v1`.
        path: as that machine sees it.

    Raises:
        NotLoadedError: it did not; the message is one line.
    """
    import httpx

    body = {"lora_name": name, "lora_path": path}
    try:
        response = await http.post(f"{url}/load_lora_adapter", json=body, timeout=_LOAD_SECONDS)
    except httpx.HTTPError as error:
        raise NotLoadedError(str(error) or type(error).__name__) from error
    told = error_message(response.content)
    if response.status_code == 404 and told == _NO_ROUTE:
        raise NotLoadedError(
            "it takes no adapters: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        )
    if response.status_code != 200 and "already been loaded" not in told:
        raise NotLoadedError(told)


async def tokenize(http: "httpx.AsyncClient", url: str, model: str, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text alone, without a beginning token. Special tokens that a text spells count as such.

    Raises:
        NoTokensError: it has no such path, or failed.
        httpx.HTTPError: the connection did.
    """
    turn = asyncio.Semaphore(_AT_ONCE)
    root = url.removesuffix("/v1")

    async def one(text: str) -> list[int]:
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        async with turn:
            response = await http.post(f"{root}/tokenize", json=body)
        try:
            if response.status_code == 200:
                return [int(token) for token in response.json()["tokens"]]
        except (ValueError, KeyError, TypeError) as error:
            raise NoTokensError("its tokenizer's answer is not in vLLM's form") from error
        raise NoTokensError(f"its tokenizer answered {response.status_code}: {error_message(response.content)}")

    return list(await asyncio.gather(*(one(text) for text in texts)))


async def find_fim_tokens(http: "httpx.AsyncClient", url: str, model: str) -> prompts.FimTokens | None:
    """The fill-in-the-middle tokens of the model: those that its tokenizer makes one token of.

    Raises:
        NoTokensError, httpx.HTTPError: as `tokenize`.
    """
    families = prompts.FIM_FAMILIES
    spellings = sorted({token for family in families for token in (family.prefix, family.suffix, family.middle)})
    found = await tokenize(http, url, model, spellings)
    return prompts.find_fim_tokens({each: ids[0] for each, ids in zip(spellings, found, strict=True) if len(ids) == 1})
