"""Requests in plain language, without a model: a small grammar of verbs, paths, names and durations.

A line is a request only if the grammar accounts for every word of it, so ordinary questions stay questions. What comes
out is a command of the chat with its arguments; the user sees the command line and decides.
"""

import shlex
from dataclasses import dataclass

from tui.chat.ops.known import Adapter, Known
from tui.chat.ops.training_request import BETTER, HERE, MEASURE, NAME, PLACE, TELL, TUNE, TUNING, train
from tui.chat.ops.words import Words

LONGEST = 300
"""Characters; a longer text is no request."""
TASKS = (
    "humaneval",
    "mbpp",
    "mbpp-plus",
    "infill",
    "review",
    "review-lines",
    "review-fix",
    "repo",
    "repo-exec",
    "speed",
)
_SUBCOMMANDS = {
    "tune": (),
    "eval": (),
    "gate": (),
    "doctor": (),
    "models": ("list", "show", "pull", "promote", "rollback", "history", "export", "merge", "rm"),
    "jobs": ("list", "show", "logs", "stop", "resume", "rm", "why-pending"),
    "feedback": ("show", "export", "forget"),
}
_POLITE = (
    "please|hone|hey|hi|hello|ok|okay|now|so|then|just|kindly|and|,|;|i want to|i want you to|i would like to|let's|"
    "lets|i would like you to|i'd like to|i'd like you to|let us|go ahead and"
)
_ASKING = "can you|could you|would you|will you"
_CLOSING = "please|now|for me|thanks|thank you|right now|in the background|then|,|;"
_STARTS = f"{TUNE}|{MEASURE}|{TELL}|start|begin|run|compare|gate|promote|make|put|go live|go back|roll|rollback|undo"
_STARTS += "|diagnose|export|stop|cancel|abort|end|resume|continue|go on with"
_ABOUT = (*BETTER.split("|"), "models", "adapters", "versions", "jobs", "job", "run", "feedback", "history")
_ABOUT += tuple(TUNING.split("|"))
_AGAINST = "against|versus|vs|compared to|compared with"


@dataclass(frozen=True)
class Request:
    """A command of the chat and its arguments."""

    name: str
    words: tuple[str, ...] = ()


def may_be(text: str) -> bool:
    """Whether it is worth reading what there is: quick, and wrong only on the side of yes."""
    text = text.strip()
    if not text or len(text) > LONGEST or "\n" in text or text.startswith("/"):
        return False
    words = Words(text)
    _open(words)
    if words.take("is|list|show|which|what|how is|how's"):
        return any(words.has(each) for each in _ABOUT)
    return words.take(_STARTS) or text.removeprefix("$ ").startswith("hone ")


def recognized(text: str, known: Known) -> Request | None:
    """What a line asks for; None when it is for the model."""
    if not may_be(text):
        return None
    if (literal := _literal(text)) is not None:
        return literal
    words = Words(text)
    invited = _open(words)
    asks = text.rstrip().endswith("?")
    start = words.at
    for parser in _QUESTIONS if asks and not invited else (*_ORDERS, *_QUESTIONS):
        words.at = start
        found = parser(words, known)
        words.take_all(_CLOSING)
        if found is not None and words.done:
            return found
    return None


def _open(words: Words) -> bool:
    """Goes past what people say before they ask; True where that makes an order of a question."""
    invited = False
    while True:
        if words.take(_ASKING):
            invited = True
        elif not words.take(_POLITE):
            return invited


def _literal(text: str) -> Request | None:
    """A command line that was typed here: `hone doctor`, `hone models show shop`, `hone tune src --name shop`."""
    if not text.removeprefix("$ ").startswith("hone "):
        return None
    try:
        _, name, *words = shlex.split(text.removeprefix("$ "))
    except ValueError:
        return None
    if name not in _SUBCOMMANDS:
        return None
    said = not words or words[0] in _SUBCOMMANDS[name] or any(word.startswith("--") for word in words)
    return Request(name, tuple(words)) if said and not text.rstrip().endswith("?") else None


def _train(words: Words, known: Known) -> Request | None:
    line = train(words, known)
    return Request("train", line) if line is not None else None


# Models and tasks


def _adapter(words: Words, known: Known) -> Adapter | None:
    """An adapter by what it is called, or the newest one."""
    mark = words.at
    if words.take("the|my?", "newest|new|latest|last|most recent|tuned|trained", "adapter|model|version|one|lora") or (
        words.take("the|my", "adapter")
    ):
        if known.adapters:
            return known.adapters[0]
        words.at = mark
        return None
    words.take("the?", "adapter|model?")
    found = known.adapter(words.word) if words.word else None
    if found is None:
        words.at = mark
        return None
    words.step()
    return found


def _model(words: Words, known: Known) -> str | None:
    """An adapter or a base."""
    mark = words.at
    if words.take("the?", "base model|base|bare model|embedded model"):
        return known.adapters[0].base if known.adapters else known.model
    if words.take("the", "champion|live model|live adapter") and "champion" in known.aliases:
        return known.aliases["champion"]
    words.at = mark
    if (adapter := _adapter(words, known)) is not None:
        return adapter.id
    return words.step() if words.word in known.bases else None


def _tasks(words: Words) -> list[str]:
    found: list[str] = []
    while True:
        mark = words.at
        if found:
            words.take("and|,|, and?")
        if words.take(PLACE, HERE) or words.take("the?", "held-out files|held out files"):
            found.append("repo")
        elif words.word.lower() in TASKS and words.word.lower() not in found:
            found.append(words.step().lower())
        else:
            words.at = mark
            return found


def _evaluate(words: Words, known: Known) -> Request | None:
    if words.take("compare"):
        models, tasks = _pair(words, known), []
        if not models:
            return None
    elif words.take("run", "the?"):
        tasks = [task for task in _tasks(words) if task in ("humaneval", "mbpp", "mbpp-plus", "repo-exec")]
        if not tasks and not words.take("evals|evaluation|evaluations"):
            return None
        models = _with_reference(_model(words, known), known) if words.take("on|with|for|of") else []
    elif words.take(MEASURE):
        models = _measured(words, known)
        tasks = [] if models else _tasks(words)
        if tasks and words.take("of|for|with"):
            models = _with_reference(_model(words, known), known)
        if not (models or tasks):
            return None
    else:
        return None
    if not tasks and words.take("on|by|using"):
        tasks = _tasks(words)
        if not tasks:
            return None
    limit = _limit(words)
    return Request("eval", (*(tasks or ["repo"]), *(word for each in models for word in ("--model", each)), *limit))


def _limit(words: Words) -> list[str]:
    mark = words.at
    number = words.number() if words.take("with|on|at") else None
    if number and number == int(number) and words.take("items|samples|problems|places|examples"):
        return ["--limit", f"{int(number)}"]
    words.at = mark
    return []


def _pair(words: Words, known: Known) -> list[str]:
    """Two models, the reference first: the base where the other one is tuned, else the second."""
    one = _model(words, known)
    other = _model(words, known) if one and words.take("with|to|against|and|versus|vs") else None
    if one is None or other is None:
        return []
    return [one, other] if known.adapter(one) is None and known.adapter(other) is not None else [other, one]


def _measured(words: Words, known: Known) -> list[str]:
    subject = _model(words, known)
    against = _model(words, known) if subject and words.take(_AGAINST) else None
    return [against, subject] if against and subject else _with_reference(subject, known)


def _with_reference(subject: str | None, known: Known) -> list[str]:
    """An adapter after what it is compared with; a base alone."""
    adapter = known.adapter(subject) if subject else None
    return [each for each in (known.reference(adapter) if adapter else None, subject) if each]


def _gate(words: Words, known: Known) -> Request | None:
    if words.take("gate"):
        adapter = _adapter(words, known)
        against = _model(words, known) if adapter and words.take(_AGAINST) else None
        tasks = _tasks(words) if adapter and words.take("on|by") else []
        if adapter is None:
            return None
        line = ["--against", against] if against else []
        return Request("gate", (adapter.id, *line, *(["--tasks", ",".join(tasks)] if tasks else [])))
    if words.take(TELL, "if|whether"):
        adapter = _adapter(words, known)
        return _compared(words, known, adapter) if adapter and words.take("is|is any") else None
    return None


def _is_it_better(words: Words, known: Known) -> Request | None:
    adapter = _adapter(words, known) if words.take("is") else None
    return _compared(words, known, adapter) if adapter else None


def _compared(words: Words, known: Known, adapter: Adapter) -> Request | None:
    if not words.take("any|really|actually?", BETTER):
        return None
    against = _model(words, known) if words.take("than") else None
    return Request("gate", (adapter.id, *(("--against", against) if against else ())))


# What is live, jobs, and looking around


def _promote(words: Words, known: Known) -> Request | None:
    if words.take("promote it|make it the champion") and known.adapters:
        return Request("promote")
    # What has to follow the adapter.
    puts = {"promote": "", "go live with": "", "make": "the champion|champion|live", "put": "to use|into use|live"}
    verb = next((verb for verb in puts if words.take(verb)), "")
    adapter = _adapter(words, known) if verb else None
    if adapter is None or (puts[verb] and not words.take(puts[verb])):
        return None
    if verb != "promote" or not words.take("to|as", "the?"):
        return Request("promote", (adapter.id,))
    alias = words.step() if NAME.fullmatch(words.word) else None
    if alias is None:
        return None
    return Request("promote", (adapter.id, *(() if alias.lower() == "champion" else ("--as", alias))))


def _roll_back(words: Words, known: Known) -> Request | None:
    if words.take("undo", "the|that|my", "last?", "promotion"):
        return Request("rollback")
    if words.take("go back to", "the", "previous|last|old|earlier", "adapter|model|champion"):
        return Request("rollback")
    if not words.take("roll back|rollback|roll it back"):
        return None
    if words.word in known.aliases:
        return Request("rollback", (words.step(),))
    words.take("to", "the", "previous|last|old|earlier", "adapter|model|version|champion|one") or words.take(
        "the", "champion|promotion|model|adapter|last promotion"
    )
    return Request("rollback")


def _jobs(words: Words, known: Known) -> Request | None:
    stops = words.take("stop|cancel|abort|end")
    if not stops and not words.take("resume|continue|go on with"):
        return None
    there = known.active if stops else known.ended
    named = words.take("the|my|this?", f"job|run|eval|evaluation|{TUNING}", "job|run?", "of|called?")
    chosen = next((job for job, name in there if words.word and words.word in (job, name)), None)
    if chosen is not None:
        words.step()
        words.take("job")
    elif not named or not there:
        return None
    return Request("jobs", ("stop" if stops else "resume", chosen or there[0][0]))


def _look(words: Words, known: Known) -> Request | None:
    whose = "all|all my|all the|my|the|your|available|all available?"
    if words.take("list|show|show me", whose, "base?", "models|adapters|adapter versions|model versions"):
        return Request("models")
    if words.take("list|show|show me", whose, "training?", "jobs"):
        return Request("jobs")
    if words.take("show|show me", whose, "feedback"):
        return Request("feedback")
    if words.take("export", "the|my|all?", "feedback", "to") and words.word:
        return Request("feedback", ("export", words.step()))
    if words.take("show|show me", "the", "history", "of?", "models|promotions|adapters"):
        return Request("models", ("history",))
    checks = words.take("run", "the|hone?", "doctor") or words.take("run a health check|run the health check")
    if checks or words.take("check|diagnose", "my|the|this|your", "installation|setup|install"):
        return Request("doctor")
    return None


def _asks(words: Words, known: Known) -> Request | None:
    if words.take("which|what", "models|adapters", "are there|do i have|do you have|are available|are installed"):
        return Request("models")
    if words.take("how is|how's|how are", "the|my", f"job|jobs|run|{TUNING}", "going|doing|coming along"):
        return Request("jobs")
    return None


_ORDERS = (_train, _evaluate, _gate, _promote, _roll_back, _jobs, _look)
_QUESTIONS = (_is_it_better, _asks)
