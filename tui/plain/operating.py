"""The part of the chat by lines that runs Hone's own commands, and follows the jobs that they start to their end."""

import shutil
import threading
from dataclasses import dataclass

from assistant.errors import HoneError, UsageError
from assistant.sessions import Session
from tui.chat.ops import known, lines, requests
from tui.chat.ops.looking import Looked
from tui.chat.ops.outcome import Outcome, headline, laid_out
from tui.chat.ops.requests import Request
from tui.chat.ops.running import Done
from tui.chat.services import Services
from tui.jobs.described import progress_words
from tui.plain.following import Following, Seen
from tui.plain.live import LiveChat
from tuning.jobs.state import Status


@dataclass(frozen=True)
class _Ran:
    done: Done


class OperatingChat(LiveChat):
    def __init__(self, services: Services, session: Session, model: str | None, typed: int, terminal: bool) -> None:
        super().__init__(services, session, model, typed, terminal)
        self._following = Following(self.post)
        self._seen: dict[str, str] = {}
        """What was told last of each job."""
        self._ran: Done | None = None
        self._runs = False
        self._offers: tuple[str, ...] = ()
        """Lines that are chosen by typing their number."""

    def _handle(self, event: object) -> None:
        match event:
            case _Ran():
                self._runs, self._ran = False, event.done
            case Seen():
                if event.identifier in self._following.jobs:
                    self._saw(event.identifier, event.looked)
            case _:
                super()._handle(event)

    def _interrupt(self) -> None:
        if self._runs and self._terminal:
            self._note("the command goes on to its end")
        else:
            super()._interrupt()

    # Commands

    def _requested(self, text: str) -> bool:
        """Whether a line that is no slash command asks for something that Hone does itself; if so it is proposed."""
        if not requests.may_be(text):
            return False
        try:
            there = known.read()
            request = requests.recognized(text, there)
        except HoneError:
            # The model may be asked all the same.
            return False
        if request is None:
            return False
        self._propose(request, there, text)
        return True

    def _operate(self, name: str, argument: str) -> None:
        """A slash command: what only looks is run at once, all else is confirmed first.

        Raises:
            HoneError: it cannot be read, or there is nothing it could be about.
        """
        self._propose(Request(name, tuple(lines.words_of(argument))), known.read(), "")

    def _propose(self, request: Request, there: known.Known, typed: str) -> None:
        line = lines.completed(request.name, request.words, there)
        if not typed and lines.only_looks(line.words):
            self._run(line.words)
            return
        self._say(f"Run this command?\n  {line.text}" + (f"\n  {line.note}" if line.note else ""))
        choices = "y runs it, n does not" + (", m asks the model instead" if typed else "")
        while (reply := self._answer_to(f"{choices}; or type the line as it should be")) is not None:
            match reply.strip().lower():
                case "y" | "yes":
                    self._run(line.words)
                    return
                case "n" | "no" | "":
                    break
                case "m" if typed:
                    self._ask(typed)
                    return
            try:
                self._run(lines.read(reply))
                return
            except UsageError as error:
                self._note(str(error))
        self._note("nothing was run")

    def _run(self, words: tuple[str, ...]) -> None:
        """Runs a command line of Hone's to its end; a job that it started is followed from then on."""
        self._say(f"$ {lines.Line(words).text}")
        becomes_job = lines.becomes_job(words)
        flags = ("--json",) if becomes_job and "--json" not in words else ()

        def run() -> None:
            try:
                done = self._services.run((*words, *flags))
            except OSError as error:
                done = Done(1, "", f"hone: {error.strerror or error}")
            self.post(_Ran(done))

        self._runs = True
        # It goes on to its end when the chat is left.
        threading.Thread(target=run, name="command", daemon=True).start()
        self._until(lambda: not self._runs)
        done = self._ran
        assert done is not None
        if becomes_job and done.code == 0 and done.job:
            self._keep(lambda: self._session.follows(done.job))
            self._note(f"job {done.job} has begun; it goes on when this chat is left")
            self._following.add(done.job)
        elif done.code and not done.out.strip():
            self._fail(done.refusal)
        else:
            self._print_output(done)

    def _print_output(self, done: Done) -> None:
        if done.err.strip():
            self._note("\n".join(line.removeprefix("hone: ") for line in done.err.rstrip().split("\n")))
        self.failed = self.failed or bool(done.code)
        self._say(done.out.rstrip() or "done")

    # Jobs

    def _follow_kept(self) -> None:
        """The jobs of the conversation whose end was not shown yet."""
        for identifier in self._session.conversation.jobs:
            self._following.add(identifier)

    def _unfollow(self) -> None:
        for identifier in self._following.jobs:
            self._following.remove(identifier)
        self._seen.clear()

    def _saw(self, identifier: str, looked: Looked) -> None:
        status = looked.status
        if status is None:
            self._tell_once(identifier, f"job {identifier}: {looked.said or 'it was removed'}")
            if not looked.said:
                self._end_following(identifier)
        elif looked.outcome is None:
            self._tell_once(identifier, _where(status, looked))
        else:
            self._end_following(identifier)
            self._show(looked.outcome)

    def _tell_once(self, identifier: str, line: str) -> None:
        """What is new of a job; figures that change at each look are told with the next step."""
        step = line.partition("  ")[0]
        if self._seen.get(identifier) != step:
            self._seen[identifier] = step
            self._note(line)

    def _end_following(self, identifier: str) -> None:
        self._following.remove(identifier)
        self._seen.pop(identifier, None)
        if identifier in self._session.conversation.jobs:
            self._keep(lambda: self._session.followed(identifier))

    def _show(self, outcome: Outcome) -> None:
        """What came of a job, and what can be done next."""
        told = [headline(outcome), *([outcome.why] if outcome.why else [])]
        told += [f"{name}: {value}" for name, value in outcome.fields]
        width = shutil.get_terminal_size().columns
        told += [laid_out(table, width) for table in outcome.tables]
        self._say("\n".join([*told, *([outcome.verdict] if outcome.verdict else [])]))
        good = outcome.passed if outcome.passed is not None else outcome.state == "done"
        self.failed = self.failed or not good
        self._offer([(each.line.strip(), each.does) for each in outcome.next])

    def _offer(self, rows: list[tuple[str, str]]) -> None:
        """Lines to choose from, each with what it does."""
        self._offers = tuple(line for line, _ in rows)
        if rows:
            shown = [f"{number}  {line}  {does}".rstrip() for number, (line, does) in enumerate(rows, start=1)]
            self._say("\n".join([*shown, "Type a number to choose"]))

    def _chosen(self, text: str) -> str:
        """The line that a number stands for; any other line is itself, and ends the choice."""
        offers, self._offers = self._offers, ()
        number = text.strip()
        return offers[int(number) - 1] if number.isdecimal() and 1 <= int(number) <= len(offers) else text


def _where(status: Status, looked: Looked) -> str:
    """What is told of a job under way; what stands behind two blanks changes all the time."""
    line = f"job {status.job.id}, {status.spec.name}: "
    if status.state != "running":
        return line + (f"{status.state}: {status.why}" if status.why else status.state)
    point = looked.point
    if point is None or point.share >= 1:
        return f"{line}{status.step} runs"
    figures = progress_words(point, runs=True).partition("  ")[2]
    return f"{line}{status.step} has done {int(point.share * 10) * 10} %  {figures}"
