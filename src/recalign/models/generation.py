"""Greedy generation: what a causal language model writes after a prompt, token by token, until it ends.

transformers' own `generate` takes over what a checkpoint's ``generation_config.json`` says (penalties, forced and
suppressed tokens, sampling); here the likeliest token comes next, always.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from recalign.models.forward import head_at


@dataclass(frozen=True, slots=True)
class Generation:
    """What was written.

    Attributes:
        ids: Token ids, without the end token.
        ended: Whether the model ended by itself; False where it was cut at the length limit.
    """

    ids: tuple[int, ...]
    ended: bool


@torch.inference_mode()
def generate(model: nn.Module, prompt: Sequence[int], *, most: int, ends: Collection[int]) -> Generation:
    """Continue `prompt` (token ids, at least one) greedily, with the model in evaluation mode.

    Args:
        model: A Hugging Face causal language model, with or without PEFT.
        prompt: With the answer it must fit into the model's positions.
        most: Longest answer in tokens.
        ends: Token ids that end an answer.
    """
    model.eval()
    device = next(model.parameters()).device
    step = torch.tensor([list(prompt)], device=device)
    cache = None
    written: list[int] = []
    for _ in range(most):
        last = torch.tensor([step.shape[1] - 1], device=device)
        with head_at(model, torch.zeros_like(last), last):
            output = model(input_ids=step, past_key_values=cache, use_cache=True)
        token = int(output.logits[0, -1].argmax())
        if token in ends:
            return Generation(tuple(written), ended=True)
        written.append(token)
        cache, step = output.past_key_values, torch.tensor([[token]], device=device)
    return Generation(tuple(written), ended=False)
