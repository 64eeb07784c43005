"""How servers are asked for the probabilities of two answers: what goes out and what comes back, per kind of server.

vLLM's ``/generative_scoring`` tells the probability of the first of the given tokens only, so each prompt is asked
about twice, once for either answer. SGLang's ``/v1/score`` tells both. Both take token ids, put `query` and each of
`items` together, and look at the token that comes next. Without softmax they tell probabilities over the whole
vocabulary: their quotient is exact where a softmax over the two answers has been rounded to 1, and their sum is the
label mass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from recalign.errors import ConfigError, ModelError
from recalign.llm.config import plain_address

MODELS_PATH: Final = "/v1/models"  # of every server
_ROUNDING: Final = 1e-3  # how far above 1 rounding may lift a probability near it
_EXPECTED: Final = "KIND:ADDRESS or KIND:ADDRESS#MODEL, such as vllm:http://127.0.0.1:8000"

_KINDS: Final = "There are vllm and sglang."

Ask = Callable[[str, Mapping[str, object]], Awaitable[object]]
"""Sends a document to a path and gives the document that comes back."""
Probability = Annotated[float, Field(gt=0, le=1 + _ROUNDING, allow_inf_nan=False)]


class _Usage(BaseModel):
    prompt_tokens: int


class _VllmItem(BaseModel):
    index: int
    score: Probability


class _VllmReply(BaseModel):
    data: list[_VllmItem]
    usage: _Usage


class _SglangReply(BaseModel):
    scores: list[tuple[Probability, Probability]]
    usage: _Usage


class _ModelCard(BaseModel):
    id: str
    parent: str | None = None
    max_model_len: int | None = None


class ModelList(BaseModel):
    """What a server says of its models."""

    data: list[_ModelCard]

    def longest(self) -> int:
        """Longest prompt in tokens. One token must be left, because servers make one. Raises ModelError."""
        limits = [card.max_model_len for card in self.data if card.max_model_len is not None]
        if not limits:
            raise ModelError("longest prompt", found=f"no max_model_len in {MODELS_PATH}", expected="a number")
        return min(limits) - 1

    def choose(self, name: str, *, adapters: bool) -> str:
        """The model to ask: `name`, or the only one there is. Raises ModelError where that is none."""
        cards = {card.id: card for card in self.data}
        shown = ", ".join(cards) or "no model"
        if not name and len(cards) != 1:
            hint = "Name one after the address: KIND:ADDRESS#MODEL."
            raise ModelError("the models that it serves", found=shown, expected="one model, or its name", hint=hint)
        if name and name not in cards:
            raise ModelError(f"model {name}", found=shown, expected="one that it serves")
        chosen = cards[name] if name else self.data[0]
        if chosen.parent is not None and not adapters:
            hint = "Export the model with --to merged and serve that."
            raise ModelError(f"model {chosen.id}", found="a LoRA, which this server scores without", hint=hint)
        return chosen.id


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of one request: token ids that they begin with in common, and the rest of each, which is never empty."""

    query: list[int]
    items: list[list[int]]

    @property
    def n_tokens(self) -> int:
        """Of all prompts."""
        return len(self.items) * len(self.query) + sum(map(len, self.items))


class Server(Protocol):
    """A kind of server. `adapters`: whether it can score with a LoRA beside the model that it serves."""

    adapters: bool

    async def probabilities(
        self, ask: Ask, model: str, prompts: Prompts, answers: tuple[int, int]
    ) -> NDArray[np.float64]:
        """The probabilities of the two answers (token ids) after each prompt, shape (prompts, 2).

        Raises:
            ModelError: The reply is about other prompts than those that were sent.
            pydantic.ValidationError: It has another form.
        """


class Vllm:
    """vLLM. A LoRA is asked by the name that it is served under."""

    adapters = True

    async def probabilities(
        self, ask: Ask, model: str, prompts: Prompts, answers: tuple[int, int]
    ) -> NDArray[np.float64]:
        """See `Server.probabilities`."""
        columns = []
        for labels in (answers, answers[::-1]):
            reply = _VllmReply.model_validate(await ask("/generative_scoring", _document(model, prompts, labels)))
            _check(reply.usage, [item.index for item in reply.data], prompts)
            columns.append([item.score for item in reply.data])
        return np.array(columns).T


class Sglang:
    """SGLang, in a version that counts the tokens of a request. It scores with the model alone, never with a LoRA."""

    adapters = False

    async def probabilities(
        self, ask: Ask, model: str, prompts: Prompts, answers: tuple[int, int]
    ) -> NDArray[np.float64]:
        """See `Server.probabilities`."""
        reply = _SglangReply.model_validate(await ask("/v1/score", _document(model, prompts, answers)))
        _check(reply.usage, range(len(reply.scores)), prompts)
        return np.array(reply.scores)


SERVERS: Final[Mapping[str, Server]] = {"vllm": Vllm(), "sglang": Sglang()}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is served: the kind of server, its address, and the model's name there ("": its only one)."""

    kind: str
    address: str
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From a text such as ``vllm:http://127.0.0.1:8000#shoes``. Raises ConfigError for others."""
        kind, _, place = text.partition(":")
        address, _, model = place.partition("#")
        if kind not in SERVERS:
            raise ConfigError("--endpoint", found=f"the kind {kind[:20]!r}", expected=_EXPECTED, hint=_KINDS)
        try:
            address = plain_address(address)
        except ValueError as error:
            raise ConfigError("--endpoint", found=f"an address that {error}", expected=_EXPECTED) from None
        return cls(kind, address, model)

    @property
    def server(self) -> Server:
        """How it is asked."""
        return SERVERS[self.kind]


def _document(model: str, prompts: Prompts, labels: Sequence[int]) -> dict[str, object]:
    document = {"model": model, "query": prompts.query, "items": prompts.items, "label_token_ids": list(labels)}
    return {**document, "apply_softmax": False, "item_first": False}


def _check(usage: _Usage, places: Sequence[int], prompts: Prompts) -> None:
    """Every prompt has its score, and the server has read the very tokens that it was sent."""
    if list(places) != list(range(len(prompts.items))):
        raise ModelError("a reply", found=f"{len(places)} scores", expected=f"{len(prompts.items)}, in order")
    if usage.prompt_tokens != prompts.n_tokens:
        found, expected = f"{usage.prompt_tokens} prompt tokens read", f"the {prompts.n_tokens} that were sent"
        hint = "It must not cut prompts, nor join them (SGLang: no --multi-item-scoring-delimiter)."
        raise ModelError("a reply", found=found, expected=expected, hint=hint)
