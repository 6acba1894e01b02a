"""Two answers beside each other, or one below the other where the output is narrow or no terminal."""

import sys
from collections.abc import Sequence

from tui.commands.answering import Answered, write
from tui.inert import inert

_WIDE = 100
"""Columns from which two answers fit beside each other."""


def side_by_side(names: Sequence[str], answers: Sequence[Answered]) -> None:
    """Prints two answers with their models and speeds."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    heads = [heading(name, answer) for name, answer in zip(names, answers, strict=True)]
    if not sys.stdout.isatty() or console.width < _WIDE:
        for head, answer in zip(heads, answers, strict=True):
            write(f"── {head}\n{answer.text.rstrip()}\n\n")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, show_lines=False)
    for head in heads:
        table.add_column(Text(head), ratio=1, overflow="fold")
    table.add_row(*(Text(inert(answer.text.rstrip())) for answer in answers))
    console.print(table)


def heading(name: str, answer: Answered) -> str:
    speed, tokens = answer.details.get("tokens_per_second"), answer.details.get("completion_tokens")
    figures = [f"{tokens} tokens" if tokens is not None else "", f"{speed:.0f} tok/s" if speed else ""]
    cut = {"length": "cut at the token limit", "cancelled": "stopped"}.get(answer.finish, "")
    return " · ".join(part for part in (inert(name), *figures, cut) if part)
