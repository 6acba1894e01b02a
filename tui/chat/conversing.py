"""The part of the chat screen for conversations: asking, asking again, forking, and going on with another one."""

import asyncio
from contextlib import closing

from textual import on, work
from textual.widgets import TextArea

from assistant import sessions
from assistant.conversations import Message
from assistant.errors import HoneError
from assistant.sessions import Session
from tui.chat import commands
from tui.chat.conversation import UserMessage
from tui.chat.live import LiveScreen
from tui.chat.services import Services
from tui.chat.sessions_list import SessionsPicker
from tui.soon import Soon

_DRAFT_SECONDS = 0.6
_DRAFT_LATEST = 3.0
"""From a key until what was typed is on disk, however fast it goes on."""


class ConversingScreen(LiveScreen):
    def __init__(self, services: Services, session: Session, model: str | None) -> None:
        super().__init__(services, session, model)
        self._draft_soon = Soon(self, self._save_draft, _DRAFT_SECONDS, _DRAFT_LATEST)
        self._fork_at: int | None = None
        """The next prompt replaces the question at this place of the conversation, in a copy of what was before it."""

    async def _ask(self, text: str, again: Message | None = None) -> None:
        waits = self._under_way is not None or bool(self._waiting) or self._status.state == "loading"
        self._draft_soon.drop()
        # Also when it need not wait: until the backend has read what it mentions it stands nowhere else.
        self._keep(lambda: self._session.queued(text))
        loading = self._status.state == "loading"
        note = ("waits until the model is loaded" if loading else "waits for its turn") if waits else ""
        message = UserMessage(text, note)
        await self._conversation.add(message)
        self._conversation.remember(message, Message("user", text))
        self._conversation.anchor()
        self._prompt.suggest(())
        self._waiting[self._backend.ask(text, self._session, again)] = message
        self._update(queued=len(self._waiting) if waits else 0)

    async def _clear(self) -> None:
        self._check_idle()
        left = self.session_id
        await self._become(sessions.new())
        if left:
            self.notify(f"The conversation before is kept: hone --session {left}", markup=False)

    async def _become(self, session: Session) -> None:
        """Goes on with another conversation."""
        self._draft_soon.drop()
        self._keep(self._session.leave)
        self._session.close()
        self._session = session
        self._fork_at = None
        self._told.clear()
        self._meter = ""
        await self._show_conversation()
        self._update(used=None, tokens_per_second=None)

    def _check_idle(self) -> None:
        if self._under_way is not None or self._waiting:
            raise HoneError("an answer is still under way; stop it with Esc first")

    async def _fork(self, count: int) -> bool:
        """Goes on in a copy of the conversation's first `count` messages; the conversation itself stays as it is."""
        try:
            self._check_idle()
            left = self._session.id
            await self._become(sessions.fork(self._session.conversation, count))
        except HoneError as error:
            await self._say(str(error), "error")
            return False
        self.notify(f"The conversation before is kept: hone --session {left}", markup=False)
        return True

    async def _retry(self, question: Message | None = None) -> None:
        """Asks a question (the last one) again, as it was, in a copy of what was before it."""
        self._check_idle()
        messages = self._session.conversation.messages
        asked = [
            index for index, one in enumerate(messages) if one.role == "user" and (question is None or one is question)
        ]
        if not asked:
            raise HoneError("there is no question yet that could be asked again")
        again = messages[asked[-1]]
        if await self._fork(asked[-1]):
            await self._ask(again.text, again)

    @work(exclusive=True, group="sessions")
    async def _list_sessions(self, query: str) -> None:
        # Every conversation is read; that can take seconds.
        found = await asyncio.to_thread(sessions.listing)
        picker = SessionsPicker(found, self._session.id, self._rename, query)
        chosen = await self.app.push_screen_wait(picker)
        if chosen is None or chosen == self._session.id:
            return
        try:
            self._check_idle()
            opened = sessions.open_session(chosen)
        except HoneError as error:
            await self._say(str(error), "error")
            return
        await self._become(opened)
        if opened.conversation.draft:
            self._prompt.put(opened.conversation.draft)

    def _rename(self, identifier: str, name: str) -> None:
        if identifier == self._session.id:
            self._session.rename(name)
            self._show_title()
            return
        with closing(sessions.open_session(identifier)) as opened:
            opened.rename(name)

    def _compare(self, argument: str) -> None:
        models, text, history = commands.comparison(argument, self._session.conversation.messages)
        self._waiting[self._backend.compare(text, history, models)] = None

    # Drafts

    @on(TextArea.Changed, "#prompt")
    def _typed(self) -> None:
        self._draft = self._prompt.text
        self._draft_soon.changed()

    def _save_draft(self) -> None:
        self._keep(lambda: self._session.draft(self._draft))
