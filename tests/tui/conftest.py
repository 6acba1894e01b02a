"""The app with a scripted client, in a folder and a session whose names never change."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant import paths, sessions
from assistant.conversations import Conversation
from tests.tui.fake_client import FakeClient, services
from tui.app import HoneApp

MakeApp = Callable[..., HoneApp]


@pytest.fixture
def make_app(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeApp]:
    """Builds apps for a client; their backend threads are stopped at the end of the test."""
    project = tmp_path / "shop"
    project.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(project)
    made: list[tuple[HoneApp, FakeClient]] = []

    def make(
        client: FakeClient, session: sessions.Session | None = None, model: str = "smollm2-135m", **changes: Any
    ) -> HoneApp:
        """`changes` are services that are not the usual ones."""
        app = HoneApp(session or fixed_session(), model, replace(services(client), **changes))
        made.append((app, client))
        return app

    yield make
    for app, client in made:
        client.release()
        app.chat.close()


def fixed_session(identifier: str = "1qgt0000") -> sessions.Session:
    conversation = Conversation(identifier, folder="shop", created="2026-01-02T03:04:05+00:00")
    return sessions.Session(conversation, paths.sessions_dir() / f"{identifier}.jsonl")
