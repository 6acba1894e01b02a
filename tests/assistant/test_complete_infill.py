"""Fill-in-the-middle prompts against llama.cpp's own `/infill`, on a tiny random model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assistant import prompts
from assistant.engines.llamacpp import LlamaCpp
from assistant.gateway.serving import _find_fim_tokens
from tests.tuning.tiny_gguf import write_base

QWEN, STARCODER, DEEPSEEK, _, _ = prompts.FIM_FAMILIES

SERVER = """
import http.client, json, os, socket, sys
import xllamacpp

config = json.load(sys.stdin)
params = xllamacpp.CommonParams()
params.model.path = config["gguf"]
params.n_ctx = params.n_batch = params.n_ubatch = 512
params.n_parallel = 1
params.verbosity = -1
params.warmup = False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames = [config["socket"]]
server = xllamacpp.Server(params)
answers = []
for path, body in config["requests"]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(config["socket"])
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answers.append(json.loads(connection.getresponse().read()))
    connection.close()
sys.stdout.write(json.dumps(answers))
sys.stdout.flush()
os._exit(0)
"""

PLACES = [
    ("def area(width, height):\n    return ", "\n\nprint(area(2, 3))\n"),
    ("x = ", "\n"),
    ("class Box:\n    def __init__(self, w):\n        self.w = w\n\n    ", ""),
    ("name = 'größer'  # 日本\n", "\n\t\tpass\n"),
]


def ask(folder: Path, gguf: Path, requests: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    config = {"gguf": str(gguf), "socket": str(folder / "server.sock"), "requests": requests}
    done = subprocess.run(
        [sys.executable, "-c", SERVER], input=json.dumps(config), capture_output=True, text=True, check=True, timeout=60
    )
    return list(json.loads(done.stdout))


@pytest.mark.parametrize("family", [QWEN, STARCODER, DEEPSEEK], ids=["qwen", "starcoder", "deepseek"])
def test_the_tokens_are_those_that_infill_makes(tmp_path: Path, family: prompts.FimTokens) -> None:
    gguf = write_base(tmp_path / "tiny.gguf", fim=family, vocab_size=408)
    engine = LlamaCpp(gguf, context_length=512, threads=1)
    try:
        assert _find_fim_tokens(engine) == family
        ours = [
            engine.tokenize(prompts.fim("pkg/a.py", prefix, suffix, family), parse_special=True)
            for prefix, suffix in PLACES
        ]
    finally:
        engine.close()
    settings = {"n_predict": 4, "temperature": 0, "cache_prompt": True, "return_tokens": True}
    requests: list[tuple[str, dict[str, Any]]] = []
    for (prefix, suffix), tokens in zip(PLACES, ours, strict=True):
        local = {"input_prefix": prompts.completion("pkg/a.py", prefix), "prompt": "", "input_suffix": suffix}
        requests += [("/infill", {**settings, **local}), ("/completion", {**settings, "prompt": tokens})]
    answers = ask(tmp_path, gguf, requests)
    for theirs, again, tokens in zip(answers[::2], answers[1::2], ours, strict=True):
        assert theirs["tokens_evaluated"] == len(tokens)
        # The server has the prompt of its own /infill in the cache; of the one that we made it computes the last token
        # only, without which there would be nothing to continue from.
        assert again["timings"]["cache_n"] == len(tokens) - 1
        assert again["tokens"] == theirs["tokens"]


def test_a_prompt_that_differs_in_its_first_token_is_not_taken_for_the_same(tmp_path: Path) -> None:
    """That the count above can tell."""
    gguf = write_base(tmp_path / "tiny.gguf", fim=QWEN, vocab_size=408)
    prefix, suffix = PLACES[0]
    settings = {"n_predict": 1, "temperature": 0, "cache_prompt": True}
    infill, other = ask(
        tmp_path,
        gguf,
        [
            ("/infill", {**settings, "input_prefix": prefix, "prompt": "", "input_suffix": suffix}),
            ("/completion", {**settings, "prompt": prompts.infill("y" + prefix, suffix, QWEN)}),
        ],
    )
    assert other["timings"]["cache_n"] < infill["tokens_evaluated"] - 1
