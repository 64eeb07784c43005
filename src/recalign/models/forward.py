"""The one forward pass of this project: packed rows in, logits at chosen positions out.

The output head runs at the positions asked for and nowhere else. That is done by narrowing the *input* of the model's
own head, so that head bias, logit scale and soft-capping of every architecture still apply (tested against the full
logits), under PEFT as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import IGNORE, Batch, build_row, collate, grow_tree

logger = logging.getLogger(__name__)

# Largest difference of log-odds between packed and separate prompts that counts as equal, in float32.
PACKING_TOLERANCE = 1e-4


@contextmanager
def head_at(model: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Within the context, the output head of `model` sees only the hidden states at (rows[i], columns[i])."""
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]

    def narrow(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0][rows, columns].unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        handle.remove()


def logits_at(
    model: nn.Module,
    batch: Batch,
    positions: NDArray[np.int64],
    *,
    packed: bool = True,
    inner: nn.Module | None = None,
) -> Tensor:
    """Logits of shape (n, vocabulary) at n positions, given as (row, column) pairs of shape (n, 2).

    Args:
        model: A Hugging Face causal language model, with or without PEFT.
        positions: Where logits are wanted.
        batch: Rows of packed prompts; with ``packed=False`` every row must hold one prompt, and the ordinary
            attention mask is used (for architectures that take no custom mask).
        inner: The bare model, where `model` is a wrapper around it.
    """
    inner = model if inner is None else inner
    device = next(model.parameters()).device
    where = torch.from_numpy(positions).to(device)
    ids = torch.from_numpy(batch.ids).to(device)
    arguments: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if packed:
        arguments["attention_mask"] = _mask(inner, torch.from_numpy(batch.mask).to(device))
        arguments["position_ids"] = torch.from_numpy(batch.positions).to(device)
    else:
        # A token of a single-prompt row is real exactly where it sees the row's first token.
        arguments["attention_mask"] = torch.from_numpy(batch.mask[:, 0, :, 0].astype(np.int64)).to(device)
    with head_at(inner, where[:, 0], where[:, 1]):
        logits: Tensor = model(**arguments).logits
    return logits[0]


def _mask(model: nn.Module, visible: Tensor) -> Tensor:
    """SDPA takes the boolean mask; eager attention adds its mask to the scores."""
    config: Any = model.config
    if config._attn_implementation == "sdpa":
        return visible
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, lowest)


def supports_packing(model: nn.Module, pad_id: int, *, longest: int) -> bool:
    """Whether `model` gives packed prompts the numbers that they get alone; checked by running it, once.

    Sliding windows shorter than the longest prompt, ALiBi and recurrent layers do not, and a model may refuse custom
    masks; then rows hold one prompt each and the reason is logged.

    Args:
        model: A causal language model, with or without PEFT; its mode is left as it is.
        pad_id: Token id for padding.
        longest: Length of the longest prompt in tokens. The run is of short ones, so windows are looked up.
    """
    window = _window(model)
    if window is not None and window < longest:
        name = type(model).__name__
        logger.warning("%s sees %d tokens back, prompts have up to %d: prompts run one by one", name, window, longest)
        return False
    vocabulary = int(model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    stem = [(7 * i + 1) % vocabulary for i in range(24)]
    prompts = []
    for shift in range(3):
        ids = tuple(stem + [(11 * i + 5 * shift + 3) % vocabulary for i in range(4 + shift)])
        prompts.append(EncodedPrompt(ids=ids, labels=(IGNORE,) * len(ids), answer_start=len(ids)))
    alone = [collate([build_row([grow_tree([prompt])])], pad_id) for prompt in prompts]
    together = collate([build_row([grow_tree(prompts), grow_tree(prompts[:1])])], pad_id)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            expected = torch.cat([logits_at(model, batch, batch.answers, packed=False) for batch in alone])
            found = logits_at(model, together, together.answers)[: len(prompts)]
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        logger.warning("%s takes no packed rows (%s): prompts run one by one", type(model).__name__, error)
        return False
    finally:
        model.train(training)
    scale = max(1.0, float(expected.abs().max()))
    tolerance = PACKING_TOLERANCE if expected.dtype == torch.float32 else 3e-2
    gap = float((expected - found).abs().max()) / scale
    if gap > tolerance:
        logger.warning("%s changes packed prompts by %.1e: prompts run one by one", type(model).__name__, gap)
        return False
    return True


def _window(model: nn.Module) -> int | None:
    """How many tokens back some layer sees, where the architecture limits it (Mistral, Gemma 2 and 3, Llama 4)."""
    config: Any = model.config
    text = config.get_text_config()
    found = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((value for value in found if isinstance(value, int) and value > 0), default=None)
