"""The loss of a step does not depend on how its prompts are packed or cut into micro-batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import IGNORE, grow_tree
from recalign.testing.tiny import make_tiny
from recalign.tuning.objective import StepRows


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


def mean_losses(model: Any, rows: StepRows, budget: int) -> tuple[float, float]:
    parts = [rows.losses(model, model, start, stop, 0, packed=True) for start, stop in rows.micro_batches(budget)]
    return sum(float(answers) for answers, _ in parts), sum(float(others) for _, others in parts)


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
@pytest.mark.parametrize("row_tokens", [0, 16, 40, 200])
@pytest.mark.parametrize("budget", [1, 40, 1000])
def test_the_loss_is_the_mean_over_answer_tokens(model: Any, row_tokens: int, budget: int) -> None:
    trees = [grow_tree([one]) for one in prompts()]
    rows = StepRows.build(trees, row_tokens, np.random.default_rng(0), 0.0)
    assert rows.answer_weight == 12
    assert mean_losses(model, rows, budget) == (pytest.approx(plain_loss(model, prompts()), abs=1e-5), 0.0)


@torch.no_grad()
def test_a_shared_stem_counts_once_per_prompt(model: Any) -> None:
    whole = [EncodedPrompt(one.ids, (IGNORE, *one.ids[1:]), 1) for one in prompts()]
    rows = StepRows.build([grow_tree(whole)], 400, np.random.default_rng(0), 0.0)
    assert rows.answer_weight == sum(len(one.ids) - 1 for one in whole)
    assert mean_losses(model, rows, 1000)[0] == pytest.approx(plain_loss(model, whole), abs=1e-5)


@torch.no_grad()
def test_the_language_model_loss_is_of_the_other_tokens(model: Any) -> None:
    asked = prompts()
    rows = StepRows.build([grow_tree([one]) for one in asked], 40, np.random.default_rng(0), 1.0)
    assert rows.other_weight == sum(len(one.ids) - 3 for one in asked), "all but the first token and the answer"
    turned = [EncodedPrompt(one.ids, (IGNORE, *one.ids[1:-2], IGNORE, IGNORE), 1) for one in asked]
    for budget in (1, 1000):
        answers, others = mean_losses(model, rows, budget)
        assert answers == pytest.approx(plain_loss(model, asked), abs=1e-5)
        assert others == pytest.approx(plain_loss(model, turned), abs=1e-5)


def test_micro_batches_keep_to_the_budget_and_lose_nothing() -> None:
    rows = StepRows.build([grow_tree([one]) for one in prompts(9)], 0, np.random.default_rng(0), 0.0)
    lengths = [len(row.ids) for row in rows.rows]
    assert lengths == sorted(lengths)
    for budget in (1, 20, 35, 60, 1000):
        cuts = list(rows.micro_batches(budget))
        assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
        assert cuts[-1][1] == len(lengths)
        for start, stop in cuts:
            assert stop - start == 1 or max(lengths[start:stop]) * (stop - start) <= budget
