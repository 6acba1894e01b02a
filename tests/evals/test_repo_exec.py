"""Bodies of functions judged by a repository's own tests: real repositories, real pytest, real coverage."""

import ast
import hashlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.prompts import FimTokens
from evals.errors import HarnessError, NotHeldOutError
from evals.sandbox.outcome import SandboxError
from evals.sandbox.sandbox import open_sandbox
from evals.tasks import named, repo_copy, repo_verdict
from evals.tasks.base import Answer, Item
from evals.tasks.heldout import HeldOut, HeldOutFile
from evals.tasks.repo_exec import Options, RepoExec, open_task
from evals.tasks.repo_functions import cut_body, functions_of
from tests.evals.repo_fixtures import FILES, PRICES, FewPlugins, OpenSandbox, as_sandbox

Make = Callable[..., Path]
PRICES_PATH = "src/shop/prices.py"
TESTS_PATH = "tests/test_prices.py"
FIM = FimTokens("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def held(root: Path, *paths: str) -> HeldOut:
    files = tuple(
        HeldOutFile(path, (root / path).read_text(), "", (root / path).stat().st_size)
        for path in paths or (PRICES_PATH,)
    )
    return HeldOut(files, frozenset(file.path for file in files), (), ())


def digest_of(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and ".git/" not in file.as_posix()
    }


def answer(text: str, finish: str = "stop") -> Answer:
    return Answer(text, finish, None, None, 0.0, None)


class Shop:
    """One repository and its open task, for all tests of this file."""

    def __init__(self, root: Path, sandbox: OpenSandbox, task: RepoExec) -> None:
        self.root, self.sandbox, self.task = root, sandbox, task

    def item(self, name: str) -> Item:
        return next(item for item in self.task.items() if item.data["name"] == name)

    def judge(self, name: str, text: str, finish: str = "stop"):  # type: ignore[no-untyped-def]
        return self.task.judge(self.item(name), answer(text, finish), as_sandbox(self.sandbox))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    for path, content in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(str(content))
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    before = digest_of(root)
    sandbox = OpenSandbox()
    with open_task(root, held(root, PRICES_PATH, TESTS_PATH), as_sandbox(sandbox)) as task:
        yield Shop(root, sandbox, task)
    assert digest_of(root) == before


def test_functions_are_chosen_by_what_tests_cover_and_tell_apart(shop: Shop) -> None:
    assert [item.data["name"] for item in shop.task.items()] == ["total", "discount", "Cart.__init__", "Cart.add"]
    assert shop.task.facts["left_out"] == {
        "it belongs to the tests": 11,
        "its tests pass with an empty body": 1,
        "no test covers it": 1,
        "only flaky or failing tests cover it": 2,
    }
    assert shop.task.facts["tests_flaky"] == 1
    assert shop.item("total").data["tests"] == [
        f"{TESTS_PATH}::test_cart",
        *(f"{TESTS_PATH}::test_total[rows{n}-{want}]" for n, want in enumerate((0, 3, 5))),
    ]
    assert shop.item("discount").data["tests"] == [
        f"{TESTS_PATH}::TestDiscount::test_never_below_zero",
        f"{TESTS_PATH}::TestDiscount::test_share",
    ]
    assert {item.group for item in shop.task.items()} == {PRICES_PATH}


def test_references_pass_and_empty_bodies_fail_without_a_further_run(shop: Shop) -> None:
    runs = len(shop.sandbox.runs)
    verdicts = [
        (good, shop.task.judge(item, answer(text), as_sandbox(shop.sandbox)).value)
        for item, text, good in shop.task.references()
    ]
    assert sorted(verdicts) == [(False, 0.0)] * 4 + [(True, 1.0)] * 4
    assert len(shop.sandbox.runs) == runs


def test_another_right_body_passes_and_what_follows_it_is_cut(shop: Shop) -> None:
    found = shop.judge("total", ' return sum(row["price"] for row in rows)\n\n\ndef more():\n    return (\n')
    assert (found.value, found.error) == (1.0, None)
    assert found.extracted == 'return sum(row["price"] for row in rows)'
    assert found.extra["tests_passed"] == found.extra["tests"] == 4
    assert (
        shop.judge("total", "made = sum(row['price'] for row in rows)\n    made.__eq__ (0)\n    return made").value
        == 1.0
    )
    method = (
        "row = dict(name=name, price=price)\n        self.rows += [row]\n        return self\n\n    def more(self):"
    )
    assert shop.judge("Cart.add", method).value == 1.0


@pytest.mark.parametrize(
    ("body", "error", "detail"),
    [
        ("return 3", "wrong answer", "assert 3 == "),
        ("return rows.price", "exception", "AttributeError: 'list' object"),
        ("from shop.nothing import sum_of\n    return sum_of(rows)", "import", "ModuleNotFoundError"),
        ("import sys\n    sys.exit(0)", "exception", "SystemExit"),
        ("return (", "syntax", "no valid Python"),
        ("\n\n", "no code", "no code"),
        ("import os\n    os._exit(0)", "forged", "uses _exit"),
        ("from unittest.mock import ANY\n    return ANY", "forged", "uses unittest"),
        (
            "class Any(dict):\n        def __eq__(self, other): return True\n    return Any()",
            "forged",
            "uses __eq__",
        ),
        (
            "class Any(dict): pass\n    Any.__eq__ = lambda *_: True\n    return Any()",
            "forged",
            "uses .__eq__",
        ),
        ("return getattr(__import__('os'), '_ex' + 'it')(0)", "forged", "ended before its tests did, exit code 0"),
        ("__import__('pytest').exit('done', returncode=0)", "forged", "did not come to its end"),
        (
            "reports = __import__('_py' + 'test.reports').reports\n"
            "    made = reports.TestReport.from_item_and_call.__func__\n"
            "    def passed(cls, item, call):\n"
            "        report = made(cls, item, call)\n"
            "        report.outcome, report.longrepr = 'passed', None\n"
            "        return report\n"
            "    reports.TestReport.from_item_and_call = classmethod(passed)\n"
            "    return 99",
            "forged",
            "a test that must fail did not",
        ),
        (
            "open('.hone-result.json', 'w').write('{\"nonce\": \"0\"}')\n"
            "    getattr(__import__('os'), '_ex' + 'it')(0)",
            "forged",
            "ended before",
        ),
        (
            "__import__('os').symlink('/etc/passwd', '.hone-result.json')\n"
            "    getattr(__import__('os'), '_ex' + 'it')(0)",
            "forged",
            "ended before",
        ),
    ],
)
def test_every_failure_has_its_class(shop: Shop, body: str, error: str, detail: str) -> None:
    found = shop.judge("total", body)
    assert (found.value, found.error) == (0.0, error)
    assert detail in found.detail
    assert "\n" not in found.detail


def test_a_body_that_the_token_limit_cut_is_truncated(shop: Shop) -> None:
    assert shop.judge("discount", "if share >", "length").error == "truncated"
    assert shop.judge("discount", "if share >", "stop").error == "syntax"


def test_an_endless_body_ends_at_its_limit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repo_verdict, "MIN_CPU_SECONDS", 1.0)
    shop.task.start_seconds, before = 0.3, shop.task.start_seconds
    try:
        assert shop.judge("discount", "while True:\n        pass").error == "timeout"
    finally:
        shop.task.start_seconds = before


def test_equal_bodies_are_run_once(shop: Shop) -> None:
    shop.judge("discount", "return price")
    runs = len(shop.sandbox.runs)
    assert shop.judge("discount", "return price\n\n\nx = 1\n").value == 0.0
    assert len(shop.sandbox.runs) == runs


def test_every_run_has_a_fresh_copy_and_does_not_see_the_users_tree(shop: Shop) -> None:
    assert len(set(shop.sandbox.runs)) == len(shop.sandbox.runs)
    assert not any(folder.exists() for folder in shop.sandbox.runs)
    for readable in shop.sandbox.readable:
        assert not any(shop.root.is_relative_to(path) for path in readable)


def test_the_prompt_ends_where_the_body_begins(shop: Shop) -> None:
    ask = shop.task.ask(shop.item("discount"), None)
    assert ask.prompt is not None
    assert ask.prompt.endswith('"""The price less its share, never below 0."""\n   ')
    assert f"# {TESTS_PATH}" not in ask.prompt
    assert "# src/shop/other.py" not in ask.prompt.split("# src/shop/prices.py")[-1]
    assert not ask.parse_special
    filled = shop.task.ask(shop.item("discount"), FIM)
    assert filled.prompt is not None
    before, after = filled.prompt.split("<|fim_suffix|>")
    assert before.endswith('below 0."""\n    ')
    assert after.startswith("\n\n\nclass Cart:")
    assert filled.prompt.endswith("<|fim_middle|>")
    assert filled.parse_special
    assert "return price - price" not in ask.prompt + filled.prompt


def test_a_sandbox_is_needed(shop: Shop) -> None:
    with pytest.raises(HarnessError, match="needs a sandbox"):
        shop.task.judge(shop.item("total"), answer("return 1"), None)


def test_a_smaller_limit_is_a_subset(shop: Shop) -> None:
    with open_task(shop.root, held(shop.root), as_sandbox(OpenSandbox()), Options(limit=1, retrieval=False)) as one:
        assert len(one.items()) == 1
        assert {item.id for item in one.items()} < {item.id for item in shop.task.items()}
        # So that a larger limit goes on from the samples of a smaller one.
        assert one.version == shop.task.version
        assert shop.task.version.startswith("repo-exec@1+")


def test_a_real_sandbox_gives_the_same_verdicts(shop: Shop) -> None:
    """On the best rung that the machine has."""
    try:
        sandbox = open_sandbox(workers=1)
    except SandboxError as error:
        pytest.skip(str(error))
    options = Options(limit=1, retrieval=False)
    with sandbox, open_task(shop.root, held(shop.root), as_sandbox(FewPlugins(sandbox)), options) as task:
        # The variable that its flaky test looks at is not there, so that test always fails.
        assert task.facts["left_out"]["only flaky or failing tests cover it"] == 2
        assert task.facts["tests_passed"] == 8
        item = task.items()[0]
        escape = f"open({str(shop.root / 'escaped')!r}, 'w').close()"
        found = task.judge(item, answer(escape), as_sandbox(FewPlugins(sandbox)))
        assert (found.value, found.error) == (0.0, "exception")
    assert not (shop.root / "escaped").exists()


def test_all_files_are_asked_about_where_no_model_was_tuned_on_them(make_repository: Make) -> None:
    """Two bases can be compared, and a model behind a server."""
    root = make_repository(FILES | {"src/shop/copied.py": PRICES})
    wanted = named.Wanted(("repo-exec",), repository=root, limit=1, prompt_tokens=256)
    with named.build(wanted, as_sandbox(OpenSandbox())) as (task,):
        assert isinstance(task, RepoExec)
        assert [item.group for item in task.items()] == [PRICES_PATH]
        assert task.facts["of"] == "all files: no model was tuned on them"
        assert task.facts["prompt_tokens"] == 256
        # A copy of the file would show the answer; other files may be shown.
        assert task.hidden == {PRICES_PATH, "src/shop/copied.py"}


def test_a_suite_that_does_not_run_is_one_line(make_repository: Make) -> None:
    root = make_repository(FILES | {"tests/test_prices.py": "import nothing_of_that_name\n"})
    with (
        pytest.raises(HoneError, match=r"no test of .* passes .*nothing_of_that_name") as caught,
        open_task(root, held(root), as_sandbox(OpenSandbox())),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_nothing_to_ask_for_is_refused(make_repository: Make) -> None:
    root = make_repository(FILES | {PRICES_PATH: PRICES.replace("found += row", "found -= row")})
    changed = held(root)
    (root / PRICES_PATH).write_text(PRICES)
    with (
        pytest.raises(NotHeldOutError, match="no held-out Python file"),
        open_task(root, changed, as_sandbox(OpenSandbox())),
    ):
        pass


def test_an_interpreter_that_is_none_is_named(make_repository: Make, tmp_path: Path) -> None:
    root = make_repository(FILES)
    with (
        pytest.raises(HoneError, match="does not run as a Python interpreter"),
        open_task(root, held(root), as_sandbox(OpenSandbox()), Options(python=tmp_path / "python")),
    ):
        pass


def test_the_copy_has_what_git_knows_and_built_modules_but_no_ignored_folder(
    make_repository: Make, tmp_path: Path
) -> None:
    root = make_repository(FILES)
    for path in ("src/shop/_version.py", "build/lib.py", "new.py", "x.pyc"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text("x = 1\n")
    (root / "link.py").symlink_to("new.py")
    found = repo_copy.files_of(root)
    assert {"src/shop/_version.py", "new.py", "link.py", PRICES_PATH} <= set(found)
    assert not {"build/lib.py", "x.pyc"} & set(found)
    digest = repo_copy.snapshot(root, tmp_path / "copy")
    assert (tmp_path / "copy" / "link.py").is_symlink()
    assert repo_copy.import_roots(tmp_path / "copy", [PRICES_PATH, "new.py"]) == ["src", "."]
    (root / "new.py").write_text("x = 2\n")
    assert repo_copy.snapshot(root, tmp_path / "again") != digest


def function(source: str):  # type: ignore[no-untyped-def]
    (found,) = functions_of(HeldOutFile("a.py", source, "", 0))
    return found


def test_text_and_brackets_that_reach_to_the_left_do_not_end_a_body() -> None:
    one = function("def f():\n    return 1\n\n\nx = f()\n")
    text = 'y = """\nleft\n"""\n    z = [\n1,\n]\n    return y, z\nprint(1)\n'
    found = cut_body(one, text)
    assert found is not None
    assert found.text == text.removesuffix("\nprint(1)\n")
    assert found.parses


def test_names_of_methods_hold_their_class_and_decorated_first_statements_count() -> None:
    body = "            @wrap\n            def g():\n                pass\n            return g\n"
    source = f"class A:\n    class B:\n        async def f(self):\n{body}"
    assert function(source).name == "A.B.f"


@given(st.text("ab():\n \t\"'[]#=é\\", max_size=80))
def test_any_answer_is_cut_to_its_own_beginning(text: str) -> None:
    one = replace(function("def f():\n    return 1\n\n\nx = f()\n"))
    found = cut_body(one, text)
    if found is None:
        return
    assert text.lstrip().startswith(found.text)
    if found.parses:
        with warnings.catch_warnings():
            # Of invalid escapes, which some texts have.
            warnings.simplefilter("ignore")
            ast.parse(one.file_with(found.text))


def test_the_interpreter_of_the_repository_is_preferred(tmp_path: Path) -> None:
    from evals.tasks.repo_tests import find_python

    assert find_python(tmp_path) == Path(sys.executable)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    assert find_python(tmp_path) == tmp_path / ".venv/bin/python"
