"""The built-in analyzer: ruff itself, on changed lines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.skills.review import patches, ruff, snapshot
from assistant.skills.review.changes import FileChange
from assistant.skills.review.observations import Observation
from assistant.skills.review.request import CancelledError
from tests.assistant.review_helpers import change


def observed(*changes: FileChange) -> list[Observation]:
    with snapshot.of(changes) as folder:
        return ruff.observe(changes, folder, lambda: False)


def rules(*changes: FileChange) -> list[tuple[int, str]]:
    return sorted((one.first, one.evidence.rule) for one in observed(*changes))


def test_every_rule_that_is_chosen_exists():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ruff", "rule", "--all", "--output-format", "json"],
        capture_output=True,
        check=True,
    )
    known = {rule["code"] for rule in json.loads(done.stdout) if rule["code"]}
    assert [rule for rule in ruff.RULES if not any(code.startswith(rule) for code in known)] == []


@pytest.mark.parametrize(
    ("text", "rule", "severity", "category"),
    [
        ("print(missing)\n", "F821", "error", "correctness"),
        ("def f(x=[]):\n    return x\n", "B006", "warning", "correctness"),
        ("import subprocess\nsubprocess.run(input(), shell=True)\n", "S602", "warning", "security"),
        ("assert (1, 'always')\n", "F631", "error", "correctness"),
        ("x = 1 if True or x else 2\n", "SIM222", "warning", "correctness"),
        ("async def f():\n    import time\n    time.sleep(1)\n", "ASYNC251", "warning", "correctness"),
        ("def f():\n    x = 1\n", "F841", "note", "correctness"),
        ("breakpoint()\n", "T100", "error", "correctness"),
        ("try:\n    f = 1\nexcept Exception:\n    pass\n", "S110", "warning", "correctness"),
        (
            "for x in 'ab':\n    try:\n        int(x)\n    except Exception:\n        continue\n",
            "S112",
            "warning",
            "correctness",
        ),
        ("try:\n    f = 1\nexcept:\n    f = 2\n", "E722", "warning", "correctness"),
    ],
)
def test_bugs_are_found(text: str, rule: str, severity: str, category: str):
    found = {one.evidence.rule: one for one in observed(change(text))}
    assert rule in found
    assert (found[rule].severity, found[rule].category) == (severity, category)
    assert found[rule].evidence.url


@pytest.mark.parametrize(
    "text",
    [
        "import os\n",
        "def f( x ):\n  return(x)\n",
        "import subprocess\nsubprocess.run(['ls'])\n",
        "assert True\n",
        "password = 'secret'\n",
        "l = 1\n",
        "type X[T] = list[T]\n",
        "print(missing)  # noqa: F821\n",
        "x: 'Missing' = 1\n",
        "try:\n    f = 1\nexcept KeyError:\n    pass\n",
        "try:\n    f = 1\nexcept Exception as error:\n    print(error)\n",
        "try:\n    f = 1\nexcept:\n    f = 2\n    raise\n",
        "try:\n    f = 1\nexcept Exception:\n    # The daemon may be gone.\n    pass\n",
        "try:\n    f = 1\nexcept Exception:\n    pass  # as at a program's end\n",
    ],
)
def test_style_and_the_newest_syntax_are_fine(text: str):
    assert observed(change(text)) == []


def test_a_swallowed_exception_is_one_finding_unless_a_comment_says_why():
    text = "def f():\n    try:\n        print(1)\n    except:\n        pass\n    return 2\n"
    assert rules(change(text, added=[4, 5])) == [(4, "S110")]
    assert rules(change(text, added=[3])) == []
    assert rules(change(text.replace("except:", "except:  # noqa: E722"))) == [(4, "S110")]
    assert rules(change(text.replace("pass", "pass  # never mind: it is only a hint"))) == [(4, "E722")]


def test_only_changed_lines_count():
    text = "print(one)\nprint(two)\nprint(\n    three,\n    four,\n)\n"
    assert rules(change(text, added=[2, 5])) == [(2, "F821"), (5, "F821")]
    call = "import subprocess\nsubprocess.run(\n    'ls ' + input(),\n    shell=True,\n)\n"
    assert rules(change(call, added=[1])) == []


def test_the_configuration_of_the_project_and_of_the_environment_does_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUFF_OUTPUT_FILE", "elsewhere")
    monkeypatch.setenv("RUFF_OUTPUT_FORMAT", "concise")
    with snapshot.of([change("print(missing)\n")]) as folder:
        (folder / "ruff.toml").write_text("exclude = ['*']\n")
        (folder / "ruff.py").write_text("raise SystemExit('not this one')\n")
        found = ruff.observe([change("print(missing)\n")], folder, lambda: False)
        assert [one.evidence.rule for one in found] == ["F821"]
        assert not (folder / "elsewhere").exists()


def test_a_syntax_error_counts_where_the_change_made_it():
    good = "def f():\n    return g(1)\n\n\nx = 1\n"
    bad = good.replace("g(1)", "g(1")
    made = FileChange("x.py", bad.encode(), frozenset({2}), {2: ("    return g(1)",)})
    found = observed(made)
    assert {one.evidence.rule for one in found} == {"invalid-syntax"}
    assert {one.first for one in found} == {2}
    assert found[0].severity == "error"
    template = "{% if x %}\nx = 1\n{% endif %}\ny = 2\n"
    assert observed(FileChange("x.py", template.encode(), frozenset({4}), {})) == []


def test_safe_fixes_become_patches_and_others_do_not():
    text = "é = '☃'; x = 1\nif not é in 'abc':\n    print('%s' % (é,))\nassert x is 'a'\n"
    made = change(text)
    with snapshot.of([made]) as folder:
        found = {one.evidence.rule: one for one in ruff.observe([made], folder, lambda: False)}
        fix = found["F632"].suggestion
        assert fix is not None
        held = patches.checked(made, fix, "ruff", folder)
        assert held is not None
        assert "+assert x == 'a'\n" in held.patch


def test_columns_are_characters():
    text = "é = '☃☃'; print(missing)\n"
    (one,) = observed(change(text))
    column = text.index("missing") + 1
    assert one.evidence.details == {"column": column, "last_column": column + len("missing")}


@pytest.mark.parametrize(
    "text", ["x = 1\n\f\nprint(missing)\n", "x = '''\u2028'''\n\nprint(missing)\n", "x = 1\r\n\r\nprint(missing)\r\n"]
)
def test_lines_are_those_of_git(text: str):
    assert rules(change(text)) == [(3, "F821")]


def test_a_lone_carriage_return_ends_no_line_for_git():
    assert rules(change("x = 1\ry = 2\nprint(missing)\n")) == [(2, "F821")]


def test_files_of_other_languages_and_parts_of_files_are_not_read(tmp_path: Path):
    part = FileChange("part.py", b"print(missing)\n", frozenset({1}), {}, is_whole=False)
    assert ruff.observe([change("x", "x.js"), part], tmp_path, lambda: False) == []


def test_it_can_be_cancelled():
    with snapshot.of([change("x = 1\n")]) as folder, pytest.raises(CancelledError):
        ruff.observe([change("x = 1\n")], folder, lambda: True)
