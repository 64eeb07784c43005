"""The loss of a step does not depend on how its prompts are packed or cut into micro-batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import grow_tree
from recalign.testing.tiny import make_tiny
from recalign.tuning.optim import StepForests


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = make_tiny(tmp_path_factory.mktemp("objective") / "m", "llama")
    return load_backbone(BackboneConfig(name=str(path), dtype="float32", device="cpu")).model


def prompts(n: int = 6) -> list[EncodedPrompt]:
    """The same beginning, different targets and lengths, two answer tokens each."""
    made = []
    for index in range(n):
        ids = (5, 6, 7, 8, 9, *range(20, 23 + index), 40 + index, 60)
        made.append(EncodedPrompt(ids, (*(IGNORE,) * (len(ids) - 2), *ids[-2:]), len(ids) - 2))
    return made


def mean_losses(model: Any, step: StepForests) -> tuple[float, float]:
    parts = list(step.losses(model))
    return sum(float(part.answers) for part in parts), sum(float(part.others) for part in parts)


def plain_loss(model: Any, asked: list[EncodedPrompt]) -> float:
    """Cross-entropy of all answer tokens, prompt by prompt, with the library's own forward pass."""
    losses = []
    for prompt in asked:
        ids = torch.tensor([prompt.ids])
        logits = model(ids).logits[0, :-1]
        answers = torch.tensor(prompt.labels[1:]) != IGNORE
        losses.append(torch.nn.functional.cross_entropy(logits[answers], ids[0, 1:][answers], reduction="none"))
    return float(torch.cat(losses).mean())


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 40, 1000])
def test_the_loss_is_the_mean_over_answer_tokens(model: Any, packed: bool, budget: int) -> None:
    trees = [grow_tree([one]) for one in prompts()]
    step = StepForests.build(trees, budget, np.random.default_rng(0), 0.0, packed=packed)
    assert step.weights.answers == 12
    assert mean_losses(model, step) == (pytest.approx(plain_loss(model, prompts()), rel=5e-6), 0.0)


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
def test_a_shared_stem_counts_once_per_prompt(model: Any, packed: bool) -> None:
    """With loss on the whole prompt, the tokens of the stem bear it as well."""
    whole = [EncodedPrompt(one.ids, (IGNORE, *one.ids[1:]), one.answer_start) for one in prompts()]
    tree = grow_tree(whole)
    assert len(tree.stem) == 7
    step = StepForests.build([tree], 400, np.random.default_rng(0), 0.0, packed=packed)
    assert step.weights.answers == sum(len(one.ids) - 1 for one in whole)
    assert mean_losses(model, step)[0] == pytest.approx(plain_loss(model, whole), rel=5e-6)


@torch.no_grad()
@pytest.mark.parametrize("budget", [1, 1000])
def test_the_language_model_loss_is_of_the_other_tokens(model: Any, budget: int) -> None:
    asked = prompts()
    step = StepForests.build([grow_tree([one]) for one in asked], budget, np.random.default_rng(0), 1.0)
    assert step.weights.others == sum(len(one.ids) - 3 for one in asked), "all but the first token and the answer"
    turned = [EncodedPrompt(one.ids, (IGNORE, *one.ids[1:-2], IGNORE, IGNORE), 1) for one in asked]
    answers, others = mean_losses(model, step)
    assert answers == pytest.approx(plain_loss(model, asked), rel=5e-6)
    assert others == pytest.approx(plain_loss(model, turned), rel=5e-6)


@pytest.mark.parametrize("budget", [1, 20, 35, 60, 1000])
def test_forests_keep_to_the_budget_and_lose_nothing(budget: int) -> None:
    trees = [grow_tree([one]) for one in prompts(9)]
    step = StepForests.build(trees, budget, np.random.default_rng(0), 0.0)
    assert sum(len(one.answers) for one in step.forests) == 9
    assert all(len(one.answers) == 1 or len(one.ids) <= budget for one in step.forests)
