"""Programs that write SARIF: a script in the tests, run as any tool would be."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills.review import analyzers, patches, sarif_read, snapshot
from assistant.skills.review.analyzers import Analyzer
from assistant.skills.review.observations import Observation
from tests.assistant.review_helpers import change


def log(*results: dict[str, Any], rules: Any = (), **run: Any) -> dict[str, Any]:
    driver = {"name": "Tool", "rules": list(rules)}
    return {"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": list(results), **run}]}


def result(line: int = 1, uri: str = "x.py", **rest: Any) -> dict[str, Any]:
    region = {"startLine": line, **rest.pop("region", {})}
    location = {"physicalLocation": {"artifactLocation": {"uri": uri, **rest.pop("base", {})}, "region": region}}
    return {"ruleId": "R1", "message": {"text": "bad"}, "locations": [location], **rest}


def read(value: dict[str, Any], folder: Path) -> list[Observation]:
    return sarif_read.observations(json.dumps(value).encode(), "tool", folder.resolve())


def test_what_a_log_says_of_a_line(tmp_path: Path):
    rule = {
        "id": "R1",
        "helpUri": "https://rules.invalid/R1",
        "defaultConfiguration": {"level": "error"},
        "properties": {"precision": "very-high", "tags": ["external/cwe/cwe-78"]},
    }
    (one,) = read(log(result(3, region={"startColumn": 2, "endColumn": 5}), rules=[rule]), tmp_path)
    assert (one.path, one.first, one.last, one.severity, one.category) == ("x.py", 3, 3, "error", "security")
    evidence = one.evidence
    assert (evidence.source, evidence.rule, evidence.message, evidence.confidence) == ("tool", "R1", "bad", 0.95)
    assert evidence.url == "https://rules.invalid/R1"
    assert evidence.details == {"column": 2, "last_column": 5}


@pytest.mark.parametrize(
    "silent",
    [
        {"kind": "pass"},
        {"baselineState": "absent"},
        {"suppressions": [{"kind": "inSource"}]},
        {"locations": []},
        {"uri": "../outside.py"},
        {"uri": "https://elsewhere.invalid/x.py"},
    ],
)
def test_what_is_no_finding_here(tmp_path: Path, silent: dict[str, Any]):
    assert read(log(result(**silent)), tmp_path) == []


def test_rules_and_messages_by_reference(tmp_path: Path):
    rule = {"id": "R2", "messageStrings": {"default": {"text": "{0} is {1}, not {2}"}}}
    told = {"id": "default", "arguments": ["x", "wrong"]}
    by_index = {**result(), "ruleIndex": 0, "message": told}
    del by_index["ruleId"]
    (one,) = read(log(by_index, rules=[rule]), tmp_path)
    assert (one.evidence.rule, one.evidence.message) == ("R2", "x is wrong, not {2}")
    (below,) = read(log(result(ruleId="R2/sub"), rules=[{**rule, "defaultConfiguration": {"level": "note"}}]), tmp_path)
    assert (below.evidence.rule, below.severity) == ("R2/sub", "note")
    extended = result(ruleId="E1", rule={"index": 0, "toolComponent": {"index": 0}})
    value = log(extended)
    value["runs"][0]["tool"]["extensions"] = [{"name": "more", "rules": [{"id": "E1", "helpUri": "u"}]}]
    assert read(value, tmp_path)[0].evidence.url == "u"


def test_places_in_every_spelling(tmp_path: Path):
    folder = tmp_path / "with space"
    folder.mkdir()
    uris = {"originalUriBaseIds": {"ROOT": {"uri": folder.resolve().as_uri() + "/"}}}
    assert read(log(result(uri="a%20b.py")), folder)[0].path == "a b.py"
    assert read(log(result(uri=(folder.resolve() / "x.py").as_uri())), folder)[0].path == "x.py"
    assert read(log(result(base={"uriBaseId": "ROOT"}), **uris), folder)[0].path == "x.py"
    artifacts = {"artifacts": [{"location": {"uri": "y.py"}}]}
    by_index = result()
    by_index["locations"][0]["physicalLocation"]["artifactLocation"] = {"index": 0}
    assert read(log(by_index, **artifacts), folder)[0].path == "y.py"


def test_a_fix_becomes_a_patch(tmp_path: Path):
    made = change("x = 1\ny = 2\n")
    fixes = [
        {
            "description": {"text": "use three"},
            "artifactChanges": [
                {
                    "artifactLocation": {"uri": "x.py"},
                    "replacements": [
                        {
                            "deletedRegion": {"startLine": 2, "startColumn": 5},
                            "insertedContent": {"text": "3"},
                        }
                    ],
                }
            ],
        }
    ]
    with snapshot.of([made]) as folder:
        (one,) = read(log(result(2, fixes=fixes)), folder)
        assert one.suggestion is not None
        fix = patches.checked(made, one.suggestion, "tool", folder)
        assert fix is not None
        assert "-y = 2\n+y = 3\n" in fix.patch
        assert fix.description == "use three"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["x.py", "R1", "error", "fail", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "tool",
                    "driver",
                    "rules",
                    "results",
                    "ruleId",
                    "rule",
                    "index",
                    "message",
                    "text",
                    "locations",
                    "id",
                    "physicalLocation",
                    "level",
                    "fixes",
                    "artifactLocation",
                    "uri",
                    "region",
                    "startLine",
                    "properties",
                    "artifactChanges",
                    "replacements",
                    "deletedRegion",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(runs=st.lists(JSON, max_size=2))
def test_any_log_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, runs: list[Any]):
    refused = ""
    try:
        read({"version": "2.1.0", "runs": runs}, tmp_path_factory.getbasetemp())
    except HoneError as error:
        refused = str(error)
    assert refused == "" or refused.startswith("tool wrote SARIF that does not follow the standard")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"version": "2.0.0", "runs": []}', b"\xff", b"[" * 100_000])
def test_what_is_no_sarif_is_refused(tmp_path: Path, data: bytes):
    with pytest.raises(HoneError, match="tool wrote"):
        sarif_read.observations(data, "tool", tmp_path)


TOOL = """
import json, sys
from pathlib import Path
results = []
for name in sys.argv[2:]:
    for number, line in enumerate(Path(name).read_text().split("\\n"), 1):
        if "BAD" in line:
            place = {"artifactLocation": {"uri": name}, "region": {"startLine": number}}
            results.append({"ruleId": "BAD1", "message": {"text": line}, "locations": [{"physicalLocation": place}]})
log = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "bad"}}, "results": results}]}
if sys.argv[1] == "-":
    print(json.dumps(log))
elif sys.argv[1] != "nothing":
    Path(sys.argv[1]).write_text(json.dumps(log))
else:
    print("broken", file=sys.stderr)
sys.exit(1)
"""


def analyzer(tmp_path: Path, *words: str, **rest: Any) -> Analyzer:
    script = tmp_path / "tool.py"
    script.write_text(TOOL)
    values = {"languages": frozenset(), "seconds": 30.0, "from_repository": False, **rest}
    return Analyzer("bad", (sys.executable, str(script), *words), **values)


@pytest.mark.parametrize("words", [("-",), ("-", "{files}"), ("{output}", "{files}")])
def test_a_tool_reads_the_content_under_review(tmp_path: Path, words: tuple[str, ...]):
    files = [change("ok\nBAD one\nBAD two\n", added=[2]), change("BAD js\n", "-sub/y.js")]
    with snapshot.of(files) as folder:
        found = analyzers.observe(analyzer(tmp_path, *words), files, folder, lambda: False)
        assert [(one.path, one.first, one.evidence.rule) for one in found] == [
            ("x.py", 2, "BAD1"),
            ("-sub/y.js", 1, "BAD1"),
        ]
        only = analyzer(tmp_path, *words, languages=frozenset({"javascript"}))
        assert [one.path for one in analyzers.observe(only, files, folder, lambda: False)] == ["-sub/y.js"]


def test_a_tool_that_fails_is_no_clean_bill(tmp_path: Path):
    files = [change("BAD\n")]
    missing = Analyzer("bad", ("no-such-program-here",), frozenset(), 1.0, False)
    slow = Analyzer("bad", (sys.executable, "-c", "import time; time.sleep(60)"), frozenset(), 0.2, False)
    with snapshot.of(files) as folder:
        for broken, reason in (
            (analyzer(tmp_path, "nothing"), "bad wrote no log: broken"),
            (missing, "there is no program"),
            (slow, r"took longer than 0\.2 s"),
        ):
            with pytest.raises(HoneError, match=reason):
                analyzers.observe(broken, files, folder, lambda: False)


def test_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config" / "hone" / "config.toml"
    own.parent.mkdir(parents=True)
    (tmp_path / "hone.toml").write_text(
        textwrap.dedent("""
        [review]
        analyzers = [
            {name = "bandit", command = "bandit -f sarif -o {output} {files}", languages = ["python"]},
            {name = "mine", command = ["./tool.sh", "a b"], seconds = 5},
        ]
        """)
    )
    own.write_text('[[review.analyzers]]\nname = "bandit"\ncommand = "other"\n')
    bandit, mine = analyzers.configured()
    assert (bandit.command, bandit.from_repository) == (("other",), False)
    assert mine == Analyzer("mine", (str(tmp_path.resolve() / "tool.sh"), "a b"), frozenset(), 5.0, True)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("[review]\nanalyser = 1", "unknown key 'analyser'"),
        ("[review]\nanalyzers = 1", "must be a list"),
        ("[[review.analyzers]]\nname = 'a'\ncomand = 'x'", "nearest known one is 'command'"),
        ("[[review.analyzers]]\nname = 'a'", "command of a must be"),
        ("[[review.analyzers]]\nname = 'a'\ncommand = \"'\"", "not closed"),
        ("[[review.analyzers]]\nname = 'ruff'\ncommand = 'x'", "a name other than"),
        ("[[review.analyzers]]\nname = 'a'\ncommand = 'x'\nlanguages = ['latin']", "languages of a"),
        ("[[review.analyzers]]\nname = 'a'\ncommand = 'x'\nseconds = -1", "seconds of a"),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, reason: str):
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hone.toml").write_text(table)
    with pytest.raises(HoneError, match=reason) as caught:
        analyzers.configured()
    assert "hone.toml" in str(caught.value)
