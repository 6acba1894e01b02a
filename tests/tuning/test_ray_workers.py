"""Processes on the nodes of a run, without Ray: a stand-in for the module, whose actors live in this process."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from assistant.errors import HoneError
from tuning.jobs import ray_workers


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(f"ray::Worker.run()\n  File ...\n{cause}")
        self.cause = cause


@dataclass
class Ray:
    nodes: list[str] = field(default_factory=list)
    """Of each actor, in the order in which they were asked for."""
    reserved: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The node of everything that actors were asked for."""
    connected: bool = False
    lost: RayError | None = None
    refused: Exception | None = None

    def init(self, **_: Any) -> None:
        if self.refused:
            raise self.refused
        self.connected = True
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))

    def shutdown(self) -> None:
        self.connected = False

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(options=lambda **asked: SimpleNamespace(remote=lambda: self._actor(kind(), **asked)))

    def _actor(self, actor: Any, *, num_cpus: float, scheduling_strategy: str) -> Any:
        self.nodes.append(scheduling_strategy)
        self.reserved.append(num_cpus)

        def method(name: str) -> Any:
            def remote(*arguments: Any) -> Callable[[], Any]:
                self.asked.append(scheduling_strategy)
                return lambda: getattr(actor, name)(*arguments)

            return SimpleNamespace(remote=remote)

        return SimpleNamespace(run=method("run"))

    def wait(self, asked: list[Any]) -> None:
        """Everything is there at once."""

    def get(self, asked: Callable[[], Any]) -> Any:
        if self.lost:
            raise self.lost
        try:
            return asked()
        except Exception as error:
            raise RayTaskError(error) from None


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    stand_in, module = Ray(), ModuleType("ray")
    for name in ("init", "shutdown", "remote", "wait", "get"):
        setattr(module, name, getattr(stand_in, name))
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node if not soft else "anywhere")
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    errors = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    monkeypatch.setitem(sys.modules, "ray.exceptions", errors)
    return stand_in


def refuse(text: str) -> None:
    raise HoneError(text)


def test_each_node_works_with_what_the_run_holds_of_it_and_ray_reserves_nothing_more(ray: Ray):
    before = signal.getsignal(signal.SIGTERM)
    with ray_workers.on_nodes({"one": 2, "other": 1}) as workers:
        assert workers.executor is not None
        assert not ray.connected
        asked = [workers.executor.submit(kind, 17, 5) for kind in (divmod, pow) * 6]
        assert ray.connected
        assert [each.result() for each in asked] == [(3, 2), 17**5] * 6
        assert signal.getsignal(signal.SIGTERM) is before
    assert not ray.connected
    assert ray.nodes == ["one", "one", "other"]
    assert ray.reserved == [0, 0, 0]
    assert sorted(ray.asked[3:]) == ["one"] * 8 + ["other"] * 4


def test_a_batch_goes_to_the_process_that_is_asked_for_the_fewest(ray: Ray):
    with ray_workers.on_nodes({"one": 1, "other": 1}) as workers:
        assert workers.executor is not None
        first, second = (workers.executor.submit(abs, -1) for _ in range(2))
        del ray.asked[:]
        second.result()
        third = workers.executor.submit(abs, -1)
        assert ray.asked == ["other"]
        first.result()
        third.result()


def test_where_there_is_no_work_ray_is_not_asked_for(ray: Ray):
    with ray_workers.on_nodes({"one": 1}):
        pass
    assert not ray.nodes


def results(places: dict[str, int], *calls: tuple[Any, ...]) -> list[Any]:
    with ray_workers.on_nodes(places) as workers:
        assert workers.executor is not None
        return [workers.executor.submit(*call).result() for call in calls]


def test_every_failure_is_one_line_and_ends_the_connection(ray: Ray):
    failed = "a process that worked on the corpus failed on a node of Ray: "
    with pytest.raises(HoneError, match=r"^the detector of secrets failed$"):
        results({"one": 1}, (refuse, "the detector of secrets failed"))
    assert not ray.connected
    with pytest.raises(HoneError, match=f"^{failed}ValueError: invalid literal for int"):
        results({"one": 1}, (len, ""), (int, "none"))
    assert not ray.connected
    ray.lost = RayError("The actor died.\n\tactor_id: 0123\nIts worker process has died.\n")
    with pytest.raises(HoneError, match=rf"^{failed}The actor died\. Its worker process has died\.$"):
        results({"one": 1}, (len, ""))
    assert not ray.connected
    ray.refused = ConnectionError("no cluster\nis there")
    with pytest.raises(HoneError, match=r"^the run finds no Ray to work on the corpus: no cluster is there$"):
        results({"one": 1}, (len, ""))


def test_nodes_of_other_versions_are_refused(ray: Ray, monkeypatch: pytest.MonkeyPatch):
    known = iter(["1.5", "1.5", "1.4"])

    def version(name: str) -> str:
        return next(known) if name == "detect-secrets" else "1"

    monkeypatch.setattr(ray_workers, "version", version)
    with pytest.raises(HoneError, match=r"detect-secrets is 1\.5 on the first and 1\.4 on another"):
        results({"one": 1, "other": 1}, (len, ""))
    assert not ray.connected
