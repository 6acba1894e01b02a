"""The part of the chat screen for what is done with answers and their code: copy, apply, rate, edit and ask again."""

from textual import on, work

from assistant import conversations
from assistant.conversations import Message
from assistant.errors import HoneError
from assistant.sessions import Session
from assistant.skills import edits, questions
from assistant.skills.blocks import Code, code_of, split
from assistant.skills.edits import Written
from assistant.skills.material import Material
from assistant.skills.mentions import Place
from tui.chat import clipboard
from tui.chat.answer import Answer
from tui.chat.applying import ApplyScreen
from tui.chat.conversation import Conversation
from tui.chat.conversing import ConversingScreen
from tui.chat.proposed import last_code
from tui.chat.rating import Rating, rate
from tui.chat.services import Services
from tui.places import Send


class AnswersScreen(ConversingScreen):
    def __init__(self, services: Services, session: Session, model: str | None) -> None:
        super().__init__(services, session, model)
        self._changes: list[Written] = []

    def action_walk(self) -> None:
        if not self._conversation.walk():
            self.notify("There is nothing to walk through yet")

    @on(Conversation.Left)
    def _left(self) -> None:
        self.set_focus(self._prompt)
        self._conversation.anchor()

    @on(Conversation.Chosen)
    async def _chosen(self, event: Conversation.Chosen) -> None:
        message = self._conversation.message_of(event.entry)
        if message is None:
            self.notify("This answer is still being written", severity="warning")
            return
        try:
            await self._do(event, message)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)

    async def _do(self, event: Conversation.Chosen, message: Message) -> None:
        messages = self._session.conversation.messages
        at = next((index for index, one in enumerate(messages) if one is message), None)
        asked = next((one for one in reversed(messages[:at]) if one.role == "user"), None) if at else None
        code = event.entry.code_source(event.code) if event.code and isinstance(event.entry, Answer) else None
        match event.action:
            case "copy":
                self._copy(code.text if code else message.text)
            case "apply" if message.role == "assistant":
                blocks = [one for one in split(message.text) if isinstance(one, Code) and one.text.strip()]
                if not (code or blocks):
                    raise HoneError("this answer has no code")
                self._apply((code or blocks[-1]).text, "", questions.target_of(asked) if asked else None)
            case "editor" if message.role == "assistant":
                self._send_to_editor(message, code)
            case "edit":
                question = message if message.role == "user" else asked
                self._fork_at = next((index for index, one in enumerate(messages) if one is question), None)
                if question is None or self._fork_at is None:
                    raise HoneError("this question was not asked, so there is nothing to edit")
                self._prompt.put(question.text)
                self.set_focus(self._prompt)
                self.notify("Enter asks the edited question in a copy of the conversation; Esc keeps this one")
            case "up" | "down" if message.role == "assistant":
                if at is None:
                    raise HoneError("this answer is no part of the conversation")
                self._rate(event.action, self._session.conversation, at)
            case "retry":
                await self._retry(message if message.role == "user" else asked)
                self.set_focus(self._prompt)
            case _:
                raise HoneError("that is for answers, and this is a question")

    def _send_to_editor(self, message: Message, code: Code | None) -> None:
        """A block of code, or of a whole answer its last one."""
        blocks = [one for one in split(message.text) if isinstance(one, Code) and one.text.strip()]
        if not (code or blocks):
            raise HoneError("this answer has no code")
        chosen = code or blocks[-1]
        self.set_focus(self._prompt)
        self.post_message(Send("code", chosen.text, chosen.language))

    @work(thread=True, group="feedback")
    def _rate(self, kind: Rating, conversation: conversations.Conversation, at: int) -> None:
        try:
            told, severity = rate(self._services.feedback(), kind, conversation, at), "information"
        except HoneError as error:
            told, severity = str(error), "error"
        self.app.call_from_thread(self.notify, told, severity=severity, markup=False)

    def action_copy_code(self) -> None:
        answers = [message for message in self._session.conversation.messages if message.role == "assistant"]
        blocks = code_of(answers[-1].text) if answers else []
        if not blocks:
            self.notify("The last answer has no code" if answers else "There is no answer yet", severity="warning")
            return
        self._copy("\n".join(blocks))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self._copy_checked(text)

    @work(thread=True, exclusive=True, group="copy")
    def _copy_checked(self, text: str) -> None:
        outcome = clipboard.copy(text, self._services.clipboard())
        severity = "warning" if outcome == "too long" else "information"
        self.app.call_from_thread(self.notify, clipboard.told(outcome, text), severity=severity, markup=False)

    def _apply_last(self, path: str) -> None:
        code = last_code(self._session.conversation.messages)
        self._apply(code.text, path, code.shown)

    @work(exclusive=True, group="apply")
    async def _apply(self, code: str, path: str, shown: Material | None) -> None:
        place = Place.here()
        written = await self.app.push_screen_wait(
            ApplyScreen(code, path or (shown.path if shown else ""), place, shown)
        )
        if written is not None:
            self._changes.append(written)
            await self._say(f"written: {written.path.name}; /undo takes it back")

    async def _undo(self) -> None:
        if not self._changes:
            raise HoneError("no change was applied in this window")
        await self._say(f"taken back: {edits.undo_last(self._changes).path.name}")
