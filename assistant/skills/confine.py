"""Which files a prompt may show to the model: none outside of the repository, none that hold secrets."""

import os
import re
from fnmatch import fnmatch
from pathlib import Path

from assistant.errors import HoneError

_SECRET_NAMES = (
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".pypirc",
    ".npmrc",
    ".htpasswd",
    ".git-credentials",
    "credentials.json",
    "client_secret*.json",
    "service-account*.json",
    "secrets.yml",
    "secrets.yaml",
    "secrets.toml",
    "secrets.json",
)
_HARMLESS_NAMES = (".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env")
_SECRET_FOLDERS = frozenset({".ssh", ".gnupg", ".aws", ".azure", ".kube", ".git"})
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=:]")


def secret_by_name(path: Path) -> str | None:
    """Why a file of this name is taken for one that holds secrets, None when it is not."""
    name = path.name.lower()
    if any(fnmatch(name, pattern) for pattern in _HARMLESS_NAMES):
        return None
    folder = next((part for part in path.parts[:-1] if part.lower() in _SECRET_FOLDERS), None)
    if folder is not None:
        return f"files in {folder} may hold keys and passwords"
    if any(fnmatch(name, pattern) for pattern in _SECRET_NAMES):
        return "files of this name hold keys and passwords"
    return None


def secret_by_content(text: str) -> str | None:
    """Why a text is not shown to the model, None when it may be."""
    return "it holds a private key" if _PRIVATE_KEY.search(text) else None


def inside(written: str, folder: Path, root: Path) -> Path:
    """The file or folder that `written` names, which need not exist; links are followed.

    Args:
        written: relative to `folder`, or absolute, which alone may lead out of the repository. `~` is the home folder.
        root: of the repository; what lies outside of it must be named by its absolute path.

    Raises:
        HoneError: outside of `root`, itself or by a symbolic link; or not a name that a file can have.
    """
    try:
        path = Path(written).expanduser() if written.startswith("~") else Path(written)
        resolved = (path if path.is_absolute() else folder / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise HoneError(f"@{written} is no usable path: {error}") from error
    if path.is_absolute():
        return resolved
    if not resolved.is_relative_to(root.resolve()):
        link = os.path.islink(folder / path) or ".." not in Path(written).parts
        why = f"is a link to {resolved}, which lies" if link else f"is {resolved}, which lies"
        raise HoneError(f"@{written} {why} outside of {root}; name it by its absolute path if the model may read it")
    return resolved
