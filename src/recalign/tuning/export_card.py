"""What somebody has to know to ask an exported model as recalign asks it: as facts, and as a model card to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from recalign.prompting.encoding import PromptEncoder

MERGED: Final = "merged"
PEFT: Final = "peft"


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
        to: "merged" or "peft".
        base: The backbone.
        model: Fingerprint of the model artefact.
        template, template_version: Name and version of ``template.toml``.
        chat: Whether the prompt is a user message of the tokenizer's chat template.
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
        return cls(
            to=to,
            base=base,
            model=model,
            template=template.name,
            template_version=template.version,
            chat=template.chat,
            domain={name: str(word) for name, word in domain.model_dump().items()},
            yes=yes,
            no=no,
            max_length=encoder.max_length,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as text (with `ExportFacts.chat` the user message), and recalign's score of it."""

    prompt: str
    score: float


_LOAD: Final = {
    MERGED: """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
""",
    PEFT: """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, revision = {name!r}, {revision!r}  # {where}
tokenizer = AutoTokenizer.from_pretrained(base, revision=revision)
model = AutoModelForCausalLM.from_pretrained(base, revision=revision, dtype="float32")
model = PeftModel.from_pretrained(model, ".")
""",
}
_PLAIN: Final = """
yes, no = (tokenizer(prompt + answer).input_ids for answer in ({yes!r}, {no!r}))
"""
_CHAT: Final = """
chat = [{{"role": "user", "content": prompt}}]
text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=False)
yes, no = (tokenizer(text + answer, add_special_tokens=False).input_ids for answer in ({yes!r}, {no!r}))
"""
_SCORE: Final = """start = next(place for place, ids in enumerate(zip(yes, no)) if ids[0] != ids[1])
with torch.no_grad():
    logits = model(torch.tensor([yes[:start]])).logits[0, -1]
score = float(logits[yes[start]] - logits[no[start]])
print(f"{{score:.4f}}")  # {score:.4f}
"""
_CARD: Final = """---
{head}
---
# A recommender, tuned with recalign

{what}

It was tuned from {base}. Licence of the base: {licence}.

## How to ask it

The model reads a prompt and says "{yes}" or "{no}". The score of an item is logit({yes_token!r}) - logit({no_token!r})
after the prompt: the log-odds that the user will {verb} it. Rank items of one user by it. In float32 this prints
{score:.4f}, which is also what recalign computes:

````python
import torch
{code}````

* Prompts are rendered by the template `{template}`, version {version}, which lies here as `template.toml`.
  The words it inserts: {words}.
* {chat}
* A prompt has at most {max_length} tokens, the answer included. A longer one loses its oldest history entries.
* What programs may want to know of this stands in `manifest.json`, under `info`.

## Where it comes from

Fingerprint of the model in recalign: `{model}`.
"""
_WHAT: Final = {
    MERGED: "This directory is a complete checkpoint in float32: whatever loads checkpoints of transformers loads it.\n"
    "A server that takes ids as a prompt (`yes[:start]` below) and gives log-probabilities gives the same score: the\n"
    "difference of the two tokens' log-probabilities.",
    PEFT: "This directory is a LoRA in PEFT's format. It is of use on its base only, and there on this very revision.",
}


def render_card(facts: ExportFacts, question: Question) -> str:
    """The text of ``README.md``: front matter for the hub, how to ask, and code that asks `question`."""
    base = facts.base
    answers = {"yes": facts.yes.text, "no": facts.no.text}
    where = {"name": f"./{base.name}", "where": "the directory of the base"}
    if base.revision is not None:
        where = {"name": base.name, "where": "on the hub"}
    load = _LOAD[facts.to].format(revision=base.revision, **where)
    ask = (_CHAT if facts.chat else _PLAIN).format(**answers)
    code = f"{load}\nprompt = {question.prompt!r}{ask}{_SCORE.format(score=question.score)}"
    return _CARD.format(
        head="\n".join(_head(facts)),
        what=_WHAT[facts.to],
        base=_described(base),
        licence=base.licence or "not named in its files; look it up before you pass this model on",
        yes=facts.yes.text.strip(),
        no=facts.no.text.strip(),
        yes_token=facts.yes.token,
        no_token=facts.no.token,
        verb=facts.domain["verb"],
        score=question.score,
        code=code,
        template=facts.template,
        version=facts.template_version,
        words=", ".join(f"{name} = {word!r}" for name, word in facts.domain.items()),
        chat="The prompt is one user message of the tokenizer's chat template."
        if facts.chat
        else "The prompt is plain text: no chat template is put around it.",
        max_length=facts.max_length,
        model=facts.model,
    )


def _head(facts: ExportFacts) -> list[str]:
    lines = [f"library_name: {'peft' if facts.to == PEFT else 'transformers'}", "pipeline_tag: text-generation"]
    lines.append("tags: [recalign, recommendation]")
    if facts.base.revision is not None:
        lines.append(f"base_model: {facts.base.name}")
    if facts.base.licence is not None:
        lines.append(f"license: {facts.base.licence}")
    return lines


def _described(base: Base) -> str:
    described = f"`{base.name}`" if base.revision is None else f"`{base.name}` at revision `{base.revision}`"
    if base.quantization is not None:
        described += f", quantised to {base.quantization} (unquantised, it gives other scores)"
    return described
