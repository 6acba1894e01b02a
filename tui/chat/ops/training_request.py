"""The part of the grammar that asks for training: on what, how long, under which name, and what shall follow."""

import re

from tui.chat.ops.known import Known
from tui.chat.ops.words import Words

TUNE = "train|tune|fine-tune|fine tune|finetune|retrain|sharpen"
TUNING = "training|tuning|fine-tuning|fine tuning|finetuning|retraining"
MEASURE = "evaluate|eval|measure|score|benchmark"
TELL = "tell me|let me know|say|show me|check|see|find out|report|decide|verify|prove|test"
RESULT = "it|this|that|the result|the adapter|the model|the new one|the new model|the new adapter"
OLD = "before|the base|the base model|the champion|now|what i have|what is live|the current one|the old one"
BETTER = "better|improved|an improvement|good|good enough|worse|better or worse|better or not|worth it|worth keeping"
PLACE = "this|the current|my|our|this whole|my whole|all of this|all of my"
HERE = "repository|repo|project|codebase|code base|code|folder|directory"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STEPS = ("eval", "gate", "promote")
"""What can follow training, in this order."""


def train(words: Words, known: Known) -> tuple[str, ...] | None:
    if not (words.take(TUNE) or words.take("start|begin|run", "a|the?", "new?", TUNING, "run|job?")):
        return None
    reviewer = words.take("a|the|my", "new?", "reviewer")
    if not reviewer:
        words.take("a|an|the|my|your|another?", "new|small?", "model|adapter|lora|lora adapter") or words.take(
            "yourself"
        )
    sources: list[str] = []
    options: dict[str, list[str]] = {"--task": ["--task", "review"]} if reviewer else {}
    then: set[str] = set()
    while not words.done:
        mark = words.at
        words.take("and|,|;|then|and then|, then|; then|, and|; and|afterwards|and afterwards?")
        option = _length(words) or _called(words) or _based(words, known)
        if option is not None and option[0] not in options:
            options[option[0]] = option
        elif option is not None:
            return None
        elif (source := _source(words, known)) is not None:
            sources.append(source)
        elif (follower := _follower(words)) is not None:
            then.add(follower)
        else:
            words.at = mark
            break
    if not sources and not {"--minutes", "--steps", "--epochs"} & options.keys():
        return None
    line = [*(sources or ["."]), *(word for each in options.values() for word in each)]
    last = max((STEPS.index(each) for each in then if each in STEPS), default=-1)
    return (*line, *(word for each in STEPS[: last + 1] for word in ("--then", each)))


def _length(words: Words) -> list[str] | None:
    mark = words.at
    words.take("for|during|in|within|with?", "at most|up to|no longer than|about|around|exactly?")
    seconds = words.duration()
    if seconds:
        return ["--minutes", f"{seconds / 60:g}"]
    number = words.number()
    if number:
        if number == int(number) and words.take("steps|step"):
            return ["--steps", f"{int(number)}"]
        if words.take("epochs|epoch|passes|pass"):
            return ["--epochs", f"{number:g}"]
    words.at = mark
    return None


def _called(words: Words) -> list[str] | None:
    mark = words.at
    if words.take("called|named|name it|call it|with name|with the name|under the name"):
        if NAME.fullmatch(words.word):
            return ["--name", words.step()]
        words.at = mark
    return None


def _based(words: Words, known: Known) -> list[str] | None:
    mark = words.at
    if words.take("based on|on top of|starting from|from|with|using|on", "the?", "base|base model?"):
        if words.word in known.bases:
            return ["--base", words.step()]
        words.at = mark
    return None


def _source(words: Words, known: Known) -> str | None:
    mark = words.at
    words.take("on|with|using|from|over?", "all of|everything in|the code in|the files in?")
    if words.take(PLACE, HERE) or words.take("the", "repository|repo|project|codebase") or words.take("here"):
        return "."
    word = words.word.removeprefix("@")
    exists = known.is_path(word) or ("@" in word and known.is_path(word.partition("@")[0]))
    meant = word.startswith(("./", "../", "/", "~/", "hf:", "installed:")) or word in (".", "..")
    if word and (meant or exists):
        words.step()
        return word
    words.at = mark
    return None


def _follower(words: Words) -> str | None:
    """What shall come after training: the name of the last step, or `told`."""
    mark = words.at
    for follows, name in ((_promoted, "promote"), (_decided, "gate"), (_evaluated, "eval"), (_ended, "told")):
        if follows(words):
            return name
        words.at = mark
    return None


def _promoted(words: Words) -> bool:
    if words.take("if|when|once|only if"):
        return (_is_better(words) or words.take("so|yes")) and words.take(",|then|, then?") and _put_live(words)
    if not _put_live(words):
        return False
    mark = words.at
    if not (words.take("if|when|once|only if|as long as") and (_is_better(words) or words.take("so"))):
        words.at = mark
    return True


def _decided(words: Words) -> bool:
    if words.take(TELL, "if|whether|that|how much"):
        return _is_better(words)
    return words.take("compare", RESULT, "with|to|against", OLD) or words.take("gate it|gate the result|run the gate")


def _evaluated(words: Words) -> bool:
    return words.take(MEASURE, RESULT) or words.take("run", "the?", "evals|eval|evaluation")


def _ended(words: Words) -> bool:
    # The end of a job is always told.
    return words.take("tell me|let me know|notify me", "when", "it|the training", "is done|is ready|has finished|ends")


def _is_better(words: Words) -> bool:
    mark = words.at
    if words.take("it's|its"):
        pass
    elif not words.take(RESULT, "is|was|got|gets|becomes|became|has become|has|did|does|performs|works"):
        if words.take(RESULT, "helped|helps|improved|improves|passed|passes", "the gate?") or words.take(
            "the gate", "passed|passes"
        ):
            return True
        words.at = mark
        return False
    if not words.take("any|really|actually|measurably?", BETTER):
        words.at = mark
        return False
    words.take("than", OLD)
    return True


def _put_live(words: Words) -> bool:
    return (
        words.take("promote|deploy", RESULT)
        or words.take("make", RESULT, "the?", "champion|live")
        or words.take("put", RESULT, "to use|into use|live")
    )
