import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.tasks import code

PROMPT = 'def double(x):\n    """Twice x.\n    >>> double(2)\n    4\n    """\n'
BODY = "    return 2 * x\n"


def continued(text: str) -> code.Extracted:
    return code.continuation(PROMPT, text, "double")


def said(text: str, prompt: str = PROMPT) -> code.Extracted:
    return code.conversation(prompt, text, "double")


@pytest.mark.parametrize(
    "after",
    [
        "\nprint(double(3))\n",
        "\n\ndef other():\n    pass\n",
        "\nclass A:\n    pass",
        "\n# Test\nassert double(1) == 2",
        "\n```\nThis doubles x.",
        "\nif __name__ == '__main__':\n    main(",
        "\n@decorator\ndef",
        "}}} nonsense",
    ],
)
def test_a_continuation_ends_before_what_follows_the_function(after: str) -> None:
    extracted = continued(BODY + after)
    assert extracted.code.rstrip() == (PROMPT + BODY).rstrip()
    assert extracted.ended


def test_text_and_brackets_at_the_margin_do_not_end_the_function() -> None:
    body = '    text = """\nclass in a string\n"""\n    values = [\n1,\n]\n    return 2 * x\n'
    assert continued(body + "\nprint()") == code.Extracted(PROMPT + body + "\n", True)


def test_a_comment_at_the_margin_inside_the_function_does_not_end_it() -> None:
    body = "    y = x\n# twice\n    return y * 2\n"
    assert continued(body) == code.Extracted(PROMPT + body, False)


def test_a_comment_after_the_function_ends_it() -> None:
    assert continued(BODY + "\n# Now the tests, which never come") == code.Extracted(PROMPT + BODY + "\n", True)


def test_a_docstring_alone_is_no_function_yet() -> None:
    restated = "def double(x):\n    return x + x\n"
    assert continued(restated + "\nprint(1)").code == PROMPT + restated + "\n"


def test_an_unfinished_function_is_left_as_it_is() -> None:
    assert continued("    if x:\n        return (") == code.Extracted(PROMPT + "    if x:\n        return (", False)


def test_helpers_may_follow_where_only_named_lines_end_a_program() -> None:
    text = "def double(x):\n    return add(x, x)\n\ndef add(a, b):\n    return a + b\n"
    assert code.continuation("", text + "\nassert double(1) == 2\n", "double", ["assert"]).code == text + "\n"
    assert code.continuation("", text + "\ndef unfinished(", "double", ["assert"]) == code.Extracted(text + "\n", True)


@pytest.mark.parametrize("token", [*code.END_TOKENS, *code.FINAL_TOKENS])
def test_end_tokens_that_a_server_sends_as_text_are_dropped(token: str) -> None:
    assert continued(BODY + token).code == PROMPT + BODY
    assert continued(BODY.rstrip() + token).code == PROMPT + BODY.rstrip()


def test_nothing_counts_after_an_end_token_and_half_a_token_is_none() -> None:
    assert continued("    return 2 * x<|endoftext|>def double(x): pass").code == PROMPT + "    return 2 * x"
    assert continued("    return 2 * x\n<|endof").code == PROMPT + BODY


def test_code_may_spell_html() -> None:
    text = '    return "<s>" + x + "</s>" + "<eos>"\n'
    assert continued(text).code == PROMPT + text


def test_carriage_returns_are_no_part_of_the_code() -> None:
    assert continued("    y = x\r\n    return y + x\r\n").code == PROMPT + "    y = x\n    return y + x\n"


def test_a_fence_around_a_continuation_is_not_code() -> None:
    assert ast.parse(continued("```python\n" + BODY + "```\n").code)
    assert continued("```python\ndef double(x):\n    return x * 2\n```").code == "def double(x):\n    return x * 2\n"


FUNCTION = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    "text",
    [
        f"Sure!\n\n```python\n{FUNCTION}```\nIt doubles.",
        f"```\n{FUNCTION}```",
        f"```Python\n{FUNCTION}\n```\n\n```python\nprint(double(3))\n```",
        f"First run:\n```bash\npip install x\n```\nThen:\n```py\n{FUNCTION}```",
        f"~~~python\n{FUNCTION}~~~",
        f"````python\n{FUNCTION}````",
        f"1. The code:\n\n   ```python\n{textwrap.indent(FUNCTION, '   ')}   ```\n2. Done",
        f"<think>maybe ```python\ndef double(x): return 3\n```</think>```python\n{FUNCTION}```",
        f"thought without a beginning</think>\n```python\n{FUNCTION}```",
        f"```python\n{FUNCTION.rstrip()}```",
        f"```python\n{FUNCTION}```<|im_end|>",
        f"```python title=a.py\r\n{FUNCTION}```\r\n",
        FUNCTION,
        f"Here is the function:\n\n{FUNCTION}\nIt returns twice x.",
        f"```python\n{FUNCTION}\nprint(double(2))\nassert double(2) == 5\n```",
        f"```python\n{FUNCTION}\nif __name__ == '__main__':\n    print(double(int(input())))\n```",
        f"```python\n{FUNCTION}\nresult = double(3)\nn = input()\nfor i in range(3):\n    print(i)\n```",
    ],
)
def test_the_function_is_found_in_a_chat_answer(text: str) -> None:
    extracted = said(text)
    assert extracted.code.strip() == FUNCTION.strip()


def test_the_first_block_with_the_function_counts() -> None:
    shown = ("def helper():\n    pass\n", "def double(x):\n    return 1\n", "def double(x):\n    return 2\n")
    text = "".join(f"```python\n{each}```\n" for each in shown)
    assert "return 1" in said(text).code


def test_what_the_function_needs_stays() -> None:
    needed = (
        "import sys\nfrom math import (\n    sqrt,\n)\n\nsys.setrecursionlimit(10000)\nTABLE = {1: 2}\nmemo = dict()\n"
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n\nclass Box:\n    pass\n\n"
    )
    after = "\nLATER = [3]\n"
    assert (
        said(f"```python\n{needed}{FUNCTION}{after}print(1)\n```").code.rstrip() == (needed + FUNCTION + after).rstrip()
    )


@pytest.mark.parametrize("body", [BODY, "return 2 * x\n", "y = x\n    return y + x\n"])
def test_the_body_alone_completes_the_prompt(body: str) -> None:
    extracted = said(f"The body:\n```python\n{body}```")
    assert code.is_complete(extracted.code, "double")
    namespace: dict[str, object] = {}
    exec(extracted.code, namespace)
    assert namespace["double"](4) == 8  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["", "I cannot do that.", "From the list, import what you need.\n", "<think>still thinking"]
)
def test_prose_is_no_code(text: str) -> None:
    assert said(text).code.strip() == ""


def test_an_answer_that_the_limit_cut_has_not_ended() -> None:
    assert not said(f"```python\n{FUNCTION}").ended
    assert said(f"```python\n{FUNCTION}```").ended
    cut = said("```python\ndef double(x):\n    if x:\n        return (x +")
    assert not cut.ended
    assert cut.code.startswith("def double")
    helper = said(f"```python\n{FUNCTION}\ndef unfinished(a, b")
    assert helper.ended
    assert helper.code.rstrip() == FUNCTION.rstrip()


def test_a_wrong_name_is_shown_as_it_is() -> None:
    assert said("```python\ndef Double(x):\n    return 2 * x\n```", "").code == "def Double(x):\n    return 2 * x\n"


def test_the_surroundings_of_a_function_are_its_imports_and_helpers() -> None:
    source = "import math\n\ndef helper(x):\n    return math.sqrt(x)\n\n" + PROMPT + BODY
    assert code.surroundings(source, "double") == "import math\ndef helper(x):\n    return math.sqrt(x)\n"
    with pytest.raises(ValueError, match="parse"):
        code.surroundings("def (", "double")


MARKS = ["```", "```python\n", "~~~", '"""', "<think>", "</think>", "<|endoftext|>", "<|", "</s>"]
CODE = ["def double(x):\n", "    return x\n", "import a\n", "print(double(1))\n", "    ", "x", "#", "(", ")"]
OTHER = ["\n", "\\", "\x00", "\r\n", "\t", "é"]
pieces = st.lists(st.sampled_from([*MARKS, *CODE, *OTHER]), max_size=14).map("".join)


@given(pieces | st.text(max_size=60))
def test_any_answer_is_cut_and_never_refused(text: str) -> None:
    cut = code.continuation(PROMPT, text, "double")
    if not text.lstrip().startswith(("```", "~~~")):
        assert (PROMPT + text.replace("\r\n", "\n")).startswith(cut.code)
    whole = code.conversation(PROMPT, text, "double")
    assert code.conversation(PROMPT, text, "double") == whole
    if code.is_complete(whole.code, "double"):
        assert "print(double" not in whole.code.split("\n")


@given(pieces)
def test_cutting_again_changes_nothing(text: str) -> None:
    once, _ = code.cut(PROMPT, text, "double")
    assert code.cut(PROMPT, once, "double")[0] == once


@given(st.integers(1, 4000))
def test_deep_nesting_ends_the_parser_and_not_the_program(depth: int) -> None:
    for opening in ("(", "-", "[", "if x:\n "):
        text = "    return " + opening * depth
        assert code.continuation(PROMPT, text, "double").code.startswith(PROMPT)
