"""Which repositories may have their texts kept with feedback, and for how long.

Off until the user says otherwise: without it an event says what happened, by which model and when, and holds no text.
The repository itself has no say: what is cloned must not decide what is kept.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.errors import HoneError, UsageError

FILE_NAME = "feedback-settings.json"
RETENTION_DAYS = 180
"""Unless the user chooses; older events are removed."""
_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Consent:
    repositories: tuple[str, ...] = ()
    """Absolute roots, without symbolic links."""
    elsewhere: bool = False
    """Also what belongs to no known repository: files and chats outside of any, and editors that use the gateway."""
    retention_days: int = RETENTION_DAYS

    def allows(self, repository: Path | None) -> bool:
        """Whether texts of that repository may be kept; None is what belongs to no known one."""
        return self.elsewhere if repository is None else str(repository.resolve()) in self.repositories

    def with_repository(self, repository: Path) -> "Consent":
        return replace(self, repositories=tuple(sorted({*self.repositories, str(repository.resolve())})))

    def without_repository(self, repository: Path) -> "Consent":
        gone = str(repository.resolve())
        return replace(self, repositories=tuple(one for one in self.repositories if one != gone))


def key_of(repository: Path) -> str:
    """What an event calls a repository: 16 hexadecimal digits of sha256 over its root, so that no path is told."""
    return hashlib.sha256(str(repository.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read(folder: Path | None = None) -> Consent:
    """
    Args:
        folder: of the settings' file; None is the state folder.

    Raises:
        HoneError: the file cannot be read. Nothing may be kept then.
    """
    file = (folder or paths.home()) / FILE_NAME
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if content["schema_version"] != _SCHEMA_VERSION:
            raise HoneError(f"{file} was written by another version of Hone; update this one, or remove the file")
        repositories, elsewhere, days = content["repositories"], content["elsewhere"], content["retention_days"]
        if not (isinstance(repositories, list) and isinstance(elsewhere, bool) and isinstance(days, int)):
            raise ValueError("a field is not of its type")
        return Consent(tuple(map(str, repositories)), elsewhere, days)
    except FileNotFoundError:
        return Consent()
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HoneError(f"cannot read {file}: {error}; remove it, and no text of any repository is kept") from error


def write(consent: Consent, folder: Path | None = None) -> None:
    """
    Raises:
        UsageError: nothing can be kept for so long, or so short.
        HoneError: the file cannot be written.
    """
    if not 1 <= consent.retention_days <= 36_500:
        raise UsageError(f"feedback is kept for 1 to 36500 days, not {consent.retention_days}")
    file = (folder or paths.home()) / FILE_NAME
    content = {
        "schema_version": _SCHEMA_VERSION,
        "repositories": list(consent.repositories),
        "elsewhere": consent.elsewhere,
        "retention_days": consent.retention_days,
    }
    try:
        atomic.write_json(file, content, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot write {file}: {error.strerror}") from error
