"""Fill-in-the-middle prompts against llama.cpp's own `/infill`, on a tiny random model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assistant import prompts
from assistant.engines.base import Request
from assistant.engines.llamacpp import LlamaCpp
from assistant.gateway.serving import _find_fim_tokens
from tests.tuning.tiny_gguf import write_base

QWEN, STARCODER, DEEPSEEK, CODELLAMA, _ = prompts.FIM_FAMILIES

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


def write_sentencepiece(path: Path, fim: prompts.FimTokens) -> Path:
    """A GGUF of a random model with a tokenizer of sentencepiece's kind, as Code Llama's and CodeGemma's are: `▁` for a
    space, bytes for what it lacks, a space before a text, `<s>` (1) before a prompt."""
    import gguf

    pieces = [*map(chr, range(33, 127)), "\n", "\t", "▁", "▁▁", "▁▁▁▁", "re", "de", "def", "▁=", "in", "pr", "print"]
    control = [fim.prefix, fim.suffix, fim.middle]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256)), *pieces, *control]
    kinds = [2, 3, 3, *[6] * 256, *[1] * len(pieces), *[3] * len(control)]
    writer = gguf.GGUFWriter(path, "llama")
    sizes = {"embedding": 64, "head": 4, "forward": 96}
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(sizes["embedding"])
    writer.add_feed_forward_length(sizes["forward"])
    writer.add_head_count(sizes["head"])
    writer.add_head_count_kv(sizes["head"])
    writer.add_rope_dimension_count(sizes["embedding"] // sizes["head"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
    random = np.random.default_rng(0)
    across = (sizes["embedding"], sizes["embedding"])
    shapes = {
        "token_embd": (len(tokens), sizes["embedding"]),
        **{f"blk.0.attn_{part}": across for part in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{part}": (sizes["forward"], sizes["embedding"]) for part in ("gate", "up")},
        "blk.0.ffn_down": (sizes["embedding"], sizes["forward"]),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (0.2 * random.standard_normal(shape)).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(sizes["embedding"], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("family", "pieces"),
    [(QWEN, False), (STARCODER, False), (DEEPSEEK, False), (CODELLAMA, True), (QWEN, True)],
    ids=["qwen", "starcoder", "deepseek", "codellama", "codegemma"],
)
def test_the_tokens_are_those_that_infill_makes(tmp_path: Path, family: prompts.FimTokens, pieces: bool) -> None:
    file = tmp_path / "tiny.gguf"
    gguf = write_sentencepiece(file, family) if pieces else write_base(file, fim=family, vocab_size=408)
    engine = LlamaCpp(gguf, context_length=512, threads=1)
    try:
        assert _find_fim_tokens(engine) == family
        asked = [prompts.fim("pkg/a.py", prefix, suffix, family) for prefix, suffix in PLACES]
        opening = [1] if pieces else []
        ours = [[*opening, *engine.tokenize(prompt, parse_special=True)] for prompt in asked]
        # The beginning token is written by the engine itself.
        *_, last = engine.stream(Request(asked[0], max_tokens=1))
        assert last.usage is not None
        assert last.usage.prompt_tokens == len(ours[0])
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
