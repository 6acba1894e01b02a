"""Fixtures shared by all floors. State never leaves the repository folder or a temporary one."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent

# A slow machine must not fail a test; tests that want more examples say so.
settings.register_profile("hone", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hone")


def pytest_configure(config: pytest.Config) -> None:
    """Gives each of several test processes a core of its own, which those that it starts inherit: the threads of
    engines wait for each other by spinning, and would do so across tests."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[int(worker.removeprefix("gw")) % len(usable)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the slow tests first: the last ones must not keep one core busy while the other waits."""
    heavy = {item.path for item in items if item.get_closest_marker("model")}
    items.sort(key=lambda item: item.path not in heavy)


@pytest.fixture
def hone_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh state folder, set as HONE_HOME for this test and its child processes."""
    home = tmp_path / "hone-home"
    home.mkdir()
    monkeypatch.setenv("HONE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def embedded_store() -> Path:
    """The `models` folder with the embedded model in it, fetched once and kept between test runs."""
    home = Path(os.environ.get("HONE_TEST_HOME") or ROOT / ".hone" / "test")
    home.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("HONE_HOME")
    os.environ["HONE_HOME"] = str(home)
    try:
        from assistant.models import store
        from assistant.models.serving_form import serving_gguf

        base = store.fetch("smollm2-135m")
        store.tuning_form(base)
        assert base.gguf is not None
        serving_gguf(base.gguf)
    finally:
        if before is None:
            del os.environ["HONE_HOME"]
        else:
            os.environ["HONE_HOME"] = before
    return home / "models"


def home_with_models(folder: Path, models: Path) -> Path:
    """A state folder that shares the fetched models but nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models").symlink_to(models)
    return folder


@pytest.fixture
def embedded_home(hone_home: Path, embedded_store: Path) -> Path:
    """A fresh state folder in which the embedded model is already cached."""
    return home_with_models(hone_home, embedded_store)


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory, embedded_store: Path) -> Path:
    """One state folder with the embedded model for a whole session; pass it to child processes as HONE_HOME."""
    return home_with_models(tmp_path_factory.mktemp("session") / "home", embedded_store)


def git(folder: Path, *arguments: str) -> str:
    """Runs git with a fixed identity and no configuration of the machine."""
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "tester",
        "GIT_AUTHOR_EMAIL": "tester@example.invalid",
        "GIT_COMMITTER_NAME": "tester",
        "GIT_COMMITTER_EMAIL": "tester@example.invalid",
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout


@pytest.fixture
def make_repository(tmp_path: Path):
    """Builds a committed git repository from {path: text or bytes}."""

    def make(files: dict[str, str | bytes], name: str = "repository") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", "first")
        return folder

    return make
