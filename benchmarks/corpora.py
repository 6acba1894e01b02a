"""Prepares the pinned repositories of corpora.toml as throw-away git repositories in benchmarks/out/corpora.

`python -m benchmarks.corpora` prints the folder to tune on, one line each.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out" / "corpora"


def prepare(name: str) -> Path:
    """The folder of a corpus inside its committed repository, made on the first call.

    Raises:
        SystemExit: pip cannot fetch the source distribution, or its checksum is not the pinned one.
    """
    pinned = tomllib.loads((HERE / "corpora.toml").read_text("utf-8"))[name]
    repository = OUT / name
    if not (repository / ".git").exists():
        with tempfile.TemporaryDirectory() as work:
            archive = _download(pinned["requirement"], Path(work))
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            if digest != pinned["sha256"]:
                sys.exit(f"{archive.name} has sha256 {digest}, pinned is {pinned['sha256']}")
            with tarfile.open(archive) as opened:
                opened.extractall(work, filter="data")
            (unpacked,) = (folder for folder in Path(work).iterdir() if folder.is_dir())
            commit(unpacked, pinned["requirement"])
            OUT.mkdir(parents=True, exist_ok=True)
            shutil.move(unpacked, repository)
    return repository / pinned["folder"]


def _download(requirement: str, work: Path) -> Path:
    name = requirement.partition("==")[0]
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
    done = subprocess.run([*command, "--ignore-requires-python", "--dest", str(work), requirement], check=False)
    archives = list(work.glob("*.tar.gz"))
    if done.returncode or not archives:
        sys.exit(f"pip could not fetch the source distribution of {requirement}; is there a network?")
    return archives[0]


def commit(folder: Path, message: str) -> None:
    """Makes a folder a repository of one commit, which is the same on every machine."""
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()},
    }
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A", "-f"], ["commit", "-q", "-m", message]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, env=environment)


_IDENTITY = {"NAME": "corpora", "EMAIL": "corpora@example.invalid", "DATE": "2026-01-01T00:00:00Z"}


if __name__ == "__main__":
    for corpus in tomllib.loads((HERE / "corpora.toml").read_text("utf-8")):
        print(prepare(corpus))
