"""The forest as the fused kernel takes it, and the kernel itself where it compiles."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from recalign.models import flex
from recalign.models.attention import attention_kernel
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.models.forward import logits_at, supports_packing
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import Forest, grow_tree, pack
from recalign.testing.tiny import ARCHITECTURES

CPU = torch.device("cpu")
Mask = NDArray[np.bool_]
Visible = Callable[[Forest], Mask]


def forest_of(users: list[tuple[int, list[int]]], frame: int) -> Forest:
    """Per user the length of the history and those of the endings after it, all after one frame."""
    trees = []
    for user, (stem, endings) in enumerate(users):
        first = (*range(10, 10 + frame), *(1000 * (user + 1) + place for place in range(stem)))
        prompts = [(*first, *(20000 + 500 * n + place for place in range(size))) for n, size in enumerate(endings)]
        trees.append(grow_tree([EncodedPrompt(ids, (-100,) * len(ids), len(ids)) for ids in prompts]))
    return pack(trees)


def tensors(forest: Forest, heads: int, shared: int, width: int = 16) -> list[torch.Tensor]:
    torch.manual_seed(len(forest.ids))
    return [torch.randn(1, n, len(forest.ids), width) for n in (heads, heads // shared, heads // shared)]


def plain(
    seen: NDArray[np.bool_], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cap: float | None
) -> torch.Tensor:
    shared = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(shared, 1).transpose(-1, -2) / 4
    scores = scores if cap is None else torch.tanh(scores / cap) * cap
    scores = scores.masked_fill(~torch.from_numpy(seen).to(q.device), -torch.inf)
    return (scores.softmax(-1) @ v.repeat_interleave(shared, 1)).transpose(1, 2)


USERS = st.lists(
    st.tuples(st.integers(0, 200), st.lists(st.integers(1, 150), min_size=1, max_size=4)), min_size=1, max_size=4
)


@given(USERS, st.sampled_from([0, 9, 140]))
@settings(max_examples=20, deadline=None)
def test_the_rule_and_the_blocks_show_what_is_visible(
    visible: Visible, users: list[tuple[int, list[int]]], frame: int
) -> None:
    forest = forest_of(users, frame)
    mask = flex.forest_mask(forest, CPU)
    length, tokens = mask.seq_lengths[0], len(forest.ids)
    assert length % flex.BLOCK == 0
    assert tokens <= length < tokens + flex.BLOCK
    seen = create_mask(mask.mask_mod, 1, 1, length, length, device="cpu")[0, 0].numpy()
    assert (seen[:tokens, :tokens] == visible(forest)).all()
    assert not seen[:tokens, tokens:].any()
    assert not seen[tokens:, :tokens].any()
    assert seen.diagonal().all(), "a row that sees nothing has no weights"
    expected = create_block_mask(mask.mask_mod, 1, 1, length, length, device="cpu")
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(mask, name), getattr(expected, name)), name
    for counts, columns in (("kv_num_blocks", "kv_indices"), ("full_q_num_blocks", "full_q_indices")):
        for row, count in enumerate(getattr(expected, counts)[0, 0].tolist()):
            found = getattr(mask, columns)[0, 0, row, :count].tolist()
            assert sorted(found) == sorted(getattr(expected, columns)[0, 0, row, :count].tolist())


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_prompts_have_the_logits_that_they_have_alone(
    uncompiled: None, checkpoints: dict[str, Path], name: str
) -> None:
    model = load_backbone(BackboneConfig(name=str(checkpoints[name]), dtype="float32", device="cpu")).model
    rng = np.random.default_rng(1)
    stem = rng.integers(3, 250, 20).tolist()
    ids = [(*stem, *rng.integers(3, 250, 3 + 2 * index).tolist()) for index in range(4)]
    prompts = [EncodedPrompt(one, (-100,) * len(one), len(one)) for one in ids]
    alone, together = pack([grow_tree([one]) for one in prompts], share=False), pack([grow_tree(prompts)])
    expected = logits_at(model, alone, alone.answers, packed=False)
    with attention_kernel("flex"):
        assert supports_packing(model, longest=1024)
        found = logits_at(model, together, together.answers)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_where_the_kernel_does_not_compile_the_log_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("backend='inductor' raised:\nRuntimeError: no C compiler.\n\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(flex, "_compiled", lambda: broken)
    with caplog.at_level(logging.WARNING):
        assert not flex.works.__wrapped__(CPU)
    assert "on cpu (backend='inductor' raised: RuntimeError: no C compiler.): grouped products instead" in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
@torch.no_grad()
def test_the_compiled_kernel_serves_all_lengths(visible: Visible) -> None:
    assert flex.works(CPU)
    graphs = []
    for count, cap in ((1, None), (3, None), (9, 2.0), (5, 3.0), (12, None), (7, 4.0)):
        forest = forest_of([(150, [3, 70])] * count, 40)
        given_ = tensors(forest, 6, 3)
        found = flex.attend(*given_, flex.forest_mask(forest, CPU), 0.25, cap)
        expected = plain(visible(forest), *given_, cap)
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[2] == graphs[-1], "no graph of its own for another length or cap"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_on_a_gpu(visible: Visible, dtype: torch.dtype) -> None:
    gpu = torch.device("cuda")
    assert flex.works(gpu)
    for count in (1, 4, 9):
        for shared, cap in ((1, None), (3, 2.0)):
            forest = forest_of([(150, [3, 70])] * count, 40)
            exact = [one.to(gpu).requires_grad_() for one in tensors(forest, 6, shared, 64)]
            given_ = [one.detach().to(dtype).requires_grad_() for one in exact]
            expected = plain(visible(forest), *exact, cap)
            found = flex.attend(*given_, flex.forest_mask(forest, gpu), 0.25, cap)
            tolerance = 1e-4 if dtype == torch.float32 else 0.03
            assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())
            upstream = torch.randn_like(expected)
            wanted = torch.autograd.grad(expected, exact, upstream)
            for one, other in zip(torch.autograd.grad(found, given_, upstream.to(dtype)), wanted, strict=True):
                assert float((one - other).abs().max()) <= tolerance * float(other.abs().max())
