"""Groups as indices: padding comes and goes without a trace, and small groups on different stems run together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recalign.models.forest_plan import Padding, plan, seen_from
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import Forest, grow_tree, pack

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from([(), (3,)]))
@settings(max_examples=60, deadline=None)
def test_padding_comes_and_goes_without_a_trace(lengths: list[int], rest: tuple[int, ...]) -> None:
    padding = Padding.of(lengths, CPU)
    torch.manual_seed(0)
    x = torch.randn(2, sum(lengths), *rest)
    laid_out = padding.spread(x)
    assert laid_out.shape == (2 * len(lengths), max(lengths), *rest)
    assert torch.equal(padding.collect(laid_out, 2), x)
    assert float((padding.spread(x, blank=True).sum() - x.sum()).abs()) <= 1e-6 * float(x.abs().sum())


def users(counts: list[int], stem: int) -> list[list[tuple[int, ...]]]:
    frame = tuple(range(10))
    return [
        [(*frame, *range(50 + user, 50 + user + stem), 90 + n, *[7] * (n % 2)) for n in range(count)]
        for user, count in enumerate(counts)
    ]


def planted(counts: list[int], stem: int = 5):  # type: ignore[no-untyped-def]
    prompts = [[EncodedPrompt(ids, (-100,) * len(ids), len(ids)) for ids in user] for user in users(counts, stem)]
    return pack([grow_tree(user) for user in prompts])


def test_branches_of_like_users_run_together() -> None:
    forest = planted([4, 4, 3, 4])
    assert len(forest.groups) == 6, "the frame, the stems, and four users' branches"
    plans = plan(forest, CPU)
    assert [one.span for one in plans] == [slice(0, 10), slice(10, 30), slice(30, len(forest.ids))]
    prefix = plans[2].prefix
    assert prefix is not None
    assert prefix.root == (0, 10)
    assert sorted(prefix.stems.tolist()) == list(range(10, 30))


def test_a_user_with_many_more_branches_runs_alone() -> None:
    assert len(plan(planted([3, 60, 3]), CPU)) == 5


def test_keys_and_their_gradients_go_to_the_same_tokens() -> None:
    forest = planted([4, 2, 3], stem=4)
    prefix = plan(forest, CPU)[2].prefix
    assert prefix is not None
    torch.manual_seed(0)
    x = torch.randn(2, len(forest.ids), 3, dtype=torch.float64, requires_grad=True)
    part = torch.randn_like(prefix.select(x))
    (expected,) = torch.autograd.grad(prefix.select(x), x, part.masked_fill(_padding(prefix, part), 0.0))
    found = torch.zeros_like(x)
    prefix.add(found, part)
    assert torch.allclose(found, expected)


def _padding(prefix, part: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
    if prefix.missing is None:
        return torch.zeros(1, dtype=torch.bool)
    return prefix.missing.repeat(2, 1, 1).transpose(1, 2)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_a_position_sees_its_way_to_the_root(
    visible: Callable[[Forest], NDArray[np.bool_]], counts: list[int], stem: int
) -> None:
    forest = planted(counts, stem)
    for positions in (forest.answers, np.arange(len(forest.ids))[::-1]):
        assert np.array_equal(seen_from(forest, positions), visible(forest)[positions])
