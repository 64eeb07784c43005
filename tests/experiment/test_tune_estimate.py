"""About how long a stage takes: said beforehand, and not far from what comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.experiment import tune as tune_module
from recalign.experiment import tune_estimate
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.experiment.progress import Progress, Reporter, shown_rate
from recalign.experiment.tune import FEW_SAMPLES, MOST_STEPS, nano_defaults
from recalign.experiment.tune_estimate import TuneEstimate, checkpoint_width, duration, estimate_tuning
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
    monkeypatch.setattr(tune_estimate, "training_speed", lambda device, width: 1e9)
    prepare(PrepareConfig.build(dataset="synthetic", output=tmp_path / "data", users=12, items=60))
    config = stage_config({"mode": "full", "max_steps": 10}, "test")
    inputs = StageInputs(config, [SampleSet.load(tmp_path / "data")], BackboneConfig(name="nano"))
    first = estimate_tuning(inputs, inputs.backbone, NanoConfig())
    again = estimate_tuning(inputs, inputs.backbone, NanoConfig(), built=True)
    assert first is not None
    assert again == TuneEstimate(0.0, first.tuning)
    assert first.pretraining > 60
    assert "once per catalogue" in first.line()
    assert "once" not in again.line()
    assert estimate_tuning(inputs, BackboneConfig(name="no-such/model"), NanoConfig()) is None


# One core in training: seconds of a pretraining step, and of a step of 192 prompts, at the speed that the probe gave.
@pytest.mark.parametrize(
    ("shape", "speed", "pretraining", "tuning"),
    [
        ({"hidden": 128, "layers": 2, "intermediate": 384}, 51.5e9, 0.80, 0.20),
        ({"hidden": 256, "layers": 4, "intermediate": 688}, 96.9e9, 2.45, 0.75),
    ],
)
def test_an_estimate_is_right_within_a_factor_of_two(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: dict[str, int],
    speed: float,
    pretraining: float,
    tuning: float,
) -> None:
    kinds = {"Wanderschuh": "Alp Fels Grat Gipfel", "Laufschuh": "Blitz Sprint Wind Tempo", "Sandale": "Strand Sonne"}
    titles = [f"{kind} {word} {size}" for kind, words in kinds.items() for word in words.split() for size in range(6)]
    rows = [
        f"u{user},{number},{number % 5},{day},{titles[number]}"
        for user in range(12)
        for day, number in enumerate(range(user, user + 14))
    ]
    (tmp_path / "r.csv").write_text("\n".join(["user_id,item_id,rating,day,title", *rows]))
    options = {"dataset": "table", "input": tmp_path / "r.csv", "like_above": 2, "order": "file"}
    prepare(PrepareConfig.build(**options, output=tmp_path / "data"))
    monkeypatch.setattr(tune_estimate, "training_speed", lambda device, width: speed)
    settings = merged(nano_defaults(1000, {}), {"mode": "full", "max_steps": 100})
    stage = stage_config({key: value for key, value in settings.items() if key != "nano"}, "test")
    inputs = StageInputs(stage, [SampleSet.load(tmp_path / "data")], BackboneConfig(name="nano"))
    told = estimate_tuning(inputs, inputs.backbone, NanoConfig(**shape, steps=100))
    assert told is not None
    assert 0.5 < told.pretraining / (100 * pretraining) < 2
    assert 0.5 < (told.tuning - tune_estimate._START) / (100 * tuning) < 2


def test_progress_corrects_what_is_left() -> None:
    told = TuneEstimate(60.0, 30.0).corrected(180.0)
    assert told == "pretraining nano took 3 min; tuning takes about 2 min"


def test_the_probe_is_a_training_step_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_estimate, "_PROBE_SECONDS", 0.0)
    steps: list[int] = []
    real = tune_estimate._step
    monkeypatch.setattr(tune_estimate, "_step", lambda model, rows: steps.append(rows.numel()) or real(model, rows))
    for width in (36, 128):  # also where it is no multiple of a head's
        assert 1e7 < tune_estimate.training_speed("cpu", width) < 1e14
    assert len(steps) == 6
    assert set(steps) == {4096, 3840}, "whole rows, of as many operations for each width"


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"hidden_size": "wide"}'])
def test_a_configuration_that_says_no_width_is_for_others_to_refuse(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert checkpoint_width(tmp_path) == 1024


def test_the_width_is_that_of_the_configuration(tmp_path: Path) -> None:
    texts = {
        576: '{"hidden_size": 576}',
        768: '{"n_embd": 768}',
        64: '{"text_config": {"hidden_size": 64}}',
        1024: "{}",
    }
    for width, text in texts.items():
        (tmp_path / "config.json").write_text(text)
        assert checkpoint_width(tmp_path) == width


@pytest.mark.parametrize(
    ("given", "shown"), [(0.2, "1 s"), (59.6, "60 s"), (120, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations(given: float, shown: str) -> None:
    assert duration(given) == shown


@pytest.mark.parametrize(("rate", "shown"), [(0.42, "0.42"), (3.14159, "3.1"), (11.2, "11"), (12345.6, "12,346")])
def test_slow_rates_are_not_zero(rate: float, shown: str) -> None:
    assert shown_rate(rate) == shown


@pytest.mark.parametrize("built", [False, True])
def test_a_nano_of_the_cache_has_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: bool) -> None:
    tasks, notes = [], []

    class Listening(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

        def task(self, name: str, unit: str = "steps") -> Progress:
            tasks.append(name)
            return super().task(name, unit)

    def stopped(*_arguments: object, **_options: object) -> None:
        raise ConfigError("as far as this test goes")

    prepare(PrepareConfig.build(dataset="synthetic", output=tmp_path / "data", users=12, items=60))
    monkeypatch.setattr(tune_estimate, "training_speed", lambda device, width: 1e9)
    monkeypatch.setattr(tune_module, "is_built", lambda nano, data: built)
    monkeypatch.setattr(tune_module, "resolve_backbone", lambda asked, *_data, **_options: asked)
    monkeypatch.setattr(tune_module, "tune_stage", stopped)
    with pytest.raises(ConfigError, match="as far as"):
        tune_module.tune([tmp_path / "data"], tmp_path / "model", reporter=Listening())
    assert ("pretraining nano" in tasks) == (not built)
    assert notes[0].startswith("about ")
    assert notes[1].startswith("nano is there already" if built else "pretraining nano took ")
