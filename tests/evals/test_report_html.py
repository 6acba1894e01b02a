"""The HTML report, as text and in a real browser."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.report.html import html
from evals.report.write import write
from tests.evals.report_fixtures import HOSTILE, hostile_report, pair, report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

PATIENT = 120_000
"""Milliseconds: a browser on one core that others use too."""


def test_the_file_needs_no_other() -> None:
    text = html(hostile_report())
    assert not re.search(r"(?:src|href)=[\"'](?!#)", text.replace(HOSTILE, ""))
    assert "url(" not in text
    assert "@import" not in text
    assert len(re.findall("<script", text)) == 2
    assert len(re.findall("</script", text)) == 2


def test_the_samples_are_in_the_page_as_they_were() -> None:
    text = html(hostile_report())
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    rows = data[0]["rows"]
    assert data[0]["attempts"] == 2
    assert len(rows) == 140
    assert rows[0]["answers"][0]["text"] == HOSTILE
    assert rows[0]["answers"][1]["error"] in (None, "wrong answer")


CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [red, green, blue] = parse(colour).map((part) => linear(part / 255));
    return .2126 * red + .7152 * green + .0722 * blue;
  };
  const back = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (parse(colour).length === 3) return colour;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const texts = "p, li, th, td, caption, summary, label, pre, a, .verdict, .small, svg text";
  const found = [...document.querySelectorAll(texts)].map((node) => {
    const style = getComputedStyle(node);
    const front = light(node.tagName === "text" ? style.fill : style.color), behind = light(back(node));
    const contrast = (Math.max(front, behind) + .05) / (Math.min(front, behind) + .05);
    return [contrast, node.outerHTML.slice(0, 80)];
  });
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            timeout=PATIENT,
        )
        yield opened
        opened.close()


class Page:
    """The hostile report, open, with everything that went wrong in it."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENT)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def names(self) -> list[str]:
        return self.page.locator(".sample .name").all_text_contents()

    def settled(self, count: str) -> None:
        self.page.locator(f"#count:text-is('{count}')").wait_for()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(hostile_report(), folder)
    return folder / "report.html"


@pytest.fixture
def opened(browser: Any, written: Path) -> Iterator[Page]:
    page = Page(browser, written)
    yield page
    page.context.close()


def test_hostile_samples_do_nothing_and_nothing_is_fetched(opened: Page) -> None:
    page = opened.page
    for sample in page.locator(".sample").all()[:4]:
        sample.locator("summary").click()
    page.locator(".pair").nth(3).wait_for()
    assert page.evaluate("typeof window.forged") == "undefined"
    assert page.locator("img").count() == 0
    assert opened.faults == []
    assert [url for url in opened.requests if not url.startswith("file:")] == []
    shown = page.locator(".sample").first.locator("pre").all_text_contents()
    assert any("<img src=x" in text and "</script>" in text for text in shown)


def test_every_sample_shows_prompt_output_and_verdict_side_by_side(opened: Page) -> None:
    page = opened.page
    opened.settled("140 of 140 samples")
    assert len(opened.names()) == 50
    page.click("#more")
    assert len(opened.names()) == 100
    sample = page.locator(".sample").nth(8)
    sample.locator("summary").click()
    sample.locator(".pair").wait_for()
    assert "def task_i004" in sample.inner_text()
    assert sample.locator(".pair > div").count() == 2
    boxes = [side.bounding_box() for side in sample.locator(".pair > div").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] < boxes[1]["x"]
    assert {text.split(" by ")[1] for text in sample.locator(".only").all_text_contents()} >= {"old\n"}


def test_a_prompt_says_who_rendered_it(opened: Page) -> None:
    titles = {}
    for number in (0, 2, 8, 10):
        sample = opened.page.locator(".sample").nth(number)
        sample.locator("summary").click()
        sample.locator(".pair").wait_for()
        parts = [part for part in sample.locator("div.small").all_text_contents() if "prompt" in part or "mess" in part]
        titles[number] = (*parts, sample.locator("pre").first.text_content())
    assert titles[0][:-1] == ("prompt",)
    assert titles[2] == ("messages", f"user: {HOSTILE}")
    assert titles[8] == ("messages, rendered by the server", f"user: {HOSTILE}")
    # Each model has a template of its own.
    by_template = "prompt, rendered by the model's chat template"
    assert titles[10] == (by_template, f"its own {by_template}", f"<|user|>{HOSTILE}<|old|>")


def test_filter_and_search(opened: Page) -> None:
    page = opened.page
    total = 140
    counts = {}
    for value in ("all", "wrong", "right", "differ", "lost", "won"):
        page.select_option("#show", value)
        counts[value] = int(page.locator("#count").text_content().split()[0])
    assert counts["all"] == total == counts["wrong"] + counts["right"]
    assert counts["lost"] > 0
    assert counts["won"] > 0
    assert counts["lost"] + counts["won"] <= counts["differ"] < total
    page.select_option("#show", "all")
    page.select_option("#class", "timeout")
    opened.settled("1 of 140 samples")
    page.select_option("#class", "")
    page.keyboard.press("/")
    page.keyboard.type("Task_i013")
    opened.settled("2 of 140 samples")
    assert opened.names() == ["i013 #1", "i013 #2"]
    # What was chosen is in the address, so that it can be sent to somebody.
    page.reload()
    opened.settled("2 of 140 samples")
    assert opened.faults == []


def test_another_task_and_one_model(opened: Page) -> None:
    opened.page.select_option("#task", "1")
    opened.settled("2 of 2 samples")
    assert not opened.page.locator("#right").is_visible()
    opened.page.locator(".sample summary").last.click()
    opened.page.locator(".pair").wait_for()
    assert "off-by-one" in opened.page.locator(".sample").last.inner_text()


def test_plots_are_there_with_their_marks(opened: Page) -> None:
    titles = opened.page.locator("#task-1 figcaption").all_text_contents()
    assert [title.split()[0].rstrip(":") for title in titles] == ["Scores", "Error", "Calibration", "Latency"]
    for figure in opened.page.locator("#task-1 figure svg").all():
        box = figure.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 40
        assert figure.locator(".mark").count() >= 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(browser: Any, written: Path, scheme: str) -> None:
    page = Page(browser, written, color_scheme=scheme)
    page.page.locator(".sample summary").first.click()
    page.page.locator(".pair").wait_for()
    found = page.page.evaluate(CONTRASTS)
    # 4.5 to 1 is what WCAG 2.1 AA asks for text.
    assert found[0][0] >= 4.5, found
    dark = page.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    page.context.close()


def test_a_narrow_window_does_not_scroll_sideways(browser: Any, written: Path) -> None:
    page = Page(browser, written, viewport={"width": 390, "height": 800})
    page.page.locator(".sample summary").first.click()
    page.page.locator(".pair").wait_for()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_a_report_without_samples_or_with_one_model_opens(browser: Any, tmp_path: Path) -> None:
    for name, made in (("none", report()), ("pair", report(pair(3, 1, 1, 1)))):
        write(made, tmp_path / name)
        page = Page(browser, tmp_path / name / "report.html")
        assert page.faults == []
        page.context.close()
