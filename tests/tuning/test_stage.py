"""Stages on a tiny Llama: every kind, mode and selection; the chain; refusals; interruptions that cost nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recalign.artifacts import append_info, locked, read_manifest, storage
from recalign.artifacts.manifest import content_fingerprint, encode
from recalign.data.samples import SampleSet, choose_shots
from recalign.errors import ArtifactError, ConfigError, DataError, ModelError
from recalign.models.config import BackboneConfig
from recalign.prompting.template import PromptTemplate
from recalign.scoring.base import sample_lists
from recalign.testing.data import write_sample_set
from recalign.testing.tiny import make_tiny
from recalign.tuning.config import RecStage
from recalign.tuning.loop import StepReport
from recalign.tuning.model_artifact import load_scorer
from recalign.tuning.provenance import StageInputs
from recalign.tuning.sources import holdout_users
from recalign.tuning.stage import find_finished, tune_stage

Build = Callable[..., StageInputs]


class Stop(Exception):
    """Stands for a crash: nothing after it runs."""


def stop_after(step: int) -> Callable[[StepReport], None]:
    def halt(report: StepReport) -> None:
        if report.step == step:
            raise Stop

    return halt


def weights(model: Path) -> bytes:
    [path] = [each for each in (model / "adapter").glob("*.safetensors") if each.name != "base.safetensors"]
    return path.read_bytes()


def scores(model: Path, data: SampleSet) -> np.ndarray[Any, np.dtype[np.float64]]:
    return load_scorer(model, data, device="cpu").score(sample_lists(data.samples("test"))).flat()


def seen(model: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_manifest(model).config["labels_seen"]
    return found


def log(model: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def taught(inputs: Build, folder: Path) -> Path:
    """An instruction-tuned model, mode full."""
    return tune_stage(inputs(kind="instruction", mode="full"), folder / "taught")


@pytest.fixture(scope="module")
def tuned(inputs: Build, folder: Path, taught: Path) -> Path:
    """IT + RT on the source, mode full."""
    return tune_stage(inputs(mode="full", parent=taught), folder / "tuned")


@pytest.fixture(scope="module")
def few_shot(inputs: Build, folder: Path, tuned: Path, target: SampleSet) -> Path:
    """A LoRA on top of them, 8 shots of the target."""
    return tune_stage(inputs(parent=tuned, data=[target], shots=8, selection="strict-k"), folder / "few")


VARIANTS: list[dict[str, Any]] = [
    {"kind": "instruction", "mode": "lora"},
    {"kind": "instruction", "mode": "full"},
    {"mode": "lora", "selection": "source"},
    {"mode": "full", "sampling": {"targets_per_history": 4, "max_history": 5}},
    {"mode": "lora", "shots": 8, "selection": "strict-k"},
    {"mode": "lora", "shots": 8, "selection": "paper"},
    {"mode": "full", "train_on_inputs": True, "lm_weight": 0.2, "lora": {"r": 2}},
    {"mode": "full", "selection": "source", "merge": 2},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(map(str, changes.values()))[:40])
def test_every_kind_of_stage_makes_a_model_that_scores(
    tmp_path: Path, inputs: Build, source: SampleSet, target: SampleSet, changes: dict[str, Any]
) -> None:
    asked = inputs(**changes, validation=target) if changes.get("selection") == "paper" else inputs(**changes)
    model = tune_stage(asked, tmp_path / "model")
    manifest = read_manifest(model, kind="model")
    names = (
        {"adapter_model.safetensors", "adapter_config.json"} if asked.config.mode == "lora" else {"model.safetensors"}
    )
    names |= {"recalign_adapter.json"}
    assert {path.name for path in (model / "adapter").iterdir()} == names
    counted = isinstance(asked.config, RecStage) and asked.config.shots is None
    assert set(manifest.files) == {f"adapter/{name}" for name in names} | {
        "template.toml",
        "items.parquet",
        "metrics.jsonl",
        *(["knowledge.parquet"] if counted else []),
    }
    starts = [3 * number for number in range(asked.config.merge)]
    assert manifest.info["steps_done"] == 3 * asked.config.merge
    assert [path.name for path in tmp_path.iterdir() if "checkpoints" in path.name] == []
    assert np.isfinite(scores(model, source)).all()
    validated = [entry for entry in log(model) if "validation" in entry]
    steps = [2, 3] if changes.get("selection") in ("source", "paper") else []
    assert [entry["step"] for entry in validated] == [start + step for start in starts for step in steps]
    if validated:
        validated = validated[:2]
        best = max(validated, key=lambda entry: entry["validation"])["validation"]
        kept = next(entry["step"] for entry in validated if entry["validation"] == best)
        assert manifest.info["kept_step"] == kept


def test_folds_of_the_k_samples_say_how_many_steps_are_taken(tmp_path: Path, inputs: Build, tuned: Path) -> None:
    few = {"parent": tuned, "shots": 24, "folds": 2}
    model = tune_stage(inputs(**few, selection="k-fold"), tmp_path / "folds")
    means = [entry for entry in log(model) if "validation" in entry]
    assert [entry["step"] for entry in means] == [0, 2, 3]
    kept = read_manifest(model, kind="model").info["kept_step"]
    assert kept == max(means, key=lambda entry: (entry["validation"], -entry["step"]))["step"]
    assert seen(model) == seen(tune_stage(inputs(**few, selection="strict-k"), tmp_path / "strict"))
    assert [path.name for path in tmp_path.iterdir() if "checkpoints" in path.name] == []


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(tmp_path: Path, inputs: Build) -> None:
    first = tune_stage(inputs(selection="source"), tmp_path / "a" / "model")
    second = tune_stage(inputs(selection="source"), tmp_path / "b" / "c" / "other")
    assert weights(first) == weights(second)
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
    other = tune_stage(inputs(selection="source", seed=1), tmp_path / "seeded")
    assert weights(first) != weights(other)


def test_a_chain_names_its_parents_and_adds_up_the_labels(
    taught: Path, tuned: Path, few_shot: Path, source: SampleSet, target: SampleSet
) -> None:
    assert seen(taught) == {}
    everything = {"data": "source", "train": len(source.frame("train")), "valid": 0}
    assert seen(tuned) == {source.fingerprint: everything}
    assert seen(few_shot) == {
        source.fingerprint: everything,
        target.fingerprint: {"data": "target", "train": 8, "valid": 0},
    }
    manifests = [read_manifest(model) for model in (taught, tuned, few_shot)]
    assert "parent" not in manifests[0].parents
    assert manifests[1].parents["parent"] == manifests[0].fingerprint
    assert manifests[2].parents["parent"] == manifests[1].fingerprint
    assert manifests[2].parents["data-0"] == target.fingerprint
    assert (few_shot / "adapter" / "base.safetensors").read_bytes() == weights(tuned)


def test_a_stage_starts_from_its_parents_weights_and_trains_them(
    tmp_path: Path, inputs: Build, tuned: Path, few_shot: Path, source: SampleSet, target: SampleSet
) -> None:
    still = {"optim": {"lr": 1e-30, "warmup_steps": 1}, "max_steps": 1}
    for parent, mode, data in ((tuned, "full", source), (tuned, "lora", target), (few_shot, "lora", target)):
        child = tune_stage(inputs(parent=parent, mode=mode, data=[data], **still), tmp_path / f"{parent.name}-{mode}")
        before = scores(parent, data)
        assert np.abs(scores(child, data) - before).max() <= 1e-5 * np.abs(before).max()
    assert np.abs(scores(few_shot, target) - scores(tuned, target)).max() > 1e-3


@pytest.mark.parametrize("selection", ["last", "source", "paper"])
def test_labels_seen_by_selection(
    tmp_path: Path, inputs: Build, source: SampleSet, target: SampleSet, selection: str
) -> None:
    model = tune_stage(inputs(selection=selection, validation=target, max_steps=1), tmp_path / "model")
    valid = len(source.frame("valid")) if selection == "source" else 0
    expected = {source.fingerprint: {"data": "source", "train": len(source.frame("train")), "valid": valid}}
    if selection == "paper":
        expected[target.fingerprint] = {"data": "target", "train": 0, "valid": len(target.frame("valid"))}
    assert seen(model) == expected


def test_several_domains_in_one_stage(tmp_path: Path, inputs: Build, source: SampleSet, target: SampleSet) -> None:
    for targets in (1, 4):
        asked = inputs(
            data=[source, target], selection="source", holdout=0.3, sampling={"targets_per_history": targets}
        )
        model = tune_stage(asked, tmp_path / f"model-{targets}")
        assert set(seen(model)) == {source.fingerprint, target.fingerprint}
        assert pl.read_parquet(model / "items.parquet")["item_id"].to_list() == list(target.catalog.ids)
        assert read_manifest(model).config["domain"]["noun"] == "book"
        assert np.isfinite(scores(model, source)).all()


def flipped(data: SampleSet, directory: Path, where: pl.Expr) -> SampleSet:
    """The same data with the labels of some rows turned round."""
    frame = data.frame().with_columns(
        pl.when(where).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8).alias("label")
    )
    changed = SampleSet(data.path, data.manifest, frame, data.catalog)
    parts = {split: changed.samples(split) for split in ("train", "valid", "test")}
    titles = {item: data.catalog.title(item) for item in data.catalog.ids}
    return write_sample_set(directory, titles, parts, config={"domain": data.domain.model_dump()})


@pytest.mark.parametrize(
    "settings",
    [{"kind": "instruction", "instructions": 60}, {"selection": "last"}, {"sampling": {"targets_per_history": 4}}],
)
def test_one_over_long_title_stops_no_stage(
    tmp_path: Path, inputs: Build, source: SampleSet, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    long = source.samples("test")[0].item_id
    titles = {item: source.catalog.title(item) for item in source.catalog.ids}
    titles[long] = " ".join(f"{titles[long]} {number}" for number in range(200))
    parts = {split: source.samples(split) for split in ("train", "valid", "test")}
    assert any(entry.item_id == long for part in parts.values() for sample in part for entry in sample.history)
    config = {"domain": source.domain.model_dump()}
    data = write_sample_set(tmp_path / "data", titles, parts, config=config)
    model = tune_stage(inputs(data=[data], **settings), tmp_path / "model")
    assert "1 item texts fit into no prompt of 384 tokens and are cut at a word" in caplog.text
    assert np.all(np.isfinite(scores(model, data)))


@pytest.mark.parametrize(("selection", "targets"), [("last", 1), ("source", 1), ("source", 4)])
def test_labels_of_the_test_split_change_nothing(
    tmp_path: Path, inputs: Build, source: SampleSet, selection: str, targets: int
) -> None:
    settings = {"holdout": 0.3, "sampling": {"targets_per_history": targets}}
    plain = flipped(source, tmp_path / "plain", pl.lit(False))
    other = flipped(source, tmp_path / "other", pl.col("split") == "test")
    first = tune_stage(inputs(data=[plain], selection=selection, **settings), tmp_path / "a")
    second = tune_stage(inputs(data=[other], selection=selection, **settings), tmp_path / "b")
    assert weights(first) == weights(second)
    assert log(first) == log(second)


def test_held_out_users_are_not_trained_on(tmp_path: Path, inputs: Build, source: SampleSet) -> None:
    names = source.frame("train")["user_id"].unique().to_list()
    held_out = pl.col("user_id").is_in(list(holdout_users(names, 0.3, 0)))
    plain = flipped(source, tmp_path / "plain", pl.lit(False))
    other = flipped(source, tmp_path / "other", held_out)
    models = [
        tune_stage(inputs(data=[data], selection="source", holdout=0.3, eval_steps=100), tmp_path / f"m{place}")
        for place, data in enumerate((plain, other))
    ]
    assert weights(models[0]) == weights(models[1])
    values = [next(entry["validation"] for entry in log(model) if "validation" in entry) for model in models]
    assert values[0] == pytest.approx(1 - values[1]), "they are what it is validated on"


def test_only_the_k_shots_are_trained_on(tmp_path: Path, inputs: Build, source: SampleSet) -> None:
    chosen = [sample.sample_id for sample in choose_shots(source.samples("train"), 8, 0)]
    plain = flipped(source, tmp_path / "plain", pl.lit(False))
    other = flipped(source, tmp_path / "other", ~pl.col("sample_id").is_in(chosen))
    first = tune_stage(inputs(data=[plain], shots=8, selection="strict-k"), tmp_path / "a")
    second = tune_stage(inputs(data=[other], shots=8, selection="strict-k"), tmp_path / "b")
    assert weights(first) == weights(second)


class TestZeroShot:
    def test_kept_promises_are_recorded(self, tmp_path: Path, inputs: Build, tuned: Path, target: SampleSet) -> None:
        model = tune_stage(inputs(parent=tuned, mode="full", unseen=[target], max_steps=1), tmp_path / "model")
        assert read_manifest(model).config["unseen"] == [target.fingerprint]
        assert target.fingerprint not in seen(model)

    def test_a_parent_that_saw_labels(self, tmp_path: Path, inputs: Build, few_shot: Path, target: SampleSet) -> None:
        self.refused(tmp_path, inputs(parent=few_shot, unseen=[target]), "8 training and 0 validation labels")

    def test_selection_on_target_validation(self, tmp_path: Path, inputs: Build, target: SampleSet) -> None:
        count = len(target.frame("valid"))
        asked = inputs(selection="paper", validation=target, unseen=[target])
        self.refused(tmp_path, asked, f"0 training and {count} validation labels")

    def test_training_on_it(self, tmp_path: Path, inputs: Build, target: SampleSet) -> None:
        self.refused(tmp_path, inputs(data=[target], unseen=[target]), "training")

    @staticmethod
    def refused(folder: Path, asked: StageInputs, found: str) -> None:
        with pytest.raises(ConfigError, match=f"zero-shot .*{found}"):
            tune_stage(asked, folder / "model")
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "recalign_adapter.json"])
def test_a_flipped_bit_in_the_parent_is_refused(tmp_path: Path, inputs: Build, tuned: Path, name: str) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(tuned, parent)
    path = parent / "adapter" / name
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(bytes(blob))
    with pytest.raises(ArtifactError, match=name):
        tune_stage(inputs(parent=parent, mode="full"), tmp_path / "model")
    assert [each.name for each in tmp_path.iterdir()] == ["parent"]


def test_a_parent_of_another_backbone_is_refused(tmp_path: Path, inputs: Build, tuned: Path) -> None:
    other = BackboneConfig(name=str(make_tiny(tmp_path / "other", seed=1)), dtype="float32", device="cpu")
    with pytest.raises(ModelError, match="another backbone"):
        tune_stage(replace(inputs(parent=tuned, mode="full"), backbone=other), tmp_path / "model")
    assert [each.name for each in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"shots": 10_000}, DataError, "at least K = 10000"),
        ({"template": "no-such"}, ConfigError, "unknown prompt template"),
        ({"kind": "instruction", "instruction_file": "nowhere.json"}, DataError, "nowhere.json"),
        ({"selection": "paper"}, ConfigError, "no validation data"),
        ({"selection": "source", "max_eval_samples": 1}, DataError, "1 of one class"),
        ({"max_length": 20}, DataError, "20"),
        ({"lora": {"targets": ["no_proj"]}}, ModelError, "no_proj"),
    ],
)
def test_impossible_stages_leave_nothing(
    tmp_path: Path, inputs: Build, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        tune_stage(inputs(**changes), tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_one_line(
    tmp_path: Path, inputs: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *rest: object) -> int:
        raise PermissionError(13, "Permission denied")

    asked = inputs(max_steps=1)
    monkeypatch.setattr(storage.io, "open", refused)
    with pytest.raises(ArtifactError, match=r"cannot write .*\.model\.checkpoints"):
        tune_stage(asked, tmp_path / "model")


def test_two_trainings_of_one_output_are_not_mixed(tmp_path: Path, inputs: Build) -> None:
    held = locked(tmp_path / ".model.checkpoints")
    with held, pytest.raises(ArtifactError, match=r"model is being tuned; found another process at work.*--output"):
        tune_stage(inputs(max_steps=1), tmp_path / "model", restart=True)
    assert list(tmp_path.iterdir()) == []
    tune_stage(inputs(max_steps=1), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_finished_stage_is_left_as_it_is_and_another_one_refused(tmp_path: Path, inputs: Build) -> None:
    asked = inputs(max_steps=1)
    model = tune_stage(asked, tmp_path / "model")
    append_info(model, "test_reads", {"n": 1})
    before = (model / "manifest.json").read_bytes()

    def forbidden(report: StepReport) -> None:
        raise AssertionError("it is done")

    assert tune_stage(asked, model, progress=forbidden) == model
    changed = inputs(max_steps=1, seed=1)
    assert find_finished(changed, model) is None
    with pytest.raises(ArtifactError, match=r"other inputs.*--restart"):
        tune_stage(changed, model, progress=forbidden)
    assert (model / "manifest.json").read_bytes() == before
    tune_stage(changed, model, restart=True)
    assert find_finished(changed, model)
    (tmp_path / "empty").mkdir()
    assert weights(tune_stage(asked, tmp_path / "empty"))


OLD_STAGE = {
    "kind": "rec", "instructions": 2000, "instruction_file": None, "curriculum": "ordered", "difficulty": "stage",
    "sampling": {"targets_per_history": 1, "random_share": 0.3, "max_history": 10, "short_share": 0.1},
}  # fmt: skip


def test_a_model_of_an_earlier_version_scores_and_is_continued_but_is_not_taken_for_finished(
    tmp_path: Path, inputs: Build, source: SampleSet
) -> None:
    """Its manifest has the keys of all kinds of stage, under their names of then."""
    model = tune_stage(inputs(max_steps=1), tmp_path / "model")
    before = scores(model, source)
    fields = read_manifest(model).model_dump(exclude={"checksum"})
    fields["config"]["stage"] |= OLD_STAGE
    fields["fingerprint"] = content_fingerprint(fields)
    (model / "manifest.json").write_bytes(encode(fields))
    assert np.array_equal(scores(model, source), before)
    child = tune_stage(inputs(max_steps=1, parent=model), tmp_path / "child")
    assert seen(child) == seen(model)
    assert find_finished(inputs(max_steps=1), model) is None
    with pytest.raises(ArtifactError, match=r"earlier version of recalign.*--restart"):
        tune_stage(inputs(max_steps=1), model)
    tune_stage(inputs(max_steps=1), model, restart=True)
    assert find_finished(inputs(max_steps=1), model)


@pytest.mark.parametrize("changes", [{"mode": "full", "selection": "source"}, {"sampling": {"targets_per_history": 4}}])
def test_a_stopped_stage_goes_on_to_the_same_bytes(tmp_path: Path, inputs: Build, changes: dict[str, Any]) -> None:
    changes = {**changes, "checkpoint_steps": 1}
    whole = tune_stage(inputs(**changes), tmp_path / "whole")
    for step in (1, 3):
        model = tmp_path / f"stopped-{step}"
        with pytest.raises(Stop):
            tune_stage(inputs(**changes), model, progress=stop_after(step))
        assert not model.exists(), "no partial stage"
        tune_stage(inputs(**changes), model)
        assert weights(model) == weights(whole)
        assert (model / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"optim": {"lr": 2e-2, "warmup_steps": 1}}, r"stage\.optim\.lr: 0\.01 -> 0\.02"),
        ({"seed": 3}, r"stage\.seed: 0 -> 3"),
        ({"template": "tallrec"}, r"stage\.template: default -> tallrec"),
    ],
)
def test_checkpoints_of_another_configuration_are_refused(
    tmp_path: Path, inputs: Build, changes: dict[str, Any], difference: str
) -> None:
    with pytest.raises(Stop):
        tune_stage(inputs(checkpoint_steps=1), tmp_path / "model", progress=stop_after(2))
    with pytest.raises(ArtifactError, match=f"{difference}.*--restart"):
        tune_stage(inputs(**changes, checkpoint_steps=1), tmp_path / "model")
    restarted = tune_stage(inputs(**changes, checkpoint_steps=1), tmp_path / "model", restart=True)
    assert weights(restarted) == weights(tune_stage(inputs(**changes, checkpoint_steps=1), tmp_path / "fresh"))


def test_checkpoints_of_other_data_or_another_parent_are_refused(
    tmp_path: Path, inputs: Build, tuned: Path, taught: Path, target: SampleSet, source: SampleSet
) -> None:
    with pytest.raises(Stop):
        tune_stage(inputs(checkpoint_steps=1, mode="full", parent=tuned), tmp_path / "model", progress=stop_after(2))
    with pytest.raises(ArtifactError, match=r"parents\.data-0: \w+ -> \w+"):
        tune_stage(inputs(checkpoint_steps=1, mode="full", parent=tuned, data=[target]), tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"parents\.parent: \w+ -> \w+"):
        tune_stage(inputs(checkpoint_steps=1, mode="full", parent=taught), tmp_path / "model")


def test_files_named_in_the_configuration_count_by_content(tmp_path: Path, inputs: Build) -> None:
    template = tmp_path / "mine.toml"
    template.write_text(PromptTemplate.load("default").to_toml(), encoding="utf-8")
    asked = inputs(max_steps=1, template=str(template))
    model = tune_stage(asked, tmp_path / "model")
    assert find_finished(asked, model)
    template.write_text(PromptTemplate.load("tallrec").to_toml(), encoding="utf-8")
    assert not find_finished(asked, model)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Say a.", "output": "a"}\n')
    asked = inputs(max_steps=1, kind="instruction", instruction_file=str(rows))
    model = tune_stage(asked, tmp_path / "taught")
    assert find_finished(asked, model)
    rows.write_text('{"instruction": "Say b.", "output": "b"}\n')
    assert not find_finished(asked, model)


class Killed(BaseException):
    """Stands for kill -9 in the middle of a write: no clean-up runs either (see `dying`)."""


def dying(monkeypatch: pytest.MonkeyPatch, call: str, limit: int) -> None:
    """From the call number `limit` of `storage.io`'s method on, every storage call raises; removals do nothing."""
    calls = 0

    def wrap(name: str) -> None:
        plain = getattr(storage.io, name)

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += name == call
            if calls >= limit:
                raise Killed
            return plain(*arguments)

        monkeypatch.setattr(storage.io, name, counted)

    for name in ("mkdir", "open", "write", "fsync", "rename", "unlink", "rmtree"):
        wrap(name)
    monkeypatch.setattr("recalign.artifacts.directory.shutil.rmtree", lambda *_arguments, **_options: None)


# With two checkpoints and the artefact, 5 renames and some 35 fsyncs are made; 90 is beyond them all.
@pytest.mark.parametrize(
    ("call", "limit"), [("rename", 1), ("rename", 4), ("rename", 5), ("fsync", 12), ("fsync", 22), ("fsync", 90)]
)
def test_a_crash_at_any_write_publishes_no_partial_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Build, call: str, limit: int
) -> None:
    model, asked = tmp_path / "model", inputs(checkpoint_steps=1)
    with monkeypatch.context() as patched, suppress(Killed):
        dying(patched, call, limit)
        tune_stage(asked, model)
    assert model.exists() == (limit == 90)
    if not model.exists():
        with pytest.raises(ArtifactError, match="model"):
            tune_stage(inputs(parent=model), tmp_path / "next")
        assert not (tmp_path / "next").exists()
    tune_stage(asked, model)
    assert weights(model) == weights(tune_stage(asked, tmp_path / "whole"))
    left = [path.name for path in tmp_path.iterdir() if "staging" in path.name or "checkpoints" in path.name]
    assert left == [], "orphans are swept"
