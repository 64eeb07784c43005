"""Servers that score, with the replies of vLLM and SGLang, around a model of yours: for tests of what asks them.

    with ScriptedScoring("vllm", plain_probabilities(model)) as server:
        RemoteScorer(Endpoint.parse(server.endpoint), encoder, catalog)

They are scripted teachers: a `script` of replies comes first (`Reply.error(503)`, `Reply.hang()`, ...), `requests` is
what was asked. The shapes are those of vLLM's ``/generative_scoring`` and SGLang's ``/v1/score``. So are the habits:
vLLM cuts a prompt that is too long at its right end without a word, SGLang refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from recalign.testing.scripted_replies import Document, Reply, Request
from recalign.testing.scripted_teacher import ScriptedTeacher

PATHS = {"vllm": "/generative_scoring", "sglang": "/v1/score"}
Probabilities = Callable[[Sequence[int]], Sequence[float]]
"""The probability of every token after a prompt of these."""


def plain_probabilities(model: Any) -> Probabilities:
    """Those of a causal language model that is asked one prompt at a time, without recalign's forward pass."""

    @torch.inference_mode()
    def probabilities(prompt: Sequence[int]) -> list[float]:
        logits = model(torch.tensor([list(prompt)])).logits[0, -1].float()
        found: list[float] = torch.log_softmax(logits, dim=-1).double().exp().tolist()
        return found

    return probabilities


class ScriptedScoring(ScriptedTeacher):
    """The server; a context manager, see `ScriptedTeacher`."""

    def __init__(
        self,
        kind: str,
        probabilities: Probabilities,
        script: Iterable[Reply] = (),
        *,
        model: str = "tiny",
        adapters: Sequence[str] = (),
        max_model_len: int = 1024,
    ) -> None:
        """Serve as that kind of server (vllm, sglang) one model, and LoRAs beside it by name.

        All of them have these `probabilities`. The script is for requests that score, not for the list of models.
        """
        self.kind, self.max_model_len = kind, max_model_len
        self._probabilities, self._model, self._adapters = probabilities, model, adapters
        super().__init__(script, default=Reply(body=self._scores))

    @property
    def endpoint(self) -> str:
        """As it is given to ``--endpoint``."""
        return f"{self.kind}:{self.address}"

    def reply(self, request: Request) -> Reply:
        """The models, the next reply of the script, or scores."""
        if request.path == "/v1/models":
            return Reply(body=self._models())
        if request.path != PATHS[self.kind]:
            return Reply(404, {"detail": "Not Found"})
        cut = self.max_model_len - 1
        if self.kind == "sglang" and any(len(prompt) > cut for prompt in _prompts(request)):
            return Reply(400, {"object": "error", "message": "too long for the context length", "code": 400})
        return super().reply(request)

    def _models(self) -> Document:
        base = {"id": self._model, "object": "model", "root": self._model, "max_model_len": self.max_model_len}
        loras = [
            {"id": name, "object": "model", "parent": self._model, "max_model_len": None} for name in self._adapters
        ]
        return {"object": "list", "data": [{**base, "parent": None}, *loras]}

    def _scores(self, request: Request) -> Document:
        prompts = [prompt[: self.max_model_len - 1] for prompt in _prompts(request)]
        labels = request.body["label_token_ids"]
        told = [self._probabilities(prompt) for prompt in prompts]
        chosen = [[of_all[label] for label in labels] for of_all in told]
        if request.body["apply_softmax"]:
            chosen = [[value / sum(values) for value in values] for values in chosen]
        read = sum(map(len, prompts))
        if self.kind == "sglang":
            usage = {"prompt_tokens": read, "total_tokens": read, "completion_tokens": 0, "reasoning_tokens": 0}
            return {"scores": chosen, "model": request.body["model"], "usage": usage, "object": "scoring"}
        data = [{"index": place, "object": "score", "score": values[0]} for place, values in enumerate(chosen)]
        usage = {"prompt_tokens": read, "total_tokens": read + len(prompts), "completion_tokens": len(prompts)}
        head = {"id": f"generative-scoring-{request.number}", "object": "list", "created": 0}
        return {**head, "model": request.body["model"], "data": data, "usage": usage}


def _prompts(request: Request) -> list[list[int]]:
    """Query and items put together, as servers do with token ids."""
    query, items, first = (request.body[name] for name in ("query", "items", "item_first"))
    return [item + query if first else query + item for item in items]
