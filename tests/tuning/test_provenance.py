"""What a stage is made from: labels add up, promises are checked, and every input is part of the identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import write_directory
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError
from recalign.prompting.template import PromptTemplate
from recalign.testing.data import write_sample_set
from recalign.tuning.provenance import StageIdentity, StageInputs, check_data, check_unseen, labels_seen, stage_identity

Build = Callable[..., StageInputs]


def parent(directory: Path, labels: Mapping[str, Any]) -> Path:
    with write_directory(directory, "model", config={"labels_seen": labels}) as staging:
        (staging / "note").write_text("weights would be here")
    return directory


def test_labels_of_parents_and_of_the_stage_add_up(
    tmp_path: Path, inputs: Build, source: SampleSet, target: SampleSet
) -> None:
    before = {
        "other": {"data": "o", "train": 5, "valid": 0},
        target.fingerprint: {"data": "t", "train": 64, "valid": 3},
    }
    model = parent(tmp_path / "parent", before)
    asked = inputs(parent=model, data=[source, target], shots=8, selection="strict-k")
    assert labels_seen(asked) == {
        "other": before["other"],
        source.fingerprint: {"data": "source", "train": 8, "valid": 0},
        target.fingerprint: {"data": "t", "train": 64, "valid": 3},
    }
    paper = inputs(parent=model, selection="paper", validation=target)
    assert labels_seen(paper)[target.fingerprint] == {"data": "t", "train": 64, "valid": len(target.frame("valid"))}
    assert labels_seen(inputs(parent=model, kind="instruction")) == before, "instruction tuning reads no labels"


def test_a_promise_of_zero_shot_is_checked(inputs: Build, source: SampleSet, target: SampleSet) -> None:
    asked = inputs(unseen=[target])
    check_unseen(asked, labels_seen(asked))
    with pytest.raises(ConfigError, match=r"zero-shot stage for .*source; found \d+ training and 0 validation labels"):
        check_unseen(replace(asked, unseen=[target, source]), labels_seen(asked))


def test_every_input_is_part_of_the_identity(
    tmp_path: Path, inputs: Build, source: SampleSet, target: SampleSet
) -> None:
    template, rows = tmp_path / "mine.toml", tmp_path / "rows.json"
    template.write_text(PromptTemplate.load("default").to_toml())
    rows.write_text("[]")
    base = inputs()
    variants = [
        base,
        replace(base, config=base.config.model_copy(update={"seed": 1})),
        replace(base, data=[target]),
        replace(base, data=[source, target]),
        replace(base, data=[target, source]),
        replace(base, unseen=[target]),
        replace(base, backbone=base.backbone.model_copy(update={"dtype": "bfloat16"})),
        inputs(parent=parent(tmp_path / "p1", {})),
        inputs(parent=parent(tmp_path / "p2", {"x": {"data": "x", "train": 1, "valid": 0}})),
        inputs(selection="paper", validation=target),
        inputs(selection="paper", validation=source),
        inputs(template=str(template)),
        inputs(kind="instruction", instruction_file=str(rows)),
    ]

    def identity(asked: StageInputs) -> StageIdentity:
        return stage_identity(asked, "backbone", labels_seen(asked))

    identities = [identity(asked) for asked in variants]
    template.write_text(PromptTemplate.load("tlrec").to_toml())
    rows.write_text("[ ]")
    identities += [identity(asked) for asked in variants[-2:]]
    identities.append(stage_identity(base, "another", labels_seen(base)))
    assert not [(one, two) for place, one in enumerate(identities) for two in identities[:place] if one == two]
    # Where a backbone lies and on what it runs changes nothing.
    moved = base.backbone.model_copy(update={"name": "elsewhere", "device": "auto"})
    assert identity(replace(base, backbone=moved)) == identities[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"template": "no-such"}, ConfigError, "unknown prompt template"),
        ({}, DataError, "train split of .*; found no samples"),
    ],
)
def test_what_needs_no_model_is_told_first(
    tmp_path: Path, stage: Callable[..., Any], changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    data = write_sample_set(tmp_path / "data", {"a": "Heat (1995)"}, {})
    with pytest.raises(error, match=message):
        check_data(stage(**changes), [data])


def test_a_language_without_wording_is_told_first(tmp_path: Path, stage: Callable[..., Any], source: SampleSet) -> None:
    titles = {item: source.catalog.title(item) for item in source.catalog.ids}
    words = {"noun": "elokuva", "noun_plural": "elokuvat", "verb": "pitää", "past": "piti", "consumed": "katsoi"}
    domain = {"language": "fi", "yes": "Kyllä.", "no": "Ei.", **words}
    rows = {"train": source.samples("train")}
    data = write_sample_set(tmp_path / "data", titles, rows, config={"domain": domain})
    for kind in ("rec", "instruction"):
        with pytest.raises(ConfigError, match="'fi'"):
            check_data(stage(kind=kind), [data])
