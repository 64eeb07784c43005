"""About how long a stage takes: said beforehand, and not far from what comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.data.samples import SampleSet
from recalign.experiment import tune_estimate
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.experiment.progress import shown_rate
from recalign.experiment.tune import FEW_SAMPLES, MOST_STEPS, nano_defaults
from recalign.experiment.tune_estimate import TuneEstimate, duration, estimate_tuning
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.settings import merged
from recalign.tuning.config import stage_config
from recalign.tuning.provenance import StageInputs

OLD_CORES = 60e9  # operations a second of two AVX2 cores in training, as measured


def seconds(samples: int) -> float:
    settings = merged({"mode": "full"}, nano_defaults(samples, {}))
    nano = NanoConfig(**settings.pop("nano"))
    config = stage_config(settings, "test")
    size = tune_estimate.parameters(nano)
    tuning = tune_estimate.tuning_operations(config, size, samples)
    return (tune_estimate.nano_operations(nano) + tuning) / OLD_CORES


@pytest.mark.parametrize("samples", [100, 8_000, 50_000, FEW_SAMPLES - 1])
def test_a_few_hundred_users_take_minutes_on_two_old_cores(samples: int) -> None:
    assert seconds(samples) < 500


def test_settings_of_the_user_come_first() -> None:
    given = {"nano": {"layers": 4}, "epochs": 2.0, "sampling": {"targets_per_history": 1}}
    chosen = merged(nano_defaults(1000, given), given)
    assert chosen["nano"]["layers"] == 4
    assert chosen["nano"]["steps"] == 80
    assert "max_steps" not in chosen, "it would override the epochs"
    assert chosen["sampling"]["targets_per_history"] == 1
    assert nano_defaults(1000, {})["max_steps"] < nano_defaults(FEW_SAMPLES - 1, {})["max_steps"] == MOST_STEPS
    assert "nano" not in nano_defaults(FEW_SAMPLES, {})
    assert set(nano_defaults(1000, {"shots": 8})) == set(nano_defaults(1000, {"kind": "instruction"})) == {"nano"}


def test_what_is_built_costs_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_estimate, "product_speed", lambda device: 1e9)
    prepare(PrepareConfig.build(dataset="synthetic", output=tmp_path / "data", users=12, items=60))
    config = stage_config({"mode": "full", "max_steps": 10}, "test")
    inputs = StageInputs(config, [SampleSet.load(tmp_path / "data")], BackboneConfig(name="nano"))
    monkeypatch.setattr(tune_estimate, "is_built", lambda nano, data: False)
    first = estimate_tuning(inputs, inputs.backbone, NanoConfig())
    monkeypatch.setattr(tune_estimate, "is_built", lambda nano, data: True)
    again = estimate_tuning(inputs, inputs.backbone, NanoConfig())
    assert first is not None
    assert again == TuneEstimate(0.0, first.tuning)
    assert first.pretraining > 60
    assert "once per catalogue" in first.line()
    assert "once" not in again.line()
    assert estimate_tuning(inputs, BackboneConfig(name="no-such/model"), NanoConfig()) is None


@pytest.mark.parametrize(
    ("given", "shown"), [(0.2, "1 s"), (59.6, "60 s"), (120, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations(given: float, shown: str) -> None:
    assert duration(given) == shown


@pytest.mark.parametrize(("rate", "shown"), [(0.42, "0.42"), (3.14159, "3.1"), (11.2, "11"), (12345.6, "12,346")])
def test_slow_rates_are_not_zero(rate: float, shown: str) -> None:
    assert shown_rate(rate) == shown
