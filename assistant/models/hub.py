"""Downloads a model from the Hugging Face hub: safetensors or GGUF, tokenizer and configuration files, nothing else.

What an interrupted download got stays in a hidden staging folder, and the next attempt goes on from there. Every file
is checked against the digest that the hub gives for it before it becomes part of the model.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from assistant import atomic
from assistant.errors import HoneError, UnknownModel
from assistant.models import formats, manifest
from assistant.models.catalogue import HubSource
from assistant.models.gguf_file import read_header
from assistant.models.transfer import Progress, disk_error, require_space, sha256_of

_SAFE_NAME = re.compile(r"\w[\w.-]*")
_SPLIT_GGUF = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# Small enough for a laptop and good enough for code, best first.
_PREFERRED_QUANTIZATIONS = ("Q4_K_M", "Q4_1", "Q4_0", "Q5_K_M", "Q8_0", "F16", "BF16", "F32")


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    sha256: str | None
    """Of files in large file storage."""
    git_sha1: str | None
    """git's blob id, of the small ones."""

    @property
    def staged_as(self) -> str:
        return f"{self.name}.{(self.sha256 or self.git_sha1 or '')[:16]}"


@dataclass(frozen=True)
class _Repository:
    name: str
    commit: str
    licence: str | None
    files: dict[str, _File]
    endpoint: str | None


def download(name: str, source: HubSource, folder: Path, progress: Progress | None = None) -> None:
    """Downloads a model so that `folder` appears whole or not at all; the caller holds the model's lock.

    Args:
        name: the name under which the model is cached.

    Raises:
        UnknownModel: the hub has no such repository.
        HoneError: no network, access refused, pickled weights, code in the model, a wrong digest, a full disk.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.errors import HfHubHTTPError

    # The library's notes on retries would otherwise be written between our own lines.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # The base class of every failure of httpx, of whichever httpx the library is built on.
    http_error: type[Exception] = HfHubHTTPError.__bases__[0]
    staging = folder.parent / f".{folder.name}.download"
    interrupted = False
    try:
        repository = _look_up(source)
        _fetch(name, source, repository, staging=staging, folder=folder, progress=progress)
    except (http_error, ConnectionError) as error:
        interrupted = True
        raise _hub_error(error, source, staging) from error
    except KeyboardInterrupt:
        interrupted = True
        raise
    except OSError as error:
        if error.errno is not None:
            raise disk_error(error, name, folder.parent) from error
        raise HoneError(f"the download of {name} came out damaged; try again") from error
    finally:
        if not interrupted:
            shutil.rmtree(staging, ignore_errors=True)


def _fetch(
    name: str, source: HubSource, repository: _Repository, *, staging: Path, folder: Path, progress: Progress | None
) -> None:
    wanted = _choose(source, repository)
    staging.mkdir(exist_ok=True)
    have = sum(path.stat().st_size for path in staging.iterdir())
    require_space(staging, sum(file.size for file in wanted) - have, name)
    for file in wanted:
        staged = _fetch_file(file, repository, staging, progress)
        if file.name in ("config.json", "tokenizer_config.json"):
            # Before the weights: a model that needs its own code is refused while little was downloaded.
            formats.refuse_code(staged, f"{source.repository}, {file.name}")
    with atomic.new_folder(folder) as final:
        for file in wanted:
            (staging / file.staged_as).rename(final / file.name)
        gguf = next((file.name for file in wanted if file.name.endswith(".gguf")), None)
        if gguf:
            header = read_header(final / gguf)
            licence, context_length = repository.licence or header.licence, header.context_length
        else:
            licence, context_length = repository.licence, formats.context_length(formats.check_folder(final))
        facts = {"licence": licence, "gguf": gguf, "context_length": context_length}
        manifest.write(final, name, source.repository, repository.commit, **facts)


def _look_up(source: HubSource) -> _Repository:
    from huggingface_hub import HfApi

    endpoint = (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None
    information = HfApi(endpoint=endpoint).model_info(source.repository, files_metadata=True)
    files = {}
    for sibling in information.siblings or ():
        if _SAFE_NAME.fullmatch(sibling.rfilename):
            lfs = sibling.lfs
            size = int(lfs.size if lfs else sibling.size or 0)
            files[sibling.rfilename] = _File(
                sibling.rfilename, size, lfs.sha256 if lfs else None, None if lfs else sibling.blob_id
            )
    licence = next((tag.removeprefix("license:") for tag in information.tags or () if tag.startswith("license:")), None)
    if not information.sha:
        raise HoneError(f"the hub gives no revision for {source.repository}; try again later")
    return _Repository(source.repository, information.sha, licence, files, endpoint)


def _choose(source: HubSource, repository: _Repository) -> list[_File]:
    """The files to download, small ones first."""
    names = list(repository.files)
    weights = formats.weight_files(names)
    ggufs = [name for name in names if name.endswith(".gguf") and not name.startswith("mmproj")]
    if source.quantization or (ggufs and not weights):
        return [repository.files[_choose_gguf(source, ggufs)]]
    if not weights:
        formats.refuse_pickles(names, source.repository)
    small = (*formats.CONFIG_FILES, *formats.TOKENIZER_FILES, *formats.TEMPLATE_FILES, "model.safetensors.index.json")
    if "config.json" not in repository.files:
        raise HoneError(f"{source.repository} has no config.json, so it is no transformers model; choose another")
    return [repository.files[name] for name in (*small, *weights) if name in repository.files]


def _choose_gguf(source: HubSource, names: Sequence[str]) -> str:
    whole = [name for name in names if not _SPLIT_GGUF.search(name)]
    for quantization in (source.quantization,) if source.quantization else _PREFERRED_QUANTIZATIONS:
        pattern = re.compile(rf"(?<![A-Za-z0-9]){re.escape(quantization)}(?![A-Za-z0-9_])", re.IGNORECASE)
        fitting = sorted(name for name in whole if pattern.search(name))
        if fitting:
            return fitting[0]
    if whole and not source.quantization:
        return sorted(whole)[0]
    there = ", ".join(sorted(whole)) or "none in one file"
    wanted = f" of quantization {source.quantization}" if source.quantization else ""
    raise HoneError(f"{source.repository} has no GGUF{wanted}; there are: {there}")


def _fetch_file(file: _File, repository: _Repository, staging: Path, progress: Progress | None) -> Path:
    """Downloads one file into the staging folder, going on where an earlier attempt stopped."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    finished = staging / file.staged_as
    if finished.exists():
        return finished
    part = finished.with_name(finished.name + ".part")
    url = hf_hub_url(repository.name, file.name, revision=repository.commit, endpoint=repository.endpoint)
    what = f"downloading {file.name}"
    with part.open("ab") as opened:
        done = opened.tell()
        if done > file.size:
            opened.truncate(0)
            done = 0
        counted = cast(BinaryIO, _Counted(opened, done, what, file.size, progress))
        http_get(
            url,
            counted,
            resume_size=done,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.name,
            tqdm_class=_silent_bar(),
        )
        opened.flush()
        os.fsync(opened.fileno())
    _check(part, file, repository.name, progress)
    part.rename(finished)
    return finished


def _check(path: Path, file: _File, repository: str, progress: Progress | None) -> None:
    if file.sha256:
        matches = sha256_of(path, f"checking {file.name}", progress) == file.sha256
    elif file.git_sha1:
        data = path.read_bytes()
        # git's own name for a blob, not a security measure: small files have no other digest on the hub.
        matches = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.git_sha1
    else:
        raise HoneError(
            f"the hub gives no digest for {file.name} of {repository}, so it cannot be checked and is not used"
        )
    if not matches:
        path.unlink()
        raise HoneError(f"{file.name} of {repository} has the wrong checksum: it was damaged on the way; try again")


def _hub_error(error: Exception, source: HubSource, staging: Path) -> HoneError:
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    repository = source.repository
    if isinstance(error, GatedRepoError):
        return HoneError(f"{repository} asks you to accept its licence first: do so on the hub and set HF_TOKEN")
    if isinstance(error, RepositoryNotFoundError):
        return UnknownModel(f"the hub has no model {repository} (or it is private: set HF_TOKEN)")
    if isinstance(error, OfflineModeIsEnabled):
        return HoneError(
            f"{repository} is not on this disk and HF_HUB_OFFLINE forbids the network; unset it to download"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    begun = staging.exists() and any(staging.iterdir())
    again = "; what came so far is kept, run it again to go on" if begun else "; try again when there is a network"
    if status:
        return HoneError(f"the hub answered {status} for {repository}{again}")
    return HoneError(f"cannot reach the hub for {repository} ({type(error).__name__}){again}")


class _Counted:
    """A file that tells how much was written to it."""

    def __init__(self, file: BinaryIO, done: int, what: str, total: int, progress: Progress | None) -> None:
        self._file, self._done, self._what, self._total, self._progress = file, done, what, total, progress

    def write(self, data: bytes) -> int:
        self._done += len(data)
        if self._progress:
            self._progress(self._what, self._done, self._total)
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._done = offset
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self) -> int:
        return self._file.truncate()


def _silent_bar() -> Any:
    """The library's progress bar class, silenced: the caller's `progress` is the only one shown."""
    from tqdm import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    return Silent
