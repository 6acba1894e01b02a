"""Places that error reports name."""

import subprocess
import sys
from pathlib import Path

import pytest

from assistant.errors import HoneError
from assistant.skills.mentions import Place
from assistant.skills.traces import Frame, frames, places

REPORTS = {
    "python": (
        'Traceback (most recent call last):\n  File "/srv/app/main.py", line 3, in <module>\n    run()\n'
        '  File "app/shop.py", line 12, in run\n    x\nKeyError: 1\n',
        [Frame("app/shop.py", 12), Frame("/srv/app/main.py", 3)],
    ),
    "node": (
        "TypeError: x is undefined\n    at total (/srv/app/cart.js:10:5)\n    at file:///srv/app/main.mjs:2:1\n",
        [Frame("/srv/app/cart.js", 10), Frame("/srv/app/main.mjs", 2)],
    ),
    "go": ("panic: x\n\nmain.total(...)\n\t/srv/app/cart.go:10 +0x1d\n", [Frame("/srv/app/cart.go", 10)]),
    "rust": ("error[E0308]: mismatched\n  --> src/main.rs:4:5\n", [Frame("src/main.rs", 4)]),
    "java": ("Exception in thread\n\tat shop.Cart.total(Cart.java:12)\n", [Frame("Cart.java", 12)]),
    "c": ("main.c:4:10: error: expected ';'\n", [Frame("main.c", 4)]),
    "pytest": ("tests/test_a.py:7: AssertionError\n", [Frame("tests/test_a.py", 7)]),
    "nothing": ("it does not work: 12:30\n", []),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_frames_of_many_languages(kind: str):
    report, expected = REPORTS[kind]
    assert frames(report) == expected


def test_a_real_traceback_leads_to_the_definitions_in_this_repository(make_repository):
    root: Path = make_repository(
        {
            "main.py": "import json\nfrom shop import run\n\n\ndef main():\n    run('{')\n\n\nmain()\n",
            "shop.py": "import json\n\n\ndef other(): ...\n\n\ndef run(text):\n    data = json.loads(text)\n"
            "    return data\n",
        }
    )
    done = subprocess.run([sys.executable, "main.py"], cwd=root, capture_output=True, text=True, check=False)
    found = places(done.stderr, Place(root, root))
    assert [(one.path, one.first, one.last) for one in found] == [("shop.py", 7, 9), ("main.py", 5, 6)]
    assert found[0].text.startswith("def run(text):")
    assert "(the error is on line 8)" in found[0].title


def test_a_report_of_other_code_is_refused_with_a_hint(make_repository, tmp_path: Path):
    root: Path = make_repository({"a.py": "x = 1\n"})
    (tmp_path / "out.py").write_text("secret = 1\n")
    for report in (f'  File "{tmp_path}/out.py", line 1, in f\n', '  File "a.py", line 99, in f\n', "no place"):
        with pytest.raises(HoneError, match="names no file of this folder"):
            places(report, Place(root, root))


def test_a_path_that_no_file_can_have_is_passed_over(make_repository):
    root: Path = make_repository({"a.py": "x = 1\n"})
    report = f'  File "{"x" * 300}.py", line 1, in f\n  File "a.py", line 1, in f\n'
    assert [one.path for one in places(report, Place(root, root))] == ["a.py"]
