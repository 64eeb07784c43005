"""Kinds of stage: each has its own keys, and says what is wrong with others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from recalign.errors import ConfigError
from recalign.tuning.config import STAGES, CotStage, InstructionStage, RecStage, TrainingConfig, stage_config


def test_a_kind_chooses_the_stage_and_rec_is_the_default() -> None:
    assert stage_config({}, "here") == RecStage()
    assert stage_config({"kind": "rec", "shots": 8}, "here") == RecStage(shots=8)
    assert stage_config({"kind": "cot", "curriculum": "mixed"}, "here") == CotStage(curriculum="mixed")
    assert stage_config({"kind": "instruction", "instructions": 5}, "here") == InstructionStage(instructions=5)


@pytest.mark.parametrize("kind", STAGES)
def test_every_kind_is_a_training_configuration_and_comes_back_from_its_dump(kind: str) -> None:
    config = stage_config({"kind": kind, "optim": {"lr": 3e-4}, "seed": 2}, "here")
    assert isinstance(config, TrainingConfig)
    assert config.optim.lr == 3e-4
    assert stage_config(config.model_dump(mode="json"), "here") == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "dpo"}, "here; found kind 'dpo'; expected instruction, cot, rec"),
        ({"kind": "cot", "shots": 8}, "found shots, a key of kind rec; expected keys of cot.*recalign config cot"),
        ({"curriculum": "mixed"}, "found curriculum, a key of kind cot"),
        ({"kind": "instruction", "selection": "source"}, "selection, a key of kind rec"),
        ({"shotz": 8}, "shotz: unknown key, did you mean shots?"),
        ({"optim": {"learning": 1}}, "optim.learning: unknown key"),
        ({"sampling": {"unmet_targets": 2}}, "sampling.unmet_targets: unknown key"),
        ({"shots": 8, "selection": "source"}, "a K-shot stage uses strict-k, k-fold or paper"),
        ({"selection": "k-fold"}, "'k-fold' is for K-shot stages"),
        ({"mode": "full", "shots": 8, "selection": "k-fold", "merge": 2}, "'k-fold' is for K-shot stages"),
        ({"merge": 2}, "set mode = 'full'"),
        ({"shots": 8, "sampling": {"targets_per_history": 4}}, "shots counts single samples"),
        ({"shots": 0, "batch_size": 0}, "batch_size: .*; shots: "),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stage_config(settings, "here")
    assert "\n" not in str(caught.value)
    assert caught.match(message)
