"""Plain readable output of reports: tables and fields for people, one JSON object for machines."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 1
_PIPED_WIDTH = 200


def print_json(report: Mapping[str, Any]) -> None:
    """One JSON object with `schema_version` on standard output."""
    sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **report}, ensure_ascii=False) + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table without lines; as wide as the terminal, or as it needs when piped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        # Text, not str: names may hold what rich would take for markup.
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(width=width, highlight=False).print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One `name  value` line per field; what is empty is left out, what is nested is indented."""
    for line in _field_lines(fields, ""):
        sys.stdout.write(line + "\n")


def _field_lines(fields: Mapping[str, Any], indent: str) -> list[str]:
    shown = {key: value for key, value in fields.items() if value not in (None, "", {}, [])}
    width = max((len(key) for key in shown), default=0)
    lines: list[str] = []
    for key, value in shown.items():
        label = key.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{label}", *_field_lines(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            lines.append(f"{indent}{label}")
            for item in value:
                lines += _field_lines(item, indent + "  ") if isinstance(item, Mapping) else [f"{indent}  {item}"]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append(f"{indent}{label:<{width}}  {text}")
    return lines
