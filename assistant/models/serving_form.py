"""The form of a GGUF that llama.cpp serves.

llama.cpp's matrix kernels for processors know Q8_0 and not Q4_1, so it reads a prompt in Q8_0 in two thirds of the time
(`benchmarks/serving_form.py`), which is most of the time of a completion. So a small Q4_1 model is served from a copy
in Q8_0, made once: each weight is within 1/254 of the largest of its 32 of what it was.
"""

from pathlib import Path

from assistant import paths
from assistant.models import transfer
from assistant.models.digests import file_digest
from assistant.models.gguf_file import GgufHeader, read_header
from assistant.models.gguf_write import rewrite, target_bytes
from assistant.models.transfer import Progress

_MOSTLY_Q4_1 = 3
"""`general.file_type` of llama.cpp (llama.h, llama_ftype)."""
_LARGEST = 1_000_000_000
"""Parameters. A larger model writes an answer as fast as the memory gives its weights, and Q8_0 has twice the bytes."""

_FILE = "model.gguf"

AS_IT_IS = "as it is"
_COPY = "Q8_0 copy, form 1"
"""Its number goes up when `rewrite` gives other weights for the same file."""


def form_name(gguf: Path | None) -> str:
    """What of a model is served, so that measurements of another form are not taken for this one's: the digest of a
    model is that of the original.

    Args:
        gguf: None of a safetensors folder.

    Raises:
        HoneError: not a GGUF, or damaged.
    """
    return _COPY if gguf is not None and _is_copied(read_header(gguf)) else AS_IT_IS


def serving_gguf(gguf: Path, progress: Progress | None = None) -> Path:
    """The file to serve for `gguf`: itself, or its cached copy in Q8_0, made now when it is missing.

    Raises:
        HoneError: not a GGUF, damaged, or the disk is full.
    """
    header = read_header(gguf)
    if not _is_copied(header):
        return gguf

    def make(folder: Path) -> None:
        name = str(header.values.get("general.name", gguf.stem))
        rewrite(gguf, "Q8_0", folder / _FILE, name, progress=progress)

    size = header.parameters * target_bytes("Q8_0") // 32
    return transfer.made_once(cached_folder(gguf), f"the serving form of {gguf.name}", size, make, progress) / _FILE


def _is_copied(header: GgufHeader) -> bool:
    return header.values.get("general.file_type") == _MOSTLY_Q4_1 and header.parameters <= _LARGEST


def cached_folder(gguf: Path) -> Path:
    """Where the copy is, or will be: named by the digest of the file."""
    return paths.models_dir() / "serving" / file_digest(gguf)[:24]
