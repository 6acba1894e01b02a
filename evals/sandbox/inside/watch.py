"""What the processes below one have used, from /proc (proc(5), stat and statm)."""

import os
from dataclasses import dataclass

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """`cpu_seconds` has those of ended children that were waited for; `resident_bytes` has no pages of files."""

    processes: tuple[int, ...]
    cpu_seconds: float
    resident_bytes: int


def below(root: int) -> Usage:
    """All descendants of `root`, living and zombies. Processes that end meanwhile are left out."""
    table: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (line := _read(name, "stat")):
            # The name of the program may hold spaces and brackets.
            fields = line[line.rindex(")") + 2 :].split()
            table[int(name)] = int(fields[1]), sum(map(int, fields[11:15]))
    found: list[int] = []
    children: dict[int, list[int]] = {}
    for process, (parent, _) in table.items():
        children.setdefault(parent, []).append(process)
    queue = [root]
    while queue:
        of = children.get(queue.pop(), [])
        found += of
        queue += of
    resident = sum(_resident(process) for process in found)
    return Usage(tuple(found), sum(table[process][1] for process in found) / _TICK, resident)


def _resident(process: int) -> int:
    fields = _read(str(process), "statm").split()
    return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0


def _read(process: str, name: str) -> str:
    try:
        with open(f"/proc/{process}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
