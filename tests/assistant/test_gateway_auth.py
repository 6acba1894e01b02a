"""The key and the Host allow-list."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.gateway.auth import ensure_key, host_allowed, key_matches, new_key


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "gateway.key"
    key = ensure_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert ensure_key(file) == key
    assert len(key) > 32


def test_a_key_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "gateway.key"
    key = ensure_key(file)
    file.chmod(0o644)
    assert ensure_key(file) != key
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_too_short_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "gateway.key"
    file.touch(mode=0o600)
    assert len(ensure_key(file)) > 32


def test_a_key_file_that_is_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "gateway.key").mkdir()
    with pytest.raises(HoneError, match="cannot keep the gateway's key"):
        ensure_key(tmp_path / "gateway.key")


@given(st.binary())
def test_no_other_header_matches_a_key(header: bytes) -> None:
    key = new_key()
    assert not key_matches(header, key)
    assert not key_matches(b"Bearer " + header, key)


def test_the_key_matches_as_a_bearer_key_only() -> None:
    key = new_key()
    assert key_matches(b"Bearer " + key.encode(), key)
    assert key_matches(b"bearer  " + key.encode(), key)
    assert not key_matches(b"Basic " + key.encode(), key)
    assert not key_matches(key.encode(), key)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8873", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80", "10.0.0.7", "box:1"]
)
def test_names_of_this_machine_are_served(host: str) -> None:
    assert host_allowed(host.encode(), {"box"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8873",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost:x",
        "b\xf6x",
    ],
)
def test_other_names_are_not_served(host: str) -> None:
    assert not host_allowed(host.encode("latin-1"), {"box"})
