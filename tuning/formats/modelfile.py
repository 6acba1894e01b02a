"""An Ollama Modelfile beside a merged GGUF.

Ollama has its own template language, so a chat template is translated only when it renders some probing conversations
exactly as a format known here does; otherwise the Modelfile says what is missing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.errors import HoneError
from assistant.prompts import chat


@dataclass(frozen=True)
class ChatFormat:
    """Turns of one form: `opening` with the role's name in it, the content, `closing`."""

    name: str
    opening: str
    """With `{role}` where the role stands."""
    closing: str
    stop: str
    """The token that ends an answer."""
    assistant: str = "assistant"
    """How the format names the model's role."""
    system: bool = True
    """Whether it has a system turn."""

    def open(self, role: str) -> str:
        return self.opening.replace("{role}", self.assistant if role == "assistant" else role)

    def turn(self, role: str, content: str) -> str:
        return f"{self.open(role)}{content}{self.closing}"


# The form of each family's own template.
FORMATS = (
    ChatFormat("ChatML", "<|im_start|>{role}\n", "<|im_end|>\n", "<|im_end|>"),
    ChatFormat("Llama 3", "<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>", "<|eot_id|>"),
    ChatFormat("Phi 3", "<|{role}|>\n", "<|end|>\n", "<|end|>"),
    ChatFormat("Zephyr", "<|{role}|>\n", "</s>\n", "</s>"),
    ChatFormat(
        "Gemma",
        "<start_of_turn>{role}\n",
        "<end_of_turn>\n",
        "<end_of_turn>",
        assistant="model",
        system=False,
    ),
)
_TURNS = (
    [("user", "one")],
    [("user", "one"), ("assistant", "two"), ("user", "three\n\nfour")],
)


@dataclass(frozen=True)
class Recognized:
    format: ChatFormat
    default_system: str
    """What the template says as system when a conversation does not; "" for nothing."""


def recognize(template: str, begin: str, end: str) -> Recognized | None:
    """The format that a Jinja chat template is, None when it is none of `FORMATS`.

    Args:
        begin: the tokenizer's beginning token, "" without one; Ollama adds it itself, so it may lead.
        end: its end token.
    """
    special = {"bos_token": begin, "eos_token": end}

    def rendered(turns: Sequence[tuple[str, str]], known: ChatFormat) -> str:
        text = chat([{"role": role, "content": content} for role, content in turns], template, special)
        rest = text.removeprefix(begin)
        # A beginning token may also be what opens a turn.
        return rest if rest.startswith(known.opening.partition("{role}")[0]) else text

    for known in FORMATS:
        try:
            default = _default_system(known, rendered(_TURNS[0], known))
            if default is None:
                continue
            lead = [("system", default)] if default else []
            probes = [([*lead, *turns], turns) for turns in _TURNS]
            if known.system:
                probes += [([("system", "zero"), *turns], [("system", "zero"), *turns]) for turns in _TURNS]
            wanted = ["".join(known.turn(*turn) for turn in full) + known.open("assistant") for full, _ in probes]
            if [rendered(turns, known) for _, turns in probes] == wanted:
                return Recognized(known, default)
        except HoneError:
            # A template may refuse a system turn, or anything else: then it is not this format.
            continue
    return None


def _default_system(known: ChatFormat, text: str) -> str | None:
    """The system content in front of one user turn, "" without one; None when it is another format."""
    rest = known.turn("user", "one") + known.open("assistant")
    if not text.endswith(rest):
        return None
    lead, opening = text.removesuffix(rest), known.open("system")
    if not lead:
        return ""
    if known.system and lead.startswith(opening) and lead.endswith(known.closing):
        return lead.removeprefix(opening).removesuffix(known.closing)
    return None


def modelfile(gguf_name: str, template: str, begin: str, end: str, licence: str | None) -> str:
    """The text of a Modelfile that stands beside the GGUF.

    Args:
        template: the model's Jinja chat template, "" without one.
    """
    lines = [f"FROM ./{gguf_name}"]
    found = recognize(template, begin, end) if template else None
    if found is not None:
        lines += [f"# {found.format.name}, translated from the model's own chat template.", _template(found.format)]
        if found.default_system:
            lines.append(f"SYSTEM {_quoted(found.default_system)}")
        lines.append(f'PARAMETER stop "{found.format.stop}"')
    elif template:
        lines += [
            "# TEMPLATE is missing: the model's chat template is none that Hone can translate with certainty.",
            "# Without it Ollama uses what it makes of tokenizer.chat_template in the GGUF, or sends the bare prompt.",
        ]
    else:
        lines += ["# The model has no chat template: it continues text.", 'TEMPLATE "{{ .Prompt }}"']
    if end and (found is None or end != found.format.stop):
        lines.append(f'PARAMETER stop "{end}"')
    if licence:
        lines.append(f"LICENSE {_quoted(licence)}")
    return "\n".join(lines) + "\n"


def _template(known: ChatFormat) -> str:
    """The form of the templates in Ollama's own documentation (docs/modelfile.md, template.md)."""
    system = "{{ if .System }}" + known.turn("system", "{{ .System }}") + "{{ end }}" if known.system else ""
    prompt = "{{ .Prompt }}" if known.system else "{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}"
    user = "{{ if .Prompt }}" + known.turn("user", prompt) + "{{ end }}"
    answer = known.turn("assistant", "{{ .Response }}")
    return f'TEMPLATE """{system}{user}{answer}"""'


def _quoted(text: str) -> str:
    return f'"""{text}"""' if re.search(r'["\n]', text) else f'"{text}"'
