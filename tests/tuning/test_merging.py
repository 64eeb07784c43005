"""Several trainings of one model, and the mean of their weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from recalign.tuning.loop import LoopResult, StepReport
from recalign.tuning.merging import draw_seed, train_merged

Tell = Callable[[StepReport], None] | None


def model() -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    return layer


def steps_up(layer: nn.Linear, amounts: list[float], seen: list[torch.Tensor]) -> Callable[[int, Tell], LoopResult]:
    """A training that adds an amount of its own to the weights, and remembers where it began."""

    def train(number: int, progress: Tell) -> LoopResult:
        seen.append(layer.weight.detach().clone())
        with torch.no_grad():
            layer.weight += amounts[number]
        log = [{"step": 2, "loss": amounts[number]}]
        for step in (1, 2):
            if progress:
                progress(StepReport(step, 2, 0.5, step, 1.0, log if step == 2 else []))
        return LoopResult(kept_step=number + 1, steps_done=2, log=log, seconds=1.5)

    return train


def test_each_training_begins_with_the_same_weights_and_the_mean_is_kept() -> None:
    layer, seen = model(), list[torch.Tensor]()
    before, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    result = train_merged(layer, 3, steps_up(layer, [1.0, 2.0, 6.0], seen))
    assert all(torch.equal(start, before) for start in seen)
    torch.testing.assert_close(layer.weight.detach(), before + 3.0)
    assert torch.equal(layer.bias, bias)
    assert (result.kept_step, result.steps_done, result.seconds) == (1, 6, 4.5)
    assert result.log == [{"step": 2, "loss": 1.0}, {"step": 4, "loss": 2.0}, {"step": 6, "loss": 6.0}]


def test_one_training_is_left_as_it_is() -> None:
    layer = model()
    before = layer.weight.detach().clone()
    result = train_merged(layer, 1, steps_up(layer, [0.1], []))
    assert torch.equal(layer.weight, before + 0.1)
    assert (result.kept_step, result.steps_done) == (1, 2)


def test_progress_is_that_of_all_trainings_with_one_log() -> None:
    layer, reports = model(), list[StepReport]()
    train_merged(layer, 2, steps_up(layer, [1.0, 2.0], []), reports.append)
    assert [(report.step, report.steps) for report in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [len(report.log) for report in reports] == [0, 1, 1, 2]
    assert reports[-1].log[-1]["step"] == 4


@pytest.mark.parametrize("seed", [0, 7])
def test_the_first_training_has_the_seed_of_the_stage_and_others_their_own(seed: int) -> None:
    seeds = [draw_seed(seed, number) for number in range(4)]
    assert seeds[0] == seed
    assert len(set(seeds)) == 4
