"""Settings: which source wins, and what is refused."""

from pathlib import Path

import pytest

from assistant import config
from assistant.config import Settings, load_settings
from assistant.errors import HoneError


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's config.toml (not written yet), in a repository that is the current folder."""
    for field in Settings.model_fields:
        monkeypatch.delenv(f"HONE_{field.upper()}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    file = config.user_file()
    file.parent.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    return file


def test_each_later_source_wins(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings() == Settings(
        model="smollm2-135m", context_length=4096, threads=None, slots=2, host="127.0.0.1", port=8873
    )
    Path("hone.toml").write_text('model = "repository"\ncontext_length = 1000\nthreads = 1\n')
    assert (load_settings().model, load_settings().context_length) == ("repository", 1000)
    user.write_text('model = "user"\ncontext_length = 2000\n')
    assert (load_settings().model, load_settings().context_length, load_settings().threads) == ("user", 2000, 1)
    monkeypatch.setenv("HONE_MODEL", "environment")
    assert (load_settings().model, load_settings().context_length) == ("environment", 2000)
    assert load_settings(model="flag").model == "flag"
    assert load_settings(model=None).model == "environment", "a flag not given does not count"


def test_the_file_of_the_repository_is_found_from_below_but_not_above_it(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hone.toml").write_text('model = "of somebody else"\n')
    monkeypatch.chdir("src/deep")
    assert load_settings().model == "smollm2-135m"
    (tmp_path / "repository" / "hone.toml").write_text('model = "ours"\n')
    assert load_settings().model == "ours"


def test_outside_a_repository_only_this_folder_counts(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "plain" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "plain" / "hone.toml").write_text('model = "outer"\n')
    monkeypatch.chdir(inner)
    assert load_settings().model == "smollm2-135m"
    monkeypatch.chdir("..")
    assert load_settings().model == "outer"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('modle = "x"\n', r"hone\.toml: unknown key 'modle'; the nearest known one is 'model'"),
        ('host = "0.0.0.0"\n', "cannot be set by a repository"),
        ("port = 80\n", "cannot be set by a repository"),
        ("model = \n", r"hone\.toml is not valid TOML"),
        ('context_length = "long"\n', r"hone\.toml: context_length = 'long' is not possible"),
        ("context_length = 1\n", r"hone\.toml: context_length = 1 is not possible"),
        ("threads = 0\n", r"hone\.toml: threads = 0 is not possible"),
        ("slots = 0\n", r"hone\.toml: slots = 0 is not possible"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(user: Path, content: str, complaint: str) -> None:
    Path("hone.toml").write_text(content)
    with pytest.raises(HoneError, match=complaint) as raised:
        load_settings()
    assert "\n" not in str(raised.value)


def test_a_bad_value_is_traced_to_its_source(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user.write_text("port = 1\n")
    assert load_settings().port == 1, "the user may choose the port"
    user.write_text("port = 70000\n")
    with pytest.raises(HoneError, match=r"config\.toml: port = 70000"):
        load_settings()
    monkeypatch.setenv("HONE_PORT", "many")
    with pytest.raises(HoneError, match=r"^HONE_PORT: port = 'many'"):
        load_settings()
    with pytest.raises(HoneError, match=r"^flag: port = -1"):
        load_settings(port=-1)


def test_other_variables_of_hone_are_not_settings(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_HOME", "/somewhere")
    monkeypatch.setenv("HONE_MODEL", "")
    assert load_settings().model == "smollm2-135m"
