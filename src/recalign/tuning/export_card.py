"""What somebody has to know to ask an exported model as recalign asks it: as facts, and as a model card to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, Self

from jinja2 import Environment, StrictUndefined

from recalign.prompting.chat import ChatFrame
from recalign.prompting.encoding import PromptEncoder
from recalign.terminal import printable

MERGED: Final = "merged"
PEFT: Final = "peft"
GGUF: Final = "gguf"
FORMS: Final = (MERGED, PEFT, GGUF)
# What turns an export into GGUF files, in its directory, where LLAMA_CPP is the folder of a built llama.cpp. Both
# converters are told float32, which loses nothing. The one for a LoRA reads the configuration of the base.
CONVERSIONS: Final = {
    GGUF: (
        'python "$LLAMA_CPP/convert_hf_to_gguf.py" . --outtype f32 --outfile model-f32.gguf',
        '"$LLAMA_CPP/build/bin/llama-quantize" model-f32.gguf model-Q4_K_M.gguf Q4_K_M',
    ),
    PEFT: ('python "$LLAMA_CPP/convert_lora_to_gguf.py" --base "$BASE" . --outtype f32 --outfile lora-f32.gguf',),
    MERGED: (),
}
_CARD: Final = "model_card.md.jinja"
_MARKUP: Final = re.compile(r"[\\`*_\[\]#|~<>&]")  # what means something within a line
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


@dataclass(frozen=True, slots=True)
class Base:
    """The backbone that was tuned.

    Attributes:
        name, revision: A hub id with its commit, or the name of a directory and None.
        licence: What its own model card names, such as ``apache-2.0``.
        quantization: How it was held in memory while the LoRA was tuned.
    """

    name: str
    revision: str | None
    licence: str | None
    quantization: str | None

    @property
    def published(self) -> bool:
        """Whether `name` is a hub id; names of directories have no slash."""
        return self.revision is not None or "/" in self.name


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """An answer as it follows the prompt, and its first token, which is the one that is scored."""

    text: str
    token: str
    token_id: int


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """How to ask an exported model.

    Attributes:
        to: One of `FORMS`. What "gguf" writes is a merged checkpoint, too.
        base: The backbone.
        model: Fingerprint of the model artefact.
        template, template_version: Name and version of ``template.toml``.
        chat: Whether the prompt is a user message of the tokenizer's chat template. Then no special token is added.
        before, after: What stands around the prompt: the chat template's text, or nothing.
        domain: The words that the template inserts.
        yes, no: The answers. The score is logit(yes) − logit(no) after the prompt.
        max_length: Longest prompt in tokens, answer included. A longer one loses its oldest history entries.
    """

    to: str
    base: Base
    model: str
    template: str
    template_version: int
    chat: bool
    before: str
    after: str
    domain: dict[str, str]
    yes: AnswerFacts
    no: AnswerFacts
    max_length: int

    @classmethod
    def of(cls, encoder: PromptEncoder, *, to: str, base: Base, model: str) -> Self:
        """The facts of a model that is asked through this encoder."""
        template, domain = encoder.template, encoder.domain
        no, yes = (
            AnswerFacts(
                text=template.frame(template.instruction(domain, (), "", label)).answer,
                token=encoder.tokenizer.decode([token_id]),
                token_id=token_id,
            )
            for label, token_id in enumerate((encoder.no_id, encoder.yes_id))
        )
        before, after = _around(encoder)
        return cls(
            to=to,
            base=base,
            model=model,
            template=template.name,
            template_version=template.version,
            chat=template.chat,
            before=before,
            after=after,
            domain={name: str(word) for name, word in domain.model_dump().items()},
            yes=yes,
            no=no,
            max_length=encoder.max_length,
        )


def _around(encoder: PromptEncoder) -> tuple[str, str]:
    """What the chat template writes before and after a message, up to the answer."""
    if not encoder.template.chat:
        return "", ""
    message = "recalign asks a question"
    (text,) = ChatFrame(encoder.tokenizer, encoder.template.name).around([message])
    before, _, after = text.partition(message)
    return before, after


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as text (with `ExportFacts.chat` the user message), and recalign's score of it."""

    prompt: str
    score: float


def render_card(
    facts: ExportFacts, question: Question, *, head: str = "", place: str = ".", sections: Sequence[str] = ()
) -> str:
    """The text of ``README.md``: a head for the hub, how to ask, and code that asks `question`.

    Args:
        facts, question: Of the model.
        head: The head's YAML, without the lines around it; what `facts` tell if not given.
        place: What the code loads: the directory itself, or a hub id.
        sections: Markdown that stands before how to ask.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {"repr": repr, "code": inline_code}
    card = environment.from_string((resources.files("recalign.tuning") / _CARD).read_text(encoding="utf-8"))
    return card.render(
        facts=facts,
        base=facts.base,
        question=question,
        merged=facts.to != PEFT,
        conversions=CONVERSIONS[facts.to],
        head=head,
        place=place,
        sections=sections,
    )


def inline_code(text: str) -> str:
    """Text from outside as code within a line of Markdown: nothing in it is markup."""
    line = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if line[:1] in ("", "`") or line[-1:] == "`" else ""
    return f"{fence}{room}{line}{room}{fence}"


def escaped(text: str) -> str:
    """Text from outside within Markdown, in tables too: one line in which nothing is markup."""
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0]) or f"\\{match[0]}", printable(text))
