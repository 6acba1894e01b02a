"""The paths on which clients tell what became of an answer: Hone's own and Tabby's, for every kind of gateway."""

import asyncio

from assistant.gateway import outcomes, tabby
from assistant.gateway.app import Exchange, Routes


class Told:
    """
    Args:
        journal: of the answers that were given lately.
        spec: the default model, which Tabby's clients show.
    """

    def __init__(self, journal: outcomes.Journal, spec: str) -> None:
        self._journal = journal
        self._spec = spec

    def routes(self) -> Routes:
        return {
            "/v1/feedback": {"POST": self._feedback},
            "/v1/events": {"POST": self._tabby_event},
            "/v1/health": {"GET": self._tabby_health, "POST": self._tabby_health},
            "/v1beta/server_setting": {"GET": self._tabby_setting},
        }

    async def _feedback(self, exchange: Exchange) -> None:
        await self._record(outcomes.parse_feedback(await exchange.body()), "id", exchange)

    async def _tabby_event(self, exchange: Exchange) -> None:
        event = tabby.parse_event(await exchange.body(), exchange.query)
        await self._record(outcomes.from_tabby(event), "completion_id", exchange)

    async def _record(self, outcome: outcomes.Outcome, field: str, exchange: Exchange) -> None:
        given = self._journal.find(outcome.identifier, field)
        await asyncio.to_thread(outcomes.record, outcome, given)
        await exchange.reply(200, {"id": outcome.identifier, "kind": outcome.kind})

    async def _tabby_health(self, exchange: Exchange) -> None:
        await exchange.reply(200, tabby.health(self._spec))

    async def _tabby_setting(self, exchange: Exchange) -> None:
        await exchange.reply(200, tabby.SERVER_SETTING)
