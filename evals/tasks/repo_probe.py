"""Runs a repository's tests inside the sandbox and says how each one ended; started as a script by the repository's
own Python (3.8 or newer), so it imports nothing but the standard library, pytest and, when asked, coverage.

The request is a file in the working folder, read and removed before any code of the repository runs: `nonce`, `roots`
(folders to import from), `arguments` (pytest's), `only` (test ids, or null for all), `cover` (files, or null), `result`
(the file to write). The code under test shares this process, so what it writes itself counts for nothing: the result
holds the nonce, which is nowhere but in this module's variables, and a test that must fail is run last.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any

CANARY = "hone_must_fail"


class Probe:
    """A pytest plugin."""

    def __init__(self, only: list[str] | None, coverage: Any) -> None:
        self.only = None if only is None else set(only)
        self.coverage = coverage
        self.tests: dict[str, dict[str, Any]] = {}
        self.called: set[str] = set()
        self.collection: list[dict[str, str]] = []

    def pytest_collection_modifyitems(self, session: Any, config: Any, items: list[Any]) -> None:
        if self.only is not None:
            items[:] = [item for item in items if item.nodeid in self.only]
        items.append(_canary().from_parent(session, name=CANARY))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.collection.append({"file": report.nodeid, "message": _last_line(report.longrepr)})

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        if self.coverage is not None:
            self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        started = {"outcome": "unfinished", "seconds": 0.0, "message": ""}
        found = self.tests.setdefault(report.nodeid, started)
        found["seconds"] += report.duration
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self.called.add(report.nodeid)
        if report.failed:
            found["outcome"], found["message"] = "failed", _last_line(report.longrepr)
        elif report.skipped or hasattr(report, "wasxfail"):
            found["outcome"] = "xfail" if hasattr(report, "wasxfail") else "skipped"
        elif report.when == "teardown" and found["outcome"] == "unfinished" and report.nodeid in self.called:
            found["outcome"] = "passed"


def _canary() -> Any:
    import pytest

    class Canary(pytest.Item):
        def runtest(self) -> None:
            assert CANARY == 0

        def reportinfo(self) -> Any:
            return self.path if hasattr(self, "path") else self.fspath, None, CANARY

    return Canary


def _last_line(representation: Any) -> str:
    """`SomeError: what it says`, as pytest's report has it."""
    crash = getattr(representation, "reprcrash", None)
    if crash is not None:
        return str(crash.message)[:2000]
    lines = [line[2:].strip() for line in str(representation).splitlines() if line.startswith("E ")]
    return (lines or str(representation).strip().splitlines() or [""])[-1][:2000]


def _quiet(arguments: list[str]) -> list[str]:
    """One process, measured by nobody else, that goes on after a failure, whatever the configuration says."""
    added = ["--rootdir=.", "--maxfail=1000000", "-q", "--no-header", "--tb=line"]
    if not os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        if importlib.util.find_spec("pytest_cov"):
            added.append("--no-cov")
        if importlib.util.find_spec("xdist"):
            added += ["-n", "0"]
    return [*arguments, *added]


def _started_coverage(files: list[str]) -> Any:
    """Traced by function, since `sys.monitoring` knows no contexts."""
    compiled = importlib.util.find_spec("coverage.tracer") is not None
    os.environ["COVERAGE_CORE"] = "ctrace" if compiled else "pytrace"
    import coverage

    measured = coverage.Coverage(
        data_file=None, config_file=False, include=[os.path.abspath(file) for file in files], messages=False
    )
    measured.start()
    return measured


def _lines(measured: Any, files: list[str]) -> dict[str, dict[str, list[str]]]:
    """{file: {line: [test ids]}}; what ran while no test did has no test."""
    measured.stop()
    data = measured.get_data()
    found = {}
    for file in files:
        by_line = data.contexts_by_lineno(os.path.abspath(file)) or {}
        found[file] = {str(line): sorted(filter(None, contexts)) for line, contexts in by_line.items()}
    return found


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    os.remove(sys.argv[1])
    folder = os.getcwd()
    here = sys.path.pop(0)
    measured = None
    if request["cover"] is not None:
        sys.path.insert(0, here)
        measured = _started_coverage(request["cover"])
        sys.path.remove(here)
    roots = [os.path.join(folder, root) for root in request["roots"]]
    sys.path[:0] = roots
    os.environ["PYTHONPATH"] = os.pathsep.join(roots)
    import pytest

    probe = Probe(request["only"], measured)
    code = int(pytest.main(_quiet(request["arguments"]), plugins=[probe]))
    covered = _lines(measured, request["cover"]) if measured is not None else None
    ended = {
        "nonce": request["nonce"],
        "exit_code": code,
        "tests": probe.tests,
        "collection": probe.collection,
        "covered": covered,
    }
    with open(os.path.join(folder, request["result"]), "w", encoding="utf-8") as file:
        json.dump(ended, file)
    sys.exit(0)


if __name__ == "__main__":
    main()
