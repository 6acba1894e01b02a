"""What a job on Ray is sent: Hone itself, and the git repository that the user stands in, as one package of Ray's.

The repository goes as a bundle of its history and the tracked files that differ from it, so that what git ignores, and
what is in its configuration, stays here. On the cluster it is unpacked once, into the job's folder: a run keeps the
paths of its sources, and where Ray unpacks a package changes with each start of its head.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from assistant import atomic, git
from assistant.errors import HoneError
from tuning.jobs.spec import Step

MOST_BYTES = 500 << 20
"""Ray takes no larger package, see GCS_STORAGE_MAX_SIZE of its packaging.py."""
_FLOORS = ("assistant", "tuning", "evals", "tui")
_SENT = "repository"
_BUNDLE, _CHANGED, _REMOVED = f"{_SENT}/history.bundle", f"{_SENT}/changed", f"{_SENT}/removed.json"
_PLACED = "source"
_KEPT = "package.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same content makes the same package, whenever it is made."""


@dataclass(frozen=True)
class Package:
    data: bytes

    @property
    def name(self) -> str:
        """By its content, so that nothing is sent twice."""
        return f"_ray_pkg_{hashlib.sha256(self.data).hexdigest()[:32]}.zip"


def root_of(folder: Path) -> Path:
    """The root of the git repository that is sent.

    Raises:
        HoneError: there is none.
    """
    root = git.answer(folder, "rev-parse", "--show-toplevel")
    if not root:
        raise HoneError(
            f"{folder} is in no git repository, and --on ray sends the one you stand in; go there, or set "
            "upload = false in [ray] where the nodes have this folder too"
        )
    return Path(root)


def is_placed(job: Path) -> bool:
    """Whether the job in this folder has its repository on the cluster already."""
    return (job / _PLACED).is_dir()


def inside(step: Step, folder: Path) -> Step:
    """The step with paths into the repository as they are from `folder`, where its commands run on the cluster too.

    Raises:
        HoneError: as `root_of`.
    """
    root, here = root_of(folder), folder.resolve()

    def placed(word: str) -> str:
        path = Path(word)
        if not path.is_absolute() or not path.exists() or not path.resolve().is_relative_to(root):
            return word
        return os.path.relpath(path.resolve(), here)

    return replace(step, argv=tuple(map(placed, step.argv)), resume=tuple(map(placed, step.resume)))


def build(root: Path | None) -> Package:
    """
    Args:
        root: of the repository; None: Hone alone.

    Raises:
        HoneError: it is too large for Ray, or git cannot read the repository.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in _hone():
            _add(archive, name, data)
        if root is not None:
            _add(archive, _BUNDLE, _history(root))
            changed, removed = _differing(root)
            for path in changed:
                _add(archive, f"{_CHANGED}/{path}", (root / path).read_bytes())
            _add(archive, _REMOVED, json.dumps(removed).encode("utf-8"))
    if buffer.tell() > MOST_BYTES:
        raise HoneError(
            f"{root} and its history are {buffer.tell() >> 20} MiB packed, and Ray takes {MOST_BYTES >> 20}; put it on "
            "a disk that the nodes have too, and set upload = false in [ray]"
        )
    return Package(buffer.getvalue())


def keep(package: Package, job: Path) -> None:
    """In the job's folder, until it is sent.

    Raises:
        OSError: not writable or full.
    """
    atomic.write_bytes(job / _KEPT, package.data, mode=0o600)


def kept(job: Path) -> Package:
    """
    Raises:
        OSError: it is gone.
    """
    return Package((job / _KEPT).read_bytes())


def forget(job: Path) -> None:
    (job / _KEPT).unlink(missing_ok=True)


def place(sent: Path, job: Path) -> Path:
    """The repository of a job on the cluster, unpacked at its first start.

    Args:
        sent: where Ray has unpacked the package.
        job: the job's folder.

    Raises:
        HoneError: neither was it unpacked before nor is it in this package, or git fails.
        OSError: not writable or full.
    """
    target = job / _PLACED
    if is_placed(job):
        return target
    bundle = sent / _BUNDLE
    if not bundle.is_file():
        raise HoneError(f"the package in {sent} holds no repository")
    with atomic.new_folder(target) as staging:
        _git(staging, "clone", "--quiet", str(bundle), ".")
        _git(staging, "remote", "remove", "origin")
        for path in json.loads((sent / _REMOVED).read_text("utf-8")):
            (staging / path).unlink(missing_ok=True)
        if (sent / _CHANGED).is_dir():
            shutil.copytree(sent / _CHANGED, staging, dirs_exist_ok=True)
        _git(staging, "add", "--all")
    return target


def _hone() -> Iterator[tuple[str, bytes]]:
    """The files of this Hone, so that the nodes run what the user has, and its version, which reports name."""
    from importlib.metadata import version

    above, own = Path(__file__).parent.parent.parent, version("hone-assistant")
    described = f"Metadata-Version: 2.1\nName: hone-assistant\nVersion: {own}\n"
    yield f"hone_assistant-{own}.dist-info/METADATA", described.encode("ascii")
    for floor in _FLOORS:
        for file in sorted((above / floor).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(above).as_posix(), file.read_bytes()


def _history(root: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "history.bundle"
        done = git.run(root, "bundle", "create", "--quiet", str(bundle), "HEAD", "--branches", "--tags")
        if done.returncode:
            raise HoneError(f"git cannot pack {root} for Ray: {git.complaint(done.stderr)}")
        return bundle.read_bytes()


def _differing(root: Path) -> tuple[list[str], list[str]]:
    """Tracked paths whose file is not as in the commit, and those without one: gone, or a link now. Submodules, and
    names that are not UTF-8, which no corpus takes, stay as in the commit."""
    changed, removed = [], []
    for path in git.listing(root, "diff", "--name-only", "--no-renames", "--no-relative", "-z", "HEAD"):
        file = root / path
        if not path.isascii() and path.encode("utf-8", "ignore").decode("utf-8") != path:
            continue
        if file.is_symlink() or not file.exists():
            removed.append(path)
        elif file.is_file():
            changed.append(path)
    return changed, removed


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A bundle is packed already.
    packing = zipfile.ZIP_STORED if name == _BUNDLE else zipfile.ZIP_DEFLATED
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, packing, compresslevel=1)


def _git(folder: Path, *arguments: str) -> None:
    done = git.run(folder, *arguments)
    if done.returncode:
        raise HoneError(f"git {arguments[0]} failed in {folder}: {git.complaint(done.stderr)}")
