"""The base's safetensors with an adapter merged into the weights, in fp32, as transformers loads any model.

`python -m tuning.formats.merged_folder BASE ADAPTER TARGET` does it in a process of its own: its memory (twice the
model) is given back, and the libraries' notes stay off the terminal.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from assistant.errors import HoneError
from assistant.models.formats import TEMPLATE_FILES, TOKENIZER_FILES


def write_merged(base: Path, adapter: Path, target: Path) -> None:
    """Writes a model folder at `target`, which exists and is empty.

    Raises:
        HoneError: not enough memory, or peft cannot merge this adapter.
        OSError: the disk is full.
    """
    command = [sys.executable, "-P", "-m", "tuning.formats.merged_folder", str(base), str(adapter), str(target)]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        text=True,
    )
    try:
        _, errors = child.communicate()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode == 0:
        return
    last = (errors.strip().splitlines() or ["no message"])[-1]
    if child.returncode == -signal.SIGKILL or "MemoryError" in last:
        raise HoneError("not enough memory to merge the adapter into its base; close other programs")
    if "os error 28" in errors or "No space left" in errors:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise HoneError(f"the adapter cannot be merged into its base: {last[:300]}")


def _write(base: Path, adapter: Path, target: Path) -> None:
    import torch
    from peft import PeftModel

    from tuning.model.load import load_base

    model = load_base(base, torch.float32)
    tied = model.config.tie_word_embeddings
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    if tied and merged.get_input_embeddings().weight is not merged.get_output_embeddings().weight:
        raise ValueError("it changes one of two tied embeddings, so the merged model would need both; train without")
    merged.save_pretrained(target)
    for name in (*TOKENIZER_FILES, *TEMPLATE_FILES):
        if (base / name).exists():
            shutil.copy2(base / name, target / name)


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
