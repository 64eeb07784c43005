"""The shared training routine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recalign.baselines.config import BaselineConfig
from recalign.baselines.items import Histories
from recalign.baselines.network import ItemFeatures, Network
from recalign.baselines.training import Fit, SampleArrays, objective, predict, train
from recalign.errors import DataError

SMALL = {"embedding": 8, "feedback": 4, "width": 8, "batch_size": 16, "max_steps": 60, "weight_decays": (1e-4, 1e-6)}


def lookup(places: np.ndarray[Any, np.dtype[np.int64]]) -> ItemFeatures:
    return ItemFeatures(torch.from_numpy(places))


def labelled(n: int, seed: int) -> SampleArrays:
    """The label is whether most of the history was liked."""
    draw = np.random.default_rng(seed)
    feedback = draw.integers(1, 3, (n, 10))
    labels = (feedback.mean(axis=1) > 1.5).astype(np.float32)
    return SampleArrays(Histories(draw.integers(1, 10, (n, 10)), feedback), draw.integers(1, 10, n), labels)


def fitted(model: str = "gru4rec", validation: SampleArrays | None = None, **settings: Any) -> Fit:
    config = BaselineConfig.model_validate({"model": model, **SMALL, **settings})
    torch.manual_seed(0)
    return train(Network(config, 9, 0), labelled(80, 1), validation, config, lookup)


@pytest.mark.parametrize("model", ["gru4rec", "caser", "sasrec", "dros"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_it_learns(model: str, loss: str) -> None:
    fit = fitted(model, labelled(60, 2), loss=loss, lr=5e-3)
    assert fit.kept.valid_auc is not None
    assert fit.kept.valid_auc > 0.85
    assert {row.weight_decay for row in fit.log} == {1e-4, 1e-6}


def test_what_is_kept_is_the_best_round_of_the_best_weight_decay() -> None:
    validation = labelled(60, 2)
    fit = fitted(validation=validation, weight_decays=(1e-1, 1e-5))
    best = max(fit.log, key=lambda row: row.valid_auc)
    assert (fit.kept.valid_auc, fit.kept.weight_decay, fit.kept.epoch) == (
        best.valid_auc,
        best.weight_decay,
        best.epoch,
    )
    again = predict(fit.network, validation.histories, validation.targets, lookup)
    from recalign.metrics.classification import auc

    assert auc(validation.labels, again) == fit.kept.valid_auc
    assert not fit.network.training


def test_it_stops_without_a_gain_and_at_the_limit() -> None:
    constant = SampleArrays(labelled(60, 2).histories, labelled(60, 2).targets, labelled(60, 9).labels)
    fit = fitted(validation=constant, patience=2, max_steps=10_000, weight_decays=(1e-5,))
    values = [row.valid_auc for row in fit.log]
    assert max(values[:-2]) == fit.kept.valid_auc
    assert max(values[-2:]) <= max(values[:-2])
    limited = fitted(max_steps=20, eval_steps=10, weight_decays=(1e-5,))  # 5 steps an epoch
    assert [row.epoch for row in limited.log] == [2, 4]


def test_a_round_has_at_least_the_steps_asked_for() -> None:
    fit = fitted(batch_size=80, eval_steps=7, max_steps=14, weight_decays=(1e-5,))
    assert [row.epoch for row in fit.log] == [7, 14]


def test_without_validation_the_last_round_is_kept() -> None:
    fit = fitted(weight_decays=(1e-5,))
    assert (fit.kept.valid_auc, fit.kept.epoch) == (None, fit.log[-1].epoch)


def test_equal_inputs_give_equal_bits_and_another_seed_others() -> None:
    validation = labelled(60, 2)
    first, second, other = (fitted("sasrec", validation, seed=seed) for seed in (3, 3, 4))
    assert first.log == second.log
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name
    assert other.log != first.log


def test_a_weight_decay_knows_nothing_of_those_before_it() -> None:
    both = fitted(validation=labelled(60, 2), weight_decays=(1e-2, 1e-5))
    alone = fitted(validation=labelled(60, 2), weight_decays=(1e-5,))
    assert [row for row in both.log if row.weight_decay == 1e-5] == list(alone.log)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    config = BaselineConfig.model_validate({"model": "sasrec", **SMALL})
    network = Network(config, 9, 0)
    torch.manual_seed(5)
    train(network, labelled(80, 1), None, config.model_copy(update={"weight_decays": (1e-5,)}), lookup)
    assert torch.equal(torch.rand(1), expected)


def test_one_class_of_validation_labels_is_an_error() -> None:
    part = labelled(60, 2)
    with pytest.raises(DataError, match="validation samples"):
        fitted(validation=SampleArrays(part.histories, part.targets, np.ones(60, dtype=np.float32)))


def test_objectives_by_hand() -> None:
    logits, labels = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0])
    config = BaselineConfig(model="gru4rec")
    assert float(objective(logits, labels, config, None)) == pytest.approx(0.25)
    bce = config.model_copy(update={"loss": "bce"})
    assert float(objective(logits, labels, bce, None)) == pytest.approx(float(np.log(2)))
    robust = BaselineConfig(model="dros", robust_weight=0.5)
    assert float(objective(logits, labels, robust, torch.ones(2))) == pytest.approx(0.25 + 0.5 * 0.25)
