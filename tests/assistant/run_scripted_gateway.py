"""`python -m tests.assistant.run_scripted_gateway LOG`: the real gateway on a scripted engine, as a process that can be
killed. It prints its URL, and writes to LOG the prompt of each generation that begins."""

import os
import socket
import sys

import uvicorn

from assistant.engines.base import Request
from assistant.gateway.connection import TimedConnection
from tests.assistant.gateway_fakes import ScriptedEngine, gateway

TOKENS = 8
SECONDS = 0.02
"""For each token."""
LONG = "long"
"""Prompts that begin so are answered for ten seconds: with the whole context of the scripted engine."""


def answer(request: Request) -> str:
    prompt = str(request.prompt)
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, f"{prompt}\n".encode())
    os.close(log)
    return " ".join([prompt] * (3000 if prompt.startswith(LONG) else TOKENS))


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        gateway(ScriptedEngine(answer, delay=SECONDS)),
        http=TimedConnection,
        lifespan="off",
        access_log=False,
        log_level="critical",
        ws="none",
    )
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
