"""The curriculum: order and choice of chain-of-thought rows, and what a stage records about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.cot.config import TeachConfig
from recalign.cot.teach import stage_file, teach
from recalign.cot.teachers import make_teacher
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.models.config import BackboneConfig
from recalign.prompting.prompts import Instruction
from recalign.testing.tiny import make_tiny
from recalign.tuning.config import CotStage
from recalign.tuning.curriculum import CotRow, arrange, read_cot, substages
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import Progress, tune_curriculum, tune_stage

ROWS = [CotRow(stage, Instruction(f"s{stage}", f"r{row}", "x" * (7 - row))) for stage in (1, 2, 3) for row in range(2)]


def named(rows: list[Instruction]) -> list[str]:
    return [row.instruction + row.input for row in rows]


def test_ordered_is_easy_before_hard_and_unshuffled() -> None:
    rows, shuffled = arrange(list(reversed(ROWS)), "ordered")
    assert named(rows) == ["s1r1", "s1r0", "s2r1", "s2r0", "s3r1", "s3r0"]
    assert not shuffled


def test_difficulty_is_a_measure_by_name() -> None:
    rows, _ = arrange(ROWS, "ordered", "answer-length")
    assert named(rows) == ["s1r1", "s2r1", "s3r1", "s1r0", "s2r0", "s3r0"]
    with pytest.raises(ConfigError, match="stage, length, answer-length"):
        arrange(ROWS, "ordered", "luck")


def test_the_variants() -> None:
    assert arrange(ROWS, "mixed") == ([one.row for one in ROWS], True)
    assert named(arrange(ROWS, "stage3-only")[0]) == ["s3r0", "s3r1"]
    assert substages("staged") == ("stage1-only", "stage2-only", "stage3-only")
    assert substages("ordered") == ("ordered",)
    with pytest.raises(ConfigError, match="several tuning stages"):
        arrange(ROWS, "staged")


@pytest.fixture(scope="module")
def cot(source: SampleSet, folder: Path) -> Path:
    output = folder / "cot"
    config = TeachConfig(filter="valid-only", similar_users=5)
    teach(source, make_teacher(source, config), config, output)
    return output


def test_a_stage_learns_from_what_the_teacher_wrote_and_says_whose_labels_it_used(
    source: SampleSet, cot: Path, tmp_path: Path
) -> None:
    rows, manifest = read_cot(cot)
    counts = [sum(row.step == stage for row in rows) for stage in (1, 2, 3)]
    assert len(set(counts)) == 1
    assert counts[0] == len((cot / stage_file(2)).read_text("utf-8").splitlines())
    config = CotStage(mode="lora", max_length=2000, batch_size=4, max_steps=2, precision="fp32")
    backbone = BackboneConfig(name=str(make_tiny(tmp_path / "b", max_positions=2048)), dtype="float32", device="cpu")
    inputs = StageInputs(config, [source], backbone, cot=cot)
    model = tune_stage(inputs, tmp_path / "m")
    recorded = read_manifest(model, kind="model")
    assert recorded.parents["cot"] == manifest.fingerprint
    assert recorded.config["labels_seen"] == json.loads(json.dumps(manifest.config["labels_seen"]))
    assert recorded.config["labels_seen"][source.fingerprint]["train"] > 0


def test_a_staged_curriculum_is_a_chain_of_models(source: SampleSet, cot: Path, tmp_path: Path) -> None:
    config = CotStage(curriculum="staged", max_length=2000, batch_size=4, max_steps=1, precision="fp32")
    backbone = BackboneConfig(name=str(make_tiny(tmp_path / "b", max_positions=2048)), dtype="float32", device="cpu")
    inputs = StageInputs(config, [source], backbone, cot=cot)
    notes: list[str] = []
    steps: list[str] = []

    def progress_for(name: str) -> Progress:
        return lambda report: steps.append(name)

    model = tune_curriculum("m", inputs, tmp_path / "models", note=notes.append, progress_for=progress_for)
    names = ["m-stage1-only", "m-stage2-only", "m"]
    assert steps == names
    assert notes == []
    assert model == tmp_path / "models" / "m"
    manifests = [read_manifest(tmp_path / "models" / name) for name in names]
    assert [manifest.config["stage"]["curriculum"] for manifest in manifests] == [
        "stage1-only", "stage2-only", "stage3-only"
    ]  # fmt: skip
    assert [manifest.parents.get("parent") for manifest in manifests] == [
        None, *(manifest.fingerprint for manifest in manifests[:2])
    ]  # fmt: skip
    assert tune_curriculum("m", inputs, tmp_path / "models", note=notes.append, progress_for=progress_for) == model
    assert notes == [f"stage {name}: already tuned" for name in names]
    assert steps == names


def test_a_stage_without_data_says_how_to_get_some(source: SampleSet, tmp_path: Path) -> None:
    backbone = BackboneConfig(name=str(tmp_path), device="cpu")
    with pytest.raises(ConfigError, match="recalign teach"):
        tune_stage(StageInputs(CotStage(), [source], backbone), tmp_path / "m")
