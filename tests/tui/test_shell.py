"""What holds the screens together: places, the palette, and the user's own keys."""

from pathlib import Path

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets._footer import FooterKey

from assistant import config
from assistant.errors import HoneError
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import Script, loaded_client
from tests.tui.test_app import prompt_of, until
from tests.tui.test_app import shown as shown_in_chat
from tui import keys
from tui.keybar import KeyBar
from tui.places import PLACES


@pytest.fixture
def keys_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration file; nothing in it yet."""
    file = tmp_path / "config.toml"
    monkeypatch.setattr(config, "user_file", lambda: file)
    return file


def shown(pilot: Pilot[None]) -> list[str]:
    """The footer, from the left."""
    return [key.description for key in pilot.app.screen.query_one(KeyBar).query(FooterKey)]


async def test_every_place_is_reached_by_key_and_palette_and_shown_in_the_footer(make_app: MakeApp):
    app = make_app(loaded_client())
    async with app.run_test(size=(110, 30)) as pilot:
        for place in [*PLACES, *PLACES]:
            await pilot.press(place.key)
            assert app.current_mode == place.name
            while shown(pilot)[: len(PLACES)] != [one.title for one in PLACES]:
                await pilot.pause(0.05)
        commands = {command.title: command for command in app.get_system_commands(app.screen)}
        assert {place.title for place in PLACES} <= set(commands)
        assert all(command.help for command in commands.values())
        commands["Chat"].callback()
        await pilot.pause()
        assert app.current_mode == "chat"
        # What several keys do stands there once, with all of them.
        lines = [command for command in app.get_system_commands(app.screen) if command.title == "New line"]
        assert [line.help.count(", ") for line in lines] == [2]
        for place in PLACES[1:]:
            await pilot.press("f2", "slash", *place.name, "enter")
            while app.current_mode != place.name:
                await pilot.pause(0.05)


@pytest.mark.parametrize("key", ["f2", "f4", "f6"])
async def test_keys_that_do_not_fit_are_in_the_palette_whose_key_ends_the_bar(make_app: MakeApp, key: str):
    app = make_app(loaded_client())
    async with app.run_test(size=(250, 30)) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: len(shown(pilot)) > len(PLACES))
        assert "More" not in shown(pilot)
        every = shown(pilot)
        await pilot.resize_terminal(60, 30)
        await until(pilot, lambda: "More" in shown(pilot))
        bar = app.screen.query_one(KeyBar)
        assert shown(pilot) == [*every[: len(shown(pilot)) - 1], "More"]
        await until(pilot, lambda: all(one.region.width for one in bar.query(FooterKey)))
        assert all(app.screen.region.contains_region(one.region) for one in bar.query(FooterKey))
        await pilot.click(bar.query(FooterKey).last())
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press("escape")
        await pilot.resize_terminal(250, 30)
        await until(pilot, lambda: shown(pilot) == every)


async def test_keys_are_the_users_own(make_app: MakeApp, keys_file: Path):
    keys_file.write_text('[keys]\n"go.code" = "f12"\n"code.save" = "ctrl+t"\n')
    app = make_app(loaded_client())
    async with app.run_test(size=(110, 30)) as pilot:
        while not app._keymap:
            await pilot.pause(0.05)
        await pilot.press("f3")
        assert app.current_mode == "chat"
        await pilot.press("f12")
        assert app.current_mode == "code"


async def test_also_what_sends_is_the_users_own(make_app: MakeApp, keys_file: Path):
    keys_file.write_text('[keys]\n"chat.send" = "ctrl+s"\n"chat.newline" = "f12"\n')
    app = make_app(loaded_client(Script(["answer"])))
    async with app.run_test(size=(110, 30)) as pilot:
        while not app._keymap or not app.chat.serving:
            await pilot.pause(0.05)
        await pilot.press("a", "enter", "b", "f12", "c")
        assert prompt_of(app).text == "a\nb\nc"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "answer" in shown_in_chat(app))
        assert prompt_of(app).text == ""


def test_every_key_can_be_given_another():
    named = {binding.id for binding in keys.ids().values()}
    for kind in keys._kinds(Widget):
        if kind.__module__.startswith("tui."):
            for binding in kind.__dict__.get("BINDINGS", ()):
                assert isinstance(binding, Binding), (kind, binding)
                assert binding.id in named, (kind, binding)


async def test_a_wrong_key_is_said_and_the_others_stay(make_app: MakeApp, keys_file: Path):
    keys_file.write_text('[keys]\n"go.cod" = "f12"\n')
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        while not app._notifications:
            await pilot.pause(0.05)
        assert "the nearest is 'go.code'" in next(iter(app._notifications)).message
        await pilot.press("f3")
        assert app.current_mode == "code"


@pytest.mark.parametrize("key", ["ctrl+", "control+a", "f99", "hello", ""])
def test_what_is_no_key_is_refused(keys_file: Path, key: str):
    keys_file.write_text(f'[keys]\n"go.code" = "{key}"\n')
    with pytest.raises(HoneError, match="is no key"):
        keys.read_keymap()


def test_keys_are_read_as_textual_takes_them(keys_file: Path):
    keys_file.write_text('[keys]\n"go.code" = "f7,ctrl+left_square_bracket"\n"code.find" = "?"\n')
    assert keys.read_keymap() == {"go.code": "f7,ctrl+left_square_bracket", "code.find": "?"}


def test_a_repository_cannot_set_keys(keys_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "hone.toml").write_text('[keys]\n"go.code" = "f7"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HoneError, match="keys are the user's"):
        keys.read_keymap()
