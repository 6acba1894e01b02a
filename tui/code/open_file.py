"""Opening a file by a part of its name, in Textual's palette."""

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from tui.inert import inert

if TYPE_CHECKING:
    from tui.code.screen import CodeScreen

_DISCOVERED = 30
_AT_ONCE = 200
"""Files that are compared before the keyboard is looked at again."""


class FileProvider(Provider):
    """The changed files first, then those whose path has the typed letters in their order."""

    @property
    def _code(self) -> "CodeScreen":
        return cast("CodeScreen", self.screen)

    async def discover(self) -> Hits:
        files = self._code.files
        for path in [*files.status, *files.paths][:_DISCOVERED]:
            yield DiscoveryHit(inert(path), partial(self._code.open_path, path))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        near = re.compile(".*".join(map(re.escape, query.replace(" ", ""))), re.IGNORECASE)
        for number, path in enumerate(self._code.files.paths):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if near.search(path) and (score := matcher.match(path)) > 0:
                yield Hit(score, Content(inert(path)), partial(self._code.open_path, path), text=path)
