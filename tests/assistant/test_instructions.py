"""The system prompt of the configuration, and AGENTS.md."""

from pathlib import Path

import pytest

from assistant.errors import HoneError
from assistant.skills.instructions import SYSTEM_PROMPT, load
from assistant.skills.mentions import Place


@pytest.fixture
def place(make_repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    root = make_repository({"src/a.py": "x = 1\n"})
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Place(root, root)


def test_nothing_configured(place: Place):
    told = load(place)
    assert (told.system, told.file, told.text) == (SYSTEM_PROMPT, "", "")


def test_the_nearest_instruction_file_is_read_up_to_the_root_and_no_further(place: Place, tmp_path: Path):
    (tmp_path / "AGENTS.md").write_text("above the repository")
    inner = Place(place.root / "src", place.root)
    assert load(inner).file == ""
    (place.root / "CLAUDE.md").write_text("Use tabs.\n")
    assert (load(inner).file, load(inner).text) == ("CLAUDE.md", "Use tabs.")
    (place.root / "AGENTS.md").write_text("Use spaces.\n")
    assert load(inner).file == "AGENTS.md"
    (place.root / "src/AGENTS.md").write_text("In src.\n")
    assert (load(inner).file, load(inner).text) == ("src/AGENTS.md", "In src.")
    assert load(place).text == "Use spaces."


def test_an_instruction_file_that_links_out_of_the_repository_is_refused(place: Place, tmp_path: Path):
    (tmp_path / "secret").write_text("password")
    (place.root / "AGENTS.md").symlink_to(tmp_path / "secret")
    with pytest.raises(HoneError, match="outside of"):
        load(place)


def test_the_configuration_replaces_the_system_prompt_and_leaves_the_file_out(place: Place):
    (place.root / "AGENTS.md").write_text("Use spaces.\n")
    (place.root / "hone.toml").write_text('model = "x"\n[chat]\nsystem = "You are terse."\nagents = false\n')
    told = load(place)
    assert (told.system, told.file) == ("You are terse.", "")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("sytem = 'x'", "unknown key 'sytem' in \\[chat\\]; the nearest known one is 'system'"),
        ("system = ''", "system in \\[chat\\] must be a text that is not empty"),
        ("agents = 'no'", "agents in \\[chat\\] must be true or false"),
    ],
)
def test_mistakes_in_the_configuration_are_named(place: Place, table: str, line: str):
    (place.root / "hone.toml").write_text(f"[chat]\n{table}\n")
    with pytest.raises(HoneError, match=line):
        load(place)
