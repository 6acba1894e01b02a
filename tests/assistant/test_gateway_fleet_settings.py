"""The table [fleet] of the user's configuration file."""

from pathlib import Path

import pytest

from assistant.config import load_settings
from assistant.errors import HoneError
from assistant.gateway import fleet_settings
from assistant.gateway.fleet_settings import FleetSettings, ServerSettings


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "user" / "config.toml"
    file.parent.mkdir()
    monkeypatch.setattr("assistant.config.user_file", lambda: file)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("THE_KEY", "abc")
    return file


def load(file: Path, text: str) -> FleetSettings:
    file.write_text(text)
    return fleet_settings.load(load_settings())


def test_reads_every_setting(user_file: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("abc\n")
    key.chmod(0o600)
    settings = load(
        user_file,
        f"""
        model = "champion"
        queue = 9
        [fleet]
        check_seconds = 2
        [fleet.servers.gpu-1]
        url = "http://10.0.0.5:8000"
        weight = 2
        key_env = "THE_KEY"
        plain_key = true
        load_adapters = true
        adapters_folder = "/srv/adapters"
        [fleet.servers.hosted]
        url = "https://api.example.org/openai/v1/"
        key_file = "{key}"
        """,
    )
    assert (settings.default, settings.queue, settings.check_seconds) == ("champion", 9, 2.0)
    assert settings.servers == (
        ServerSettings("gpu-1", "http://10.0.0.5:8000/v1", 2.0, "THE_KEY", None, True, True, "/srv/adapters"),
        ServerSettings("hosted", "https://api.example.org/openai/v1", key_file=key),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no servers are configured"),
        ("[fleet]", "no servers are configured"),
        ("[fleet]\ncheck_second = 1", "the nearest known one is 'check_seconds'"),
        ("[fleet]\ncheck_seconds = 0", "must be a number of at least 0.1"),
        ("[fleet.servers.a]\nweight = 1", "needs a url"),
        ('[fleet.servers.a]\nurl = "localhost:1"', "is no address of a server"),
        ('[fleet.servers.a]\nurl = "http://me:pw@host"', "no credentials"),
        ('[fleet.servers.a]\nurl = "http://h"\nweigth = 1', "the nearest known one is 'weight'"),
        ('[fleet.servers.a]\nurl = "http://h"\nweight = 0', "must be a number of at least 0.001"),
        ('[fleet.servers.a]\nurl = "http://h"\nweight = inf', "must be a number"),
        ('[fleet.servers.a]\nurl = "http://h"\nkey = "abc"', "unknown key 'key'"),
        ('[fleet.servers.a]\nurl = "http://h"\nload_adapters = 1', "must be true or false"),
        ('[fleet.servers.a]\nurl = "http://h"\nkey_env = "THE_KEY"', "unencrypted"),
        ('[fleet.servers.a]\nurl = "https://h"\nkey_env = "NO_SUCH_KEY"', "NO_SUCH_KEY must hold the server's key"),
        ('[fleet.servers.a]\nurl = "https://h"\nkey_env = "A"\nkey_file = "b"', "names its key twice"),
        ('[fleet.servers."a b"]\nurl = "http://h"', "letters, digits"),
        ("[fleet]\nservers = 3", "no servers are configured"),
        ("fleet = 3", "must be a table"),
    ],
)
def test_what_is_wrong_is_one_line(user_file: Path, text: str, told: str) -> None:
    with pytest.raises(HoneError, match=told) as caught:
        load(user_file, text)
    assert "\n" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_key_file_must_be_its_owners_alone(user_file: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    table = f'[fleet.servers.a]\nurl = "https://h"\nkey_file = "{key}"'
    with pytest.raises(HoneError, match="cannot read"):
        load(user_file, table)
    key.write_text("very-secret")
    key.chmod(0o640)
    with pytest.raises(HoneError, match="chmod 600") as caught:
        load(user_file, table)
    assert "very-secret" not in str(caught.value)
    key.chmod(0o600)
    assert "very-secret" not in repr(load(user_file, table))


def test_a_repository_cannot_say_where_prompts_go(user_file: Path) -> None:
    (user_file.parent / "hone.toml").write_text('[fleet.servers.a]\nurl = "http://evil.example"')
    with pytest.raises(HoneError, match="cannot be set by a repository"):
        load(user_file, '[fleet.servers.a]\nurl = "http://localhost:1"')
