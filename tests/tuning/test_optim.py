from __future__ import annotations

import pytest
import torch

from recalign.errors import ArtifactError
from recalign.tuning.config import OptimConfig
from recalign.tuning.optim import Averager, build_optimizer, flatten_optimizer, learning_rate, restore_optimizer


def test_learning_rate_warms_up_then_decays() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=4, schedule="linear", final_lr=0.1)
    rates = [learning_rate(step, 14, config) for step in range(14)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[9] == pytest.approx(0.55)
    cosine = OptimConfig(lr=2.0, warmup_steps=0, schedule="cosine")
    assert learning_rate(5, 10, cosine) == pytest.approx(1.0)
    assert learning_rate(7, 10, OptimConfig(lr=3.0, warmup_steps=0, schedule="constant")) == 3.0


def test_weight_decay_acts_on_matrices_only() -> None:
    trained = {"w": torch.nn.Parameter(torch.ones(2, 2)), "b": torch.nn.Parameter(torch.ones(2))}
    optimizer = build_optimizer(trained, OptimConfig(weight_decay=0.5))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]


def test_optimizer_state_survives_flattening() -> None:
    def steps(restore_after: int) -> torch.Tensor:
        parameter = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
        trained = {"w": parameter}
        optimizer = build_optimizer(trained, OptimConfig(lr=0.1))
        for step in range(5):
            if step == restore_after:
                state = {name: value.clone() for name, value in flatten_optimizer(optimizer, trained).items()}
                optimizer = build_optimizer(trained, OptimConfig(lr=0.1))
                restore_optimizer(optimizer, trained, state)
            (parameter**2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return parameter.detach()

    assert torch.equal(steps(restore_after=3), steps(restore_after=-1))


def test_missing_optimizer_state_is_an_error() -> None:
    trained = {"w": torch.nn.Parameter(torch.ones(1, 1))}
    with pytest.raises(ArtifactError, match="nothing for 1 of 1"):
        restore_optimizer(build_optimizer(trained, OptimConfig()), trained, {})


def test_average_follows_the_weights() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = Averager({"w": parameter}, decay=0.5)
    with torch.no_grad():
        parameter.fill_(1.0)
    average.update({"w": parameter}, step=0)
    assert average.values["w"].item() == pytest.approx(0.9)  # warm-up: 1/10 of the old value stays
    average.update({"w": parameter}, step=100)
    assert average.values["w"].item() == pytest.approx(0.95)
