"""The one forward pass of this project: a forest of prompts in, logits at chosen positions out.

The output head runs at the positions asked for and nowhere else. That is done by narrowing the *input* of the model's
own head, so that head bias, logit scale and soft-capping of every architecture still apply, under PEFT as well.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

from recalign.models.attention import forest_attention
from recalign.models.onednn import OneDnnLinear, hidden_at, is_fusible
from recalign.models.scoring_linear import ScoringLinear
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import Forest, grow_tree, pack

logger = logging.getLogger(__name__)

# Largest difference of log-odds between packed and separate prompts that counts as equal, in float32.
PACKING_TOLERANCE = 1e-4


_HEAD_ROWS = 1 << 14  # of a head in bfloat16 or float16 that are in float32 at one time

# On a GPU a pass may take so many tokens times layers times width: about 13 GB in training, with bfloat16.
_GPU_PASS = 1 << 28
# ... and at most so many times the tokens that are asked for; more make nothing faster.
_GPU_MORE = 8


def tokens_per_pass(model: nn.Module, wanted: int) -> int:
    """Token budget of one pass over `model`: `wanted` on a CPU, where activations that fit the caches are fastest.

    On a GPU it is up to eight times as much where the model is small, whose kernels would be too short to keep it busy.
    """
    if next(model.parameters()).device.type == "cpu":
        return wanted
    text: Any = model.config.get_text_config()  # type: ignore[union-attr, operator]
    fitting: int = _GPU_PASS // (text.num_hidden_layers * text.hidden_size)
    return min(_GPU_MORE * wanted, max(wanted, fitting))


@contextmanager
def head_at(model: nn.Module, rows: Tensor, columns: Tensor, *, exact: bool = False) -> Iterator[None]:
    """Within the context, the output head of `model` sees only the hidden states at (rows[i], columns[i]).

    With `exact` its logits are computed in float32, whatever the model computes in.
    """
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]

    def narrow(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0][rows, columns].unsqueeze(0), *inputs[1:])

    def again(head: nn.Linear, inputs: tuple[Any, ...], logits: Tensor) -> Tensor:
        return logits if logits.dtype == torch.float32 else _exact_logits(head, inputs[0])

    handles = [head.register_forward_pre_hook(narrow)]
    if exact and _is_plain(head):
        handles.append(head.register_forward_hook(again))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_plain(head: nn.Module) -> bool:
    """Whether a head is a linear layer of PyTorch's, whole on one device."""
    return type(head) in (nn.Linear, OneDnnLinear) and not isinstance(head.weight, DTensor)


def _exact_logits(head: nn.Linear, hidden: Tensor) -> Tensor:
    """Logits (…, vocabulary) in float32 of hidden states (…, width).

    In bfloat16 a logit of 16 has steps of 0.06 to 0.13, which is as far as the answers to two prompts may be apart.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        rows = hidden.float()
        parts = [functional.linear(rows, part.float()) for part in torch.split(head.weight, _HEAD_ROWS)]
        logits = torch.cat(parts, -1)
        return logits if head.bias is None else logits + head.bias.float()


def logits_at(
    model: nn.Module, forest: Forest, positions: NDArray[np.int64], *, packed: bool = True, fused: bool = False
) -> Tensor:
    """Logits of shape (n, vocabulary) at n positions of a forest.

    Args:
        model: A Hugging Face causal language model, with or without PEFT. Without gradients, logits are float32 even
            where its head is not.
        forest: Packed prompts; with ``packed=False`` prompts that share nothing (``pack(…, share=False)``), which then
            run side by side, padded, through the model's own attention.
        positions: Where logits are wanted; shape (n,).
        fused: Take the shorter way of `recalign.models.onednn` (see `supports_fusion`; no gradients).
    """
    device = next(model.parameters()).device
    where = torch.from_numpy(positions).to(device)
    if fused:
        head: nn.Linear = model.get_output_embeddings()  # type: ignore[operator]
        hidden = hidden_at(model, forest, where)
        result: Tensor = head(hidden) if head.weight.dtype == torch.float32 else _exact_logits(head, hidden)
        return result
    exact = not torch.is_grad_enabled()
    if packed:
        ids, places = (torch.from_numpy(array).to(device)[None] for array in (forest.ids, forest.positions))
        with forest_attention(model, forest), head_at(model, torch.zeros_like(where), where, exact=exact):
            logits: Tensor = model(input_ids=ids, position_ids=places, use_cache=False).logits
        return logits[0]
    lengths = np.asarray([length for group in forest.groups for length in group.lengths])
    starts = np.cumsum(lengths) - lengths
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    # Padding repeats the prompt's last token: any id will do, since it is never attended to.
    padded = forest.ids[starts[:, None] + np.minimum(columns, lengths[:, None] - 1)]
    rows = np.searchsorted(starts, positions, side="right") - 1
    places = torch.from_numpy(positions - starts[rows]).to(device)
    with head_at(model, torch.from_numpy(rows).to(device), places, exact=exact):
        ids, mask = torch.from_numpy(padded).to(device), torch.from_numpy(real.astype(np.int64)).to(device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits[0]


@dataclass(frozen=True, slots=True)
class Generation:
    """Token ids without the end token, and whether the model `ended` by itself or was cut at the length limit."""

    ids: tuple[int, ...]
    ended: bool


@torch.inference_mode()
def generate(model: nn.Module, prompt: Sequence[int], *, most: int, ends: Collection[int]) -> Generation:
    """Continue `prompt` (token ids, at least one) greedily, with the model in evaluation mode.

    transformers' own `generate` takes over what a checkpoint's ``generation_config.json`` says (penalties, forced and
    suppressed tokens, sampling); here the likeliest token comes next, always.

    The answer has at most `most` tokens, which must fit into the model's positions, and `ends` are ids that end it.
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


def supports_packing(model: nn.Module, *, longest: int) -> bool:
    """Whether `model` gives packed prompts the numbers that they get alone; checked by running it, once.

    Sliding windows shorter than the `longest` prompt (in tokens), ALiBi and recurrent layers do not, and a model may do
    without the attention interface; then prompts run one by one, padded, and the reason is logged.
    """
    name = type(model).__name__
    window = _window(model)
    if window is not None and window < longest:
        logger.warning("%s sees %d tokens back, prompts have up to %d: prompts run one by one", name, window, longest)
        return False
    groups = _probe(model)
    alone = pack([grow_tree([prompt]) for group in groups for prompt in group], share=False)
    together = pack([grow_tree(group) for group in groups])
    try:
        with _evaluating(model):
            expected = logits_at(model, alone, alone.answers, packed=False)
            found = logits_at(model, together, together.answers)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        logger.warning("%s takes no packed prompts (%s): they run one by one", name, error)
        return False
    gap = _gap(model, found, expected)
    if gap > 1:
        logger.warning("%s changes packed prompts (%.1f times the tolerance): they run one by one", name, gap)
    return gap <= 1


def supports_fusion(model: nn.Module) -> bool:
    """Whether the shorter way through `model` is made for it and gives the numbers of its own forward pass."""
    if not is_fusible(model):
        return False
    forest = pack([grow_tree(group) for group in _probe(model)])
    with _evaluating(model):
        gap = _gap(model, *(logits_at(model, forest, forest.answers, fused=fused) for fused in (True, False)))
    if gap > 1:
        logger.warning("%s differs in the fused pass (%.1f times the tolerance): not used", type(model).__name__, gap)
    return gap <= 1


def _probe(model: nn.Module) -> list[list[EncodedPrompt]]:
    """Prompts of two histories and one frame."""
    vocabulary = int(model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    frame = [(7 * i + 1) % vocabulary for i in range(24)]
    groups = []
    for user in range(2):
        stem = [*frame, *((5 * i + user) % vocabulary for i in range(6 + 5 * user))]
        tails = [[(11 * i + 5 * shift + 3) % vocabulary for i in range(4 + shift)] for shift in range(3 - user)]
        ids = [(*stem, *tail) for tail in tails]
        groups.append([EncodedPrompt(prompt, (IGNORE,) * len(prompt), len(prompt)) for prompt in ids])
    return groups


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _gap(model: nn.Module, found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the size of the logits, in units of what is tolerated for the arithmetic."""
    rough = [module.tolerance for module in model.modules() if isinstance(module, ScoringLinear)]
    exact = next(model.parameters()).dtype == torch.float32
    tolerance = max(rough, default=PACKING_TOLERANCE if exact else 3e-2)
    return float((expected - found).abs().max()) / max(1.0, float(expected.abs().max())) / tolerance


def _window(model: nn.Module) -> int | None:
    """How many tokens back some layer sees, where the architecture limits it (Mistral, Gemma 2 and 3, Llama 4)."""
    config: Any = model.config
    text = config.get_text_config()
    found = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((value for value in found if isinstance(value, int) and value > 0), default=None)
