"""`hone --plain`: the whole chat by lines, for screen readers and for terminals that the app does not fit."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from assistant import sessions, transcripts
from assistant.conversations import Conversation, Message
from assistant.errors import HoneError, UsageError
from assistant.sessions import Session
from assistant.skills import edits
from assistant.skills.blocks import code_of
from assistant.skills.edits import Hunk, Written
from assistant.skills.mentions import Place
from tui.chat import clipboard, commands, models
from tui.chat.endings import ENDINGS
from tui.chat.ops import lines
from tui.chat.proposed import last_code, proposed, rows
from tui.chat.rating import Rating, rate
from tui.chat.services import Services
from tui.commands.answering import INTERRUPTED, note
from tui.plain.commands import NAMES, elsewhere, help_text, review_words
from tui.plain.live import Gone, Interrupted, Left
from tui.plain.operating import OperatingChat

_MOST_SESSIONS = 20
_MOST_RUNS = 20
_LONGEST_TITLE = 70


class PlainChat(OperatingChat):
    def __init__(self, services: Services, session: Session, model: str | None, typed: int, terminal: bool) -> None:
        super().__init__(services, session, model, typed, terminal)
        self._changes: list[Written] = []
        self._queued: str | None = None
        """The line that is obeyed now, while the session keeps it as one that waits."""

    def run(self) -> None:
        """Until the user leaves; where no person types, until all that was asked for has ended."""
        self._backend.start()
        self._lines.start()
        self._welcome()
        self._show_conversation()
        try:
            while (line := self._next_line()) is not None:
                text, kept = line
                self._queued = text if kept else None
                self._obey(text)
                self._settle()
            self._until(lambda: not self._following.jobs)
        except Left:
            for identifier in self._following.jobs:
                self._note(f"job {identifier} goes on; this conversation shows its end when it is opened again")

    def _settle(self) -> None:
        """The line is no question, or it was asked: it waits no more."""
        if (text := self._queued) is not None:
            self._queued = None
            self._keep(lambda: self._session.taken_back(text))

    def _ask(self, text: str, again: Message | None = None, kept: bool = False) -> None:
        if self._queued == text:
            # The question itself takes the line out of the queue.
            self._queued, kept = None, True
        self._settle()
        super()._ask(text, again, kept)

    def _become(self, session: Session) -> None:
        self._settle()
        self._unfollow()
        super()._become(session)

    def _obey(self, text: str) -> None:
        if not text.strip():
            return
        text = self._chosen(text)
        command = commands.parse(text.strip(), NAMES)
        try:
            if isinstance(command, str):
                raise UsageError(command)
            if isinstance(command, commands.Invocation) and command.name not in commands.SKILL_NAMES:
                self._command(command.name, command.argument)
            elif command is not None or not self._requested(text):
                self._ask(text)
        except HoneError as error:
            self._fail(str(error))

    def _command(self, name: str, argument: str) -> None:
        if name in lines.NAMES:
            self._operate(name, argument)
            return
        run: dict[str, Callable[[], object]] = {
            "help": lambda: self._say(help_text()),
            "model": lambda: self._switch(argument) if argument else self._list_models(),
            "compare": lambda: self._compare(argument),
            "sessions": lambda: self._list_sessions(argument),
            "open": lambda: self._open(argument),
            "rename": lambda: self._rename(argument),
            "export": lambda: self._export(argument or "md"),
            "retry": self._retry,
            "edit": lambda: self._edit(argument),
            "copy": self._copy,
            "apply": lambda: self._apply(argument),
            "undo": self._undo,
            "good": lambda: self._rate("up"),
            "bad": lambda: self._rate("down"),
            "context": lambda: self._say(self._meter or "nothing was asked yet"),
            "why": lambda: self._say(self._backend.why or "nothing was answered yet"),
            "clear": self._clear,
            "review": lambda: self._run(review_words(argument)),
            "evals": self._list_runs,
            "quit": self._quit,
        }
        if name not in run:
            raise UsageError(elsewhere(name))
        run[name]()

    # Conversations

    def _show_conversation(self) -> None:
        """Where it stands: the last question with its answer, what was typed and not asked, and its jobs."""
        kept = self._session.conversation
        if kept.messages:
            self._note(f"conversation {kept.id}, {len(kept.messages)} messages: {kept.title}")
            last = next((at for at in reversed(range(len(kept.messages))) if kept.messages[at].role == "user"), 0)
            for message in kept.messages[last:]:
                self._say(f"> {message.text}" if message.role == "user" else message.text)
                if message.finish in ENDINGS:
                    self._note(ENDINGS[message.finish])
        if kept.draft:
            self._note("this was typed and not asked:")
            self._offer([(kept.draft, "")])
        self._follow_kept()

    def _clear(self) -> None:
        left = self.session_id
        self._become(sessions.new())
        self._note("a new conversation" + (f"; the one before is kept: /open {left}" if left else ""))

    def _list_sessions(self, words: str) -> None:
        hits = transcripts.search(words, sessions.listing())[:_MOST_SESSIONS]
        if not hits:
            raise HoneError("no conversation holds these words" if words else "there is no conversation yet")
        found = [hit.conversation for hit in hits]
        self._offer([(f"/open {one.id}", _described(one)) for one in found])

    def _open(self, spec: str) -> None:
        if not spec:
            raise UsageError("say which: /open ID; /sessions lists them")
        if spec == self._session.id:
            raise UsageError("this conversation is open already")
        self._become(sessions.open_session(spec))
        self._show_conversation()

    def _rename(self, name: str) -> None:
        self._session.rename(name)
        self._say(f"this conversation is called {self._session.conversation.title}" if name else "the name is gone")

    def _export(self, ending: str) -> None:
        from tui.chat.sessions_list import export

        self._say(f"written: {export(self._session.conversation, ending)}")

    def _last_question(self) -> int:
        messages = self._session.conversation.messages
        asked = [index for index, one in enumerate(messages) if one.role == "user"]
        if not asked:
            raise HoneError("there is no question yet that could be asked again")
        return asked[-1]

    def _retry(self) -> None:
        at = self._last_question()
        again = self._session.conversation.messages[at]
        self._fork(at)
        self._ask(again.text, again)

    def _edit(self, text: str) -> None:
        at = self._last_question()
        if not text:
            was = self._session.conversation.messages[at].text
            raise UsageError(f"say what to ask instead: /edit TEXT; it was: {was}")
        self._fork(at)
        self._ask(text)

    # Answers

    def _compare(self, argument: str) -> None:
        pair, text, history = commands.comparison(argument, self._session.conversation.messages)
        job = self._backend.compare(text, history, pair)
        self._under_way = job
        self._until(lambda: self._under_way is not job)

    def _rate(self, kind: Rating) -> None:
        conversation = self._session.conversation
        answers = [index for index, one in enumerate(conversation.messages) if one.role == "assistant"]
        if not answers:
            raise HoneError("there is no answer yet")
        self._say(rate(self._services.feedback(), kind, conversation, answers[-1]))

    def _copy(self) -> None:
        answers = [one for one in self._session.conversation.messages if one.role == "assistant"]
        blocks = code_of(answers[-1].text) if answers else []
        if not blocks:
            raise HoneError("the last answer has no code" if answers else "there is no answer yet")
        text = "\n".join(blocks)
        if clipboard.copy(text, self._services.clipboard()) != "checked":
            raise HoneError("there is no clipboard here that Hone can write; /apply FILE puts the code into a file")
        self._say(clipboard.told("checked", text))

    def _apply(self, path: str) -> None:
        code = last_code(self._session.conversation.messages)
        path = path or (code.shown.path if code.shown else "") or self._answer_to("Which file?") or ""
        change = proposed(code.text, path.strip(), Place.here(), code.shown)
        self._say(change.title)
        taken = self._taken(change.hunks, change.before or "")
        if not taken:
            self._note("nothing was written")
            return
        after = edits.chosen(change.before or "", change.hunks, taken)
        self._changes.append(edits.write(change.path, change.before, after))
        self._say(f"written: {change.name}; /undo takes it back")

    def _taken(self, hunks: tuple[Hunk, ...], before: str) -> list[int]:
        """The hunks that are to be written, by number."""
        taken: list[int] = []
        for number, hunk in enumerate(hunks):
            shown = [f"{sign} {line}".rstrip() for sign, line in rows(hunk, before)]
            self._say("\n".join([f"line {hunk.start + 1}", *shown]))
            reply = self._answer_to("y takes this change, n leaves it; a takes and q leaves it with all the rest")
            match (reply or "q").strip().lower():
                case "y" | "yes":
                    taken.append(number)
                case "a" | "all":
                    return [*taken, *range(number, len(hunks))]
                case "q" | "quit":
                    return taken
        return taken

    def _undo(self) -> None:
        if not self._changes:
            raise HoneError("no change was applied in this chat")
        self._say(f"taken back: {edits.undo_last(self._changes).path.name}")

    # Models and reports

    def _switch(self, name: str) -> None:
        self._loading = True
        self._backend.switch(name)
        self._until(lambda: not self._loading)

    def _list_models(self) -> None:
        self._say(models.table(self._services.rows(), self._shown_model.rpartition(" + ")[2]))

    def _list_runs(self) -> None:
        from evals.report import runs

        found = runs.all_runs()[:_MOST_RUNS]
        if not found:
            raise HoneError("nothing was measured yet; /eval does")
        for run in found:
            told = run.summary
            parts = [told.created[:16].replace("T", " "), ", ".join(told.tasks), ", ".join(told.models), told.change]
            self._say("; ".join([*(part for part in [*parts, told.decision] if part), str(run.folder)]))

    def _quit(self) -> None:
        raise Left


def _described(conversation: Conversation) -> str:
    title = " ".join(conversation.title.split())[:_LONGEST_TITLE]
    return f"{conversation.created[:16].replace('T', ' ')}  {title or '(a draft)'}"


def run(model: str | None, session: str | None, log: Path | None = None) -> int:
    """Chats by lines on standard input and output; returns the exit code.

    Args:
        session: the conversation to go on with; None: in a terminal the one here that broke off, else a new one.
        log: where what happens is written, to be told.

    Raises:
        HoneError: no such session, or one that is open elsewhere.
    """
    if not Path(os.curdir).exists():
        raise HoneError("the current folder no longer exists; change to another one")
    terminal = sys.stdin.isatty()
    broke_off = sessions.left_behind(Path.cwd()) if terminal and not session else None
    opened = sessions.open_session(session) if session else broke_off or sessions.new()
    chat = PlainChat(Services(), opened, model, sys.stdin.fileno(), terminal)
    if log is not None:
        note(f"what happens is written to {log}")
    signal.signal(signal.SIGINT, lambda *_: chat.post(Interrupted()))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: chat.post(Gone()))
    code = 0
    try:
        chat.run()
        if terminal and chat.session_id:
            note(f"to go on with this conversation: hone --plain --session {chat.session_id}")
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        # What a terminal that is gone answers.
        if error.errno != errno.EIO:
            raise
        return 1
    finally:
        # A second Ctrl+C may end a gateway that does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        chat.close()
    return code or (1 if chat.failed and not terminal else 0)
