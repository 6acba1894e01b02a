"""The part of the chat screen that runs Hone's own commands, asked for by a slash command or in plain words."""

import asyncio
import threading
from contextlib import closing
from dataclasses import dataclass

from textual import on, work
from textual.message import Message as Posted

from assistant import sessions
from assistant.errors import HoneError
from assistant.sessions import Session
from tui.chat.answers import AnswersScreen
from tui.chat.conversation import UserMessage
from tui.chat.ops import known, lines, requests
from tui.chat.ops.card import JobCard, ResultCard, told
from tui.chat.ops.confirming import ConfirmScreen
from tui.chat.ops.requests import Request
from tui.chat.ops.running import Done

_MOST_LINES = 120
"""Of a command's output that are shown."""


@dataclass
class _Ran(Posted):
    """A command has ended; `session` is the conversation that it was asked in."""

    words: tuple[str, ...]
    done: Done
    session: Session


class OperatingScreen(AnswersScreen):
    async def _requested(self, text: str) -> bool:
        """Whether a line that is no slash command asks for something that Hone does itself; if so it is proposed."""
        if not requests.may_be(text):
            return False
        try:
            there = await asyncio.to_thread(known.read)
            request = requests.recognized(text, there)
        except HoneError:
            # The model may be asked all the same.
            return False
        if request is None:
            return False
        self._propose(request, there, text)
        return True

    async def _command(self, name: str, argument: str) -> None:
        """A slash command: what only looks is run at once, all else is confirmed first.

        Raises:
            HoneError: it cannot be read, or there is nothing it could be about.
        """
        request = Request(name, tuple(lines.words_of(argument)))
        self._propose(request, await asyncio.to_thread(known.read), "")

    @work(exclusive=True, group="propose")
    async def _propose(self, request: Request, there: known.Known, typed: str) -> None:
        try:
            line = lines.completed(request.name, request.words, there)
        except HoneError as error:
            await self._say(str(error), "error")
            return
        if not typed and lines.only_looks(line.words):
            await self._start(line.words)
            return
        decided = await self.app.push_screen_wait(ConfirmScreen(line, typed))
        if decided.to_model:
            await self._ask(typed)
        elif decided.words:
            if typed:
                await self._conversation.add(UserMessage(typed))
            await self._start(decided.words)
        elif typed and not self._prompt.text:
            self._prompt.put(typed)

    async def _start(self, words: tuple[str, ...]) -> None:
        self._conversation.anchor()
        line = lines.Line(words).text
        await self._say(f"$ {line}")
        flags = ("--json",) if lines.becomes_job(words) and "--json" not in words else ()
        session = self._session

        def run() -> None:
            try:
                done = self._services.run((*words, *flags))
            except OSError as error:
                done = Done(1, "", f"hone: {error.strerror or error}")
            self.post_message(_Ran(words, done, session))

        # Not one of the app's workers: leaving does not wait for it, and it goes on to its end.
        threading.Thread(target=run, name="command", daemon=True).start()

    @on(_Ran)
    async def _ran(self, event: _Ran) -> None:
        done = event.done
        if lines.becomes_job(event.words) and done.code == 0 and done.job:
            if event.session.id == self._session.id:
                self._keep(lambda: self._session.follows(done.job))
                await self._conversation.add(JobCard(done.job))
            else:
                self._keep(lambda: _follow_from(event.session, done.job))
                self.notify(
                    f"Job {done.job} belongs to the conversation before: hone --session {event.session.id}; "
                    "/jobs shows it too",
                    markup=False,
                )
            return
        printed = "\n".join(each.rstrip() for each in (done.out, done.err) if each.strip())
        if done.code and not done.out.strip():
            await self._say(done.refusal, "error")
        else:
            await self._say(_cut(printed) or "done", "error" if done.code else "info")

    @on(JobCard.Ended)
    async def _job_ended(self, event: JobCard.Ended) -> None:
        identifier, outcome = event.card.identifier, event.outcome
        if identifier in self._session.conversation.jobs:
            self._keep(lambda: self._session.followed(identifier))
        if outcome is None:
            return
        await self._conversation.add(ResultCard(outcome))
        if outcome.next:
            self._prompt.suggest(tuple(each.line for each in outcome.next))
            await self._say(told(outcome))

    @on(ResultCard.Wanted)
    def _wanted(self, event: ResultCard.Wanted) -> None:
        self._prompt.put(event.line)
        self.set_focus(self._prompt)
        if not event.line.endswith(" "):
            self._prompt.action_submit()


def _follow_from(session: Session, job: str) -> None:
    """Keeps a job with a conversation that the user has gone away from, which stays one that was left in order."""
    with closing(sessions.open_session(session.id) if session.path.exists() else session) as kept:
        kept.follows(job)
        kept.leave()


def _cut(text: str) -> str:
    rows = text.split("\n")
    more = len(rows) - _MOST_LINES
    return text if more <= 0 else "\n".join([*rows[:_MOST_LINES], f"… {more} more lines; run it in a terminal"])
