"""Attention over a forest: values and gradients are those of plain attention under the forest's full mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from recalign.models.attention import NAME, Kernel, attention_kernel, forest_attention, kernel_on
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import Forest, grow_tree, pack

Mask = NDArray[np.bool_]
Visible = Callable[[Forest], Mask]
FRAME = tuple(range(20, 29))


class Carrier(torch.nn.Linear):
    """As much of a model as `forest_attention` looks at."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        text = SimpleNamespace(_attn_implementation="eager")
        self.config = SimpleNamespace(_attn_implementation="sdpa", get_text_config=lambda: text)


def forest_of(groups: list[list[int]], framed: bool) -> Forest:
    """One tree per list; the numbers are the lengths of its prompts' own endings."""
    trees = []
    for user, lengths in enumerate(groups):
        stem = (*(FRAME if framed else ()), *range(30 + user, 34 + 2 * user))
        prompts = [(*stem, *range(90 + 10 * n, 91 + 10 * n + length)) for n, length in enumerate(lengths)]
        trees.append(grow_tree([EncodedPrompt(ids, (-100,) * len(ids), len(ids)) for ids in prompts]))
    return pack(trees)


def attend(forest: Forest, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: Any) -> torch.Tensor:
    with forest_attention(Carrier(), forest):
        result, _ = ALL_ATTENTION_FUNCTIONS[NAME](torch.nn.Identity(), q, k, v, None, **options)
    return result  # type: ignore[no-any-return]


def plain(seen: Mask, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cap: float | None) -> torch.Tensor:
    shared = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if cap:
        scores = torch.tanh(scores / cap) * cap
    scores = scores.masked_fill(~torch.from_numpy(seen), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.fixture(params=["groups", "flex"])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """Both ways to attend; the fused kernel runs uncompiled here."""
    if request.param == "flex":
        request.getfixturevalue("uncompiled")
    with attention_kernel(request.param):
        yield request.param


def inputs(forest: Forest, heads: int, shared: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(len(forest.ids))
    shapes = [(1, n, len(forest.ids), 6) for n in (heads, heads // shared, heads // shared)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([1, 2]),
    st.sampled_from([None, 0.7]),
)
@settings(max_examples=60, deadline=None)
def test_values_and_gradients_are_those_of_plain_attention(
    visible: Visible, groups: list[list[int]], framed: bool, shared: int, cap: float | None
) -> None:
    agrees_with_plain_attention(visible, forest_of(groups, framed), shared, cap)


@pytest.mark.parametrize(("framed", "shared", "cap"), [(True, 1, None), (True, 2, 0.7), (False, 2, None)])
def test_values_and_gradients_of_the_fused_kernel_are_those_of_plain_attention(
    uncompiled: None, visible: Visible, framed: bool, shared: int, cap: float | None
) -> None:
    with attention_kernel("flex"):
        agrees_with_plain_attention(visible, forest_of([[3, 0, 5], [2], [40, 61, 1]], framed), shared, cap)


def agrees_with_plain_attention(visible: Visible, forest: Forest, shared: int, cap: float | None) -> None:
    given_ = inputs(forest, 2, shared)
    upstream = torch.randn(1, len(forest.ids), 2, 6, dtype=torch.float64)
    expected = plain(visible(forest), *given_, cap)
    wanted = torch.autograd.grad(expected, given_, upstream)
    found = attend(forest, *given_, softcap=cap)
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()
    size = max(float(gradient.abs().max()) for gradient in wanted)  # a query that sees one key has a gradient of 0
    for one, other in zip(torch.autograd.grad(found, given_, upstream), wanted, strict=True):
        assert float((one - other).abs().max()) <= 2e-6 * size


def test_bfloat16_stays_close(kernel: Kernel, visible: Visible) -> None:
    forest = forest_of([[3, 5], [2], [4, 4, 1]], framed=True)
    exact = inputs(forest, 4, 2)
    rough = [one.detach().bfloat16().requires_grad_() for one in exact]
    found = attend(forest, *rough)
    assert found.dtype == torch.bfloat16
    expected = plain(visible(forest), *exact, None)
    assert (found.double() - expected).abs().max() <= 0.02 * expected.abs().max()
    found.sum().backward()
    assert all(one.grad is not None and one.grad.dtype == torch.bfloat16 for one in rough)


def test_dropout_keeps_the_mean_and_its_gradient_fits(visible: Visible) -> None:
    forest = forest_of([[3, 5], [2]], framed=True)
    given_ = [one.detach() for one in inputs(forest, 2, 1)]
    torch.manual_seed(0)
    mean = torch.stack([attend(forest, *given_, dropout=0.3) for _ in range(3000)]).mean(0)
    assert torch.allclose(mean, plain(visible(forest), *given_, None), atol=0.08)

    def once(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attend(forest, *(one.float() for one in tensors), dropout=0.3).double()

    step = torch.randn_like(given_[0])
    tensors = [one.clone().requires_grad_() for one in given_]
    once(*tensors).sum().backward()
    for index, tensor in enumerate(tensors):
        moved = [one + 1e-2 * step * (place == index) for place, one in enumerate(given_)]
        back = [one - 1e-2 * step * (place == index) for place, one in enumerate(given_)]
        slope = float((once(*moved).sum() - once(*back).sum()) / 2e-2)
        assert tensor.grad is not None
        assert slope == pytest.approx(float((tensor.grad * step).sum()), rel=0.01, abs=0.01)


def test_with_dropout_the_fused_kernel_stands_back(uncompiled: None) -> None:
    forest = forest_of([[3, 5], [2]], framed=True)
    found = []
    for kernel in ("groups", "flex"):
        torch.manual_seed(0)
        with attention_kernel(kernel):
            found.append(attend(forest, *inputs(forest, 2, 1), dropout=0.3))
    assert torch.equal(*found)


def test_the_model_is_as_it_was_afterwards(kernel: Kernel) -> None:
    model = Carrier()
    with forest_attention(model, forest_of([[1]], framed=False)):
        assert model.config._attn_implementation == NAME
        assert model.config.get_text_config()._attn_implementation == NAME
    assert model.config._attn_implementation == "sdpa"
    assert model.config.get_text_config()._attn_implementation == "eager"


@pytest.mark.parametrize("extra", ["position_bias", "s_aux"])
def test_what_attention_adds_elsewhere_is_refused(kernel: Kernel, extra: str) -> None:
    forest = forest_of([[1]], framed=False)
    with pytest.raises(NotImplementedError, match=extra):
        attend(forest, *inputs(forest, 1, 1), **{extra: torch.zeros(1)})


def test_one_setting_decides_which_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    for works, expected in ((True, "flex"), (False, "groups")):
        monkeypatch.setattr("recalign.models.flex.works", lambda _device, works=works: works)
        assert (kernel_on(gpu), kernel_on(cpu)) == (expected, "groups")
    with attention_kernel("groups"):
        assert kernel_on(gpu) == "groups"
    with attention_kernel("flex"):
        assert kernel_on(cpu) == "flex"
