"""Losses on the order of one history's targets: those of plain forward passes, however the prompts are packed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from recalign.errors import ModelError
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import Tree, grow_tree
from recalign.testing.tiny import make_tiny
from recalign.tuning.config import TrainingConfig
from recalign.tuning.loop import train
from recalign.tuning.optim import Losses, StepForests
from recalign.tuning.sources import Share, everything

YES, NO, MAYBE = 60, 61, 62
# Answers to the targets of four histories; in one of these there is nothing to order.
HISTORIES = [[YES, NO, NO, YES], [NO, YES], [YES, YES], [NO, MAYBE, YES, NO, NO]]
ONE_SIDED = 2
BUDGETS = pytest.mark.parametrize("budget", [1, 30, 1000])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = make_tiny(tmp_path_factory.mktemp("ranking") / "m", "llama")
    return load_backbone(BackboneConfig(name=str(path), dtype="float32", device="cpu")).model


def prompts(history: int) -> list[EncodedPrompt]:
    ids = [(5, 6, 7, 8, 9 + history, 20 + place, answer) for place, answer in enumerate(HISTORIES[history])]
    return [EncodedPrompt(one, (*(IGNORE,) * 6, one[-1]), 6) for one in ids]


def grown() -> list[Tree]:
    return [grow_tree(prompts(history)) for history in range(len(HISTORIES))]


def step(budget: int, *, ranked: bool = True) -> StepForests:
    return StepForests.build(grown(), budget, np.random.default_rng(0), 0.0, ranked=ranked)


def plain_logits(model: Any, history: int) -> list[Tensor]:
    """At the answer of each prompt, each prompt alone."""
    return [model(torch.tensor([prompt.ids[:-1]])).logits[0, -1] for prompt in prompts(history)]


def plain_pairs(model: Any) -> Tensor:
    """Mean over pairs of one history with different answers."""
    losses = []
    for history, answers in enumerate(HISTORIES):
        logits = plain_logits(model, history)
        for i, own in enumerate(answers):
            for j, other in list(enumerate(answers))[i + 1 :]:
                if own != other:
                    odds = [row[own] - row[other] for row in (logits[i], logits[j])]
                    losses.append(softplus(odds[1] - odds[0]))
    assert len(losses) == 5 + 7
    return torch.stack(losses).mean()


def plain_lists(model: Any) -> Tensor:
    """Mean over prompts that have others with another answer beside them: how small is their share of the list?"""
    losses = []
    for history, answers in enumerate(HISTORIES):
        logits = plain_logits(model, history)
        for i, own in enumerate(answers):
            rivals = [(j, other) for j, other in enumerate(answers) if other != own]
            if rivals:
                # How likely each rival looks to have the answer of i, against its own; i itself has odds against each.
                ahead = [logits[i][own] - logits[i][other] - logits[j][own] + logits[j][other] for j, other in rivals]
                losses.append(-torch.log(1 / (1 + sum(torch.exp(-gap) for gap in ahead))))
    assert len(losses) == 4 + 2 + 0 + 5
    return torch.stack(losses).mean()


def gradients(model: Any, losses: Sequence[Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}


@BUDGETS
@pytest.mark.parametrize(("kind", "plain"), [("pairs", plain_pairs), ("lists", plain_lists)])
def test_loss_and_gradient_are_those_of_separate_prompts(
    model: Any, budget: int, kind: str, plain: Callable[[Any], Tensor]
) -> None:
    found = [getattr(part, kind) for part in step(budget).losses(model)]
    assert len(found) == (1 if budget == 1000 else len(HISTORIES) if budget == 1 else 2)
    assert float(sum(found).detach()) == pytest.approx(float(plain(model).detach()), rel=1e-5)  # type: ignore[union-attr]
    ours, expected = gradients(model, found), gradients(model, [plain(model)])
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()), msg=name)


def test_what_the_means_are_over() -> None:
    assert step(1000).weights[2:] == (12, 11)
    assert step(1000, ranked=False).weights[2:] == (0, 0)


@torch.no_grad()
def test_equal_answers_are_not_held_against_each_other(model: Any) -> None:
    built = StepForests.build([grow_tree(prompts(ONE_SIDED))], 1000, np.random.default_rng(0), 0.0, ranked=True)
    assert built.weights[2:] == (0, 0)
    (part,) = built.losses(model)
    assert (float(part.pairs), float(part.lists)) == (0, 0)


@torch.no_grad()
def test_a_pair_is_a_list_of_two(model: Any) -> None:
    built = StepForests.build([grow_tree(prompts(1))], 1000, np.random.default_rng(0), 0.0, ranked=True)
    assert built.weights[2:] == (1, 2)
    (part,) = built.losses(model)
    assert float(part.lists) == pytest.approx(float(part.pairs), rel=1e-6)


def test_the_losses_are_weighted_as_configured() -> None:
    losses = Losses(*(torch.tensor(value) for value in (1.0, 10.0, 100.0, 1000.0)))
    assert float(losses.weighted(TrainingConfig())) == 1
    weighted = losses.weighted(TrainingConfig(lm_weight=0.2, pair_weight=0.3, list_weight=0.4))
    assert float(weighted) == pytest.approx(1 + 2 + 30 + 400)


class Same:
    """All histories in each step."""

    def batch(self, step: int, share: Share = everything) -> list[Tree]:
        return grown()


@pytest.mark.parametrize("weighted", ["pair_weight", "list_weight"])
def test_each_weight_alone_changes_what_is_learnt(model: Any, weighted: str) -> None:
    tuned = []
    for weight in (0.0, 0.5):
        config = TrainingConfig.model_validate({"precision": "fp32", weighted: weight})
        trained = copy.deepcopy(model)
        train(trained, Same(), config, steps=1, max_length=16)
        tuned.append(torch.cat([tensor.detach().flatten() for tensor in trained.parameters()]))
    assert not torch.equal(*tuned)


def test_prompts_without_a_common_history_have_no_order() -> None:
    with pytest.raises(ModelError, match="found a backbone that takes one prompt at a time"):
        StepForests.build(grown(), 30, np.random.default_rng(0), 0.0, packed=False, ranked=True)
