"""The end of a log that goes on."""

import os
from pathlib import Path

_BLOCK = 1 << 16


class Tail:
    """Reads a file on, line by line. A file that shrinks or goes is begun anew when it is there again."""

    def __init__(self, file: Path, lines: int) -> None:
        """
        Args:
            lines: how many before the end to begin with.
        """
        self._file = file
        self._offset = self._start(lines)

    def read_on(self, whole: bool = True) -> list[str]:
        """What was added; a line that has no end yet waits for it unless not `whole`.

        Of a line that is written over again and again by carriage returns, what stood there last.
        """
        try:
            with self._file.open("rb") as opened:
                if opened.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0
                opened.seek(self._offset)
                data = opened.read()
        except OSError:
            return []
        if whole:
            data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        lines = data.decode("utf-8", "replace").split("\n")
        if lines[-1] == "":
            lines.pop()
        return [line.rstrip("\r").rpartition("\r")[2] for line in lines]

    def _start(self, lines: int) -> int:
        """The offset of the line that is so many before the end."""
        try:
            with self._file.open("rb") as opened:
                at = opened.seek(0, os.SEEK_END)
                missing = lines + 1
                while at > 0:
                    size = min(_BLOCK, at)
                    at -= size
                    opened.seek(at)
                    block = opened.read(size)
                    found = block.count(b"\n")
                    if found >= missing:
                        for _ in range(found - missing + 1):
                            block = block[block.index(b"\n") + 1 :]
                        return at + size - len(block)
                    missing -= found
        except OSError:
            pass
        return 0
