"""What the Evals screen is made of: plots, the document, filters, search, folding, the browser."""

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from evals.report import json as json_report
from evals.report.skim import ReportFile
from tests.evals.report_fixtures import hostile_report, pair, report, row, task
from tests.tui.eval_reports import gated, humaneval, whole
from tui.evals import filters, opener, plots
from tui.evals.compared import change_between
from tui.evals.document import document
from tui.evals.filters import Filter, Pair
from tui.evals.form import Fields, fields_of
from tui.evals.sample import language_path, read
from tui.evals.text_view import _folds

WIDTHS = (1, 20, 56, 96, 156, 246)
LINES = st.lists(st.text(alphabet="ab \t漢", max_size=6), max_size=8).map("\n".join)


@given(
    value=st.floats(-2, 2),
    low=st.floats(-2, 2),
    high=st.floats(-2, 2),
    width=st.integers(1, 40),
    number=st.integers(0, 9),
)
def test_an_interval_has_its_width_and_its_mark_wherever_it_is(
    value: float, low: float, high: float, width: int, number: int
) -> None:
    drawn = plots.interval(value, min(low, high), max(low, high), (0.0, 1.0), width, number, (0.5, 7.0))
    assert drawn.cell_length == width
    assert drawn.plain.count(plots.mark(number)) == 1


def test_an_interval_stands_where_its_figure_is() -> None:
    assert plots.interval(0.5, 0.25, 0.75, (0.0, 1.0), 9, 0).plain == "┈┈╺━●━╸┈┈"
    assert plots.interval(0.0, None, None, (0.0, 1.0), 5, 1).plain == "◆┈┈┈┈"
    assert plots.interval(0.0, -1, 1, (-1.0, 1.0), 5, 0, (1.0,)).plain == "╺━●━╸"


@given(count=st.integers(0, 50), width=st.integers(1, 30))
def test_a_bar_fills_its_width_and_is_seen_when_there_is_something(count: int, width: int) -> None:
    drawn = plots.bar(count, 50, width, 0)
    assert drawn.cell_length == width
    assert bool(drawn.plain.strip()) == bool(count)
    assert count < 50 or drawn.plain == "█" * width


@pytest.mark.parametrize("width", [5, 9, 30])
def test_an_axis_tells_its_ends_or_nothing(width: int) -> None:
    drawn = plots.axis(["0%", "25%", "50%", "75%", "100%"], width).plain
    assert len(drawn) == width
    assert (drawn.strip() == "") or (drawn.startswith("0%") and drawn.endswith("100%"))


def test_latency_needs_a_time() -> None:
    assert plots.cumulative([(0, [0.0, 0.0])], 40, 8, str) == []
    assert all(line.cell_length <= 40 for line in plots.cumulative([(0, [0.3])], 40, 8, str))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_document_of_any_width_has_nothing_that_a_terminal_obeys(width: int) -> None:
    for made in (whole(humaneval(40)), gated(humaneval(40)), hostile_report()):
        text = "\n".join(line.plain for line in document(made, width))
        assert "\x1b" not in text
        assert "\u2028" not in text


def test_a_document_tells_figures_intervals_changes_and_verdicts() -> None:
    lines = [line.plain for line in document(gated(humaneval()), 100)]
    text = "\n".join(lines)
    assert "Gate: pass" in text
    assert any("● smollm2-135m" in line and "12.8% [8.5%, 18.8%]" in line for line in lines)
    assert any("◆ shop@4f2a" in line and "━◆━" in line for line in lines)
    assert "▲ better: +19.5 [" in text
    assert "lost 10, won 42" in text
    for name in ("wrong answer", "timeout", "no code", "Calibration", "Latency", "latency p50 / p95"):
        assert name in text
    assert all(len(line) <= 100 for line in lines if "┈" in line or "█" in line)


@pytest.fixture
def opened(tmp_path: Path) -> ReportFile:
    json_report.write(report(pair(3, 2, 4, 1)), tmp_path / "report.json")
    return ReportFile(tmp_path / "report.json")


def test_samples_are_found_by_what_became_of_them(opened: ReportFile) -> None:
    *_, places = opened.places(0)
    both = Pair(0, 1)
    assert filters.counts(places, both) == {"all": 10, "wrong": 3, "right": 7, "better": 4, "worse": 2}
    assert filters.counts(places, Pair(0, 0)) == {"all": 10, "wrong": 5, "right": 5}
    for outcome, count in filters.counts(places, both).items():
        assert len(filters.chosen(places, both, Filter(outcome), None)) == count
    assert filters.errors(places, both) == [("wrong answer", 3)]
    assert len(filters.chosen(places, both, Filter("all", "wrong answer"), None)) == 3
    assert filters.chosen(places, both, Filter("all", "timeout"), None) == []
    assert filters.chosen(places, both, Filter("worse"), frozenset({0, 3})) == [3]


def test_a_sample_that_is_missing_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    made = task({"old": [row("old", "a")], "new": [row("new", "a")]})
    rows = (*made.samples, row("old", "b"))
    json_report.write(report(made.__class__(**{**made.__dict__, "samples": rows})), tmp_path / "report.json")
    *_, places = ReportFile(tmp_path / "report.json").places(0)
    assert filters.counts(places, Pair(0, 1)) == {"all": 2, "wrong": 0, "right": 1, "better": 0, "worse": 0}


@pytest.mark.parametrize(
    ("words", "count"), [("I003", 1), ("by NEW", 10), ("def task_i00", 10), ("got [1]", 7), ("nowhere", 0)]
)
def test_words_are_found_in_names_prompts_answers_and_verdicts(opened: ReportFile, words: str, count: int) -> None:
    *_, places = opened.places(0)
    *_, (hits, looked) = filters.search(opened, places, words, lambda: False)
    assert (len(hits), looked) == (count, 10)


def test_a_sample_shows_each_prompt_as_it_was_rendered_and_by_whom(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "write f"}]

    def asked(model: str, item: str, rendered: str | None) -> dict[str, object]:
        kept = None if rendered is None else {"prompt": rendered, "verbatim": []}
        return row(model, item, ask={"messages": said, "rendered": kept, "max_tokens": 8})

    old = [asked("old", "a", "<user>write f"), asked("old", "b", None), row("old", "c")]
    new = [asked("new", "a", "[INST]write f"), asked("new", "b", None), row("new", "c")]
    json_report.write(report(task({"old": old, "new": new})), tmp_path / "report.json")
    file = ReportFile(tmp_path / "report.json")
    *_, places = file.places(0)
    shown = [read(file, file.report.tasks[0], n, place, Pair(0, 1)).prompt for n, place in enumerate(places)]
    by_template = "── prompt, rendered by the model's chat template"
    assert shown[0] == (
        f'<user>write f\n\n{by_template} of old\n\n[INST]write f\n\n{by_template} of new\n── {{"max_tokens": 8}}'
    )
    assert shown[1] == 'user: write f\n\n── messages, rendered by the server\n── {"max_tokens": 8}'
    assert shown[2].startswith("def task_c():\n\n\n── prompt\n── {")


def test_a_search_that_nobody_waits_for_ends(opened: ReportFile) -> None:
    *_, places = opened.places(0)
    stop = threading.Event()
    stop.set()
    assert list(filters.search(opened, places, "x", stop.is_set)) == []


@given(before=LINES, after=LINES)
def test_a_change_between_answers_is_the_whole_of_both(before: str, after: str) -> None:
    def ended(text: str) -> str:
        return text if text.endswith("\n") or not text else text + "\n"

    change = change_between(before, after, "answer.py")
    assert change.old_text == ended(before)
    assert change.text == ended(after)
    assert (before == after) <= (not change.added and not change.removed)


@given(line=st.text(alphabet="ab漢é", max_size=60), width=st.integers(2, 20))
def test_a_line_is_folded_between_its_characters(line: str, width: int) -> None:
    from textual._cells import cell_len

    starts = list(_folds(line, width))
    edges = {cell_len(line[:index]) for index in range(len(line) + 1)}
    assert starts[0] == 0
    assert set(starts) <= edges
    ends = [*starts[1:], cell_len(line)]
    assert all(end - start <= width for start, end in zip(starts, ends, strict=True))


@pytest.mark.parametrize(
    ("task", "item", "path"),
    [
        ("humaneval", "HumanEval/3", "answer.py"),
        ("mbpp-plus", "11", "answer.py"),
        ("repo", "src/a b.ts:12 (line, with retrieval)", "src/a b.ts"),
        ("repo", "Makefile:3 (line, file only)", ""),
        ("review", "a.py@1", ""),
    ],
)
def test_the_language_of_answers_is_what_the_task_says(task: str, item: str, path: str) -> None:
    assert language_path(task, item) == path


def test_an_earlier_command_comes_back_into_the_fields() -> None:
    given = Fields("humaneval mbpp", "a 'b c'", "my repo", "20", "--samples 5 --temperature 0.8")
    words = given.words()
    assert words == [
        *("eval", "humaneval", "mbpp", "--model", "a", "--model", "b c", "--repo", "my repo", "--limit", "20"),
        *("--samples", "5", "--temperature", "0.8"),
    ]
    back = fields_of((*words, "--out", "kept", "--detach"))
    assert back == given
    assert fields_of(("gate", "x", "--against", "y")) == Fields()
    assert fields_of(("eval", "--of-another-version", "x")).options == "--of-another-version x"


def tool(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text('#!/bin/sh\necho "$@" > "$0.called"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_only_what_opens_a_window_is_called(tmp_path: Path) -> None:
    for name in ("xdg-open", "helper", "wslview"):
        tool(tmp_path, name)
    path = str(tmp_path)
    assert opener.command({"PATH": path}, "linux") == []
    assert opener.command({"PATH": path, "DISPLAY": ":0"}, "linux") == ["xdg-open"]
    assert opener.command({"PATH": path, "WAYLAND_DISPLAY": "w"}, "linux") == ["xdg-open"]
    assert opener.command({"PATH": "", "DISPLAY": ":0"}, "linux") == []
    assert opener.command({"PATH": path, "BROWSER": "helper --new %s:other"}, "linux") == ["helper", "--new"]
    assert opener.command({"PATH": path, "BROWSER": "missing"}, "linux") == []
    assert opener.command({"PATH": path, "WSL_DISTRO_NAME": "d"}, "linux") == ["wslview"]
    assert opener.command({"PATH": path}, "darwin") == ["open"]


def test_the_page_is_opened_or_said_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HoneError, match=r"there is no report\.html"):
        opener.open_report(tmp_path)
    (tmp_path / "report.html").write_text("<html>")
    with pytest.raises(HoneError, match=r"no browser can be opened from here; the page is .*report\.html"):
        opener.open_report(tmp_path)
    called = tool(tmp_path, "helper")
    monkeypatch.setenv("BROWSER", str(called))
    opener.open_report(tmp_path)
    told = tmp_path / "helper.called"
    deadline = threading.Event()
    for _ in range(500):
        if told.exists() and told.read_text():
            break
        deadline.wait(0.02)
    assert told.read_text().strip() == str(tmp_path / "report.html")
