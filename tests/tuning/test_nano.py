"""nano is built from titles and unlabelled sequences; any other backbone is taken as it is."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recalign.data.samples import SampleSet
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.tuning.backbones import resolve_backbone
from recalign.tuning.backbones.nano import build_corpus

TINY = NanoConfig(
    hidden=32,
    layers=1,
    heads=2,
    intermediate=32,
    vocabulary=400,
    steps=1,
    batch_tokens=256,
    row_tokens=64,
    instructions=20,
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleSet, SampleSet]:
    folder = tmp_path_factory.mktemp("backbones")
    made = []
    for domain in ("movies", "books"):
        settings = {"catalogue": domain, "users": 10, "items": 40, "ratings_per_user": 10}
        prepare(PrepareConfig.build(dataset="synthetic", output=folder / domain, **settings))
        made.append(SampleSet.load(folder / domain))
    return made[0], made[1]


def test_another_backbone_is_taken_as_it_is(sets: tuple[SampleSet, SampleSet]) -> None:
    config = BackboneConfig(name="org/model", revision="main", dtype="bfloat16")
    assert resolve_backbone(config, NanoConfig(), sets) is config


def test_ratings_and_labels_never_reach_the_corpus(sets: tuple[SampleSet, SampleSet]) -> None:
    source, target = sets
    turned = pl.element().struct.with_fields(pl.field("liked").not_(), (6 - pl.field("rating")).alias("rating"))
    frame = source.frame().with_columns(
        (1 - pl.col("label")).cast(pl.Int8).alias("label"),
        (6 - pl.col("rating")).alias("rating"),
        pl.col("history").list.eval(turned),
    )
    changed = SampleSet(source.path, source.manifest, frame, source.catalog)
    assert not changed.frame().equals(source.frame())
    assert build_corpus(TINY, [changed], [target]) == build_corpus(TINY, [source], [target])


def test_only_train_sequences_are_read(sets: tuple[SampleSet, SampleSet]) -> None:
    source, _ = sets
    train = SampleSet(source.path, source.manifest, source.frame("train"), source.catalog)
    assert build_corpus(TINY, [train], []) == build_corpus(TINY, [source], [])


def test_of_targets_only_titles_are_read_and_only_where_allowed(sets: tuple[SampleSet, SampleSet]) -> None:
    source, target = sets
    known = " ".join(source.catalog.title(item) for item in source.catalog.ids)
    titles = [title for item in target.catalog.ids if (title := target.catalog.title(item)) not in known]

    def mentions(lines: tuple[str, ...]) -> int:
        return sum(any(title in line for title in titles) for line in lines)

    with_titles = build_corpus(TINY, [source], [target])
    assert mentions(with_titles.lines) >= len(titles)
    assert not any("books a user" in line.lower() for line in with_titles.lines), "no sequences of the target"
    without = build_corpus(TINY.model_copy(update={"target_titles": False}), [source], [target])
    assert mentions(without.lines) == mentions(without.tokenizer_lines) == 0
    assert without == build_corpus(TINY, [source], [])


def test_nano_becomes_a_checkpoint_directory(
    sets: tuple[SampleSet, SampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALIGN_CACHE", str(tmp_path))
    steps: list[int] = []
    asked = BackboneConfig(name="nano", device="cpu", dtype="float32")
    found = resolve_backbone(asked, TINY, sets[:1], sets[1:], progress=lambda report: steps.append(report.step))
    assert found == asked.model_copy(update={"name": found.name})
    assert Path(found.name).parent == tmp_path
    assert load_backbone(found).max_positions >= 2048
    assert steps == [1]
    assert resolve_backbone(asked, TINY, sets[:1], sets[1:], progress=lambda report: steps.append(99)) == found
    assert steps == [1], "the second time it comes from the cache"
