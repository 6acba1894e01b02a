"""What vLLM serves of an adapter, and with which command."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError
from assistant.models.vllm import refuse_unservable, serve_command
from tests.assistant.fleet_fixtures import register
from tests.assistant.vllm_stub import BASE

pytestmark = pytest.mark.usefixtures("hone_home")


@pytest.mark.parametrize(
    ("rank", "pattern", "most"),
    [(1, {}, 1), (2, {}, 8), (32, {}, 32), (33, {}, 64), (8, {"q_proj": 300}, 320), (512, {}, 512)],
)
def test_the_command_names_base_rank_and_adapter(rank: int, pattern: dict[str, int], most: int) -> None:
    version = register("mine", rank=rank, rank_pattern=pattern)
    words = shlex.split(serve_command(version, Path("/models/my base"), Path("/out/vllm")))
    assert words[:5] == ["vllm", "serve", "/models/my base", "--served-model-name", BASE]
    options = dict(zip(words[6::2], words[7::2], strict=True))
    assert words[5] == "--enable-lora"
    assert options == {"--max-lora-rank": str(most), "--lora-modules": f"{version.id}=/out/vllm"}


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        ({"use_dora": True}, "no DoRA"),
        ({"modules_to_save": ["lm_head"]}, "no fully trained modules"),
        ({"bias": "lora_only"}, "no trained biases"),
        ({"rank": 513}, "ranks up to 512, and mine@"),
        ({"rank_pattern": {"q_proj": 0}}, "names no rank"),
        ({"r": "8"}, "names no rank"),
    ],
)
def test_what_vllm_does_not_serve_is_refused_in_one_line(configuration: dict[str, Any], told: str) -> None:
    version = register("mine", **configuration)
    with pytest.raises(HoneError, match=told) as caught:
        refuse_unservable(version)
    assert "\n" not in str(caught.value)
