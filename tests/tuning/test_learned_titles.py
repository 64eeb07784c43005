"""What a model knows of titles beside its weights, from its training data to its scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from recalign.data.facts import FactFinder
from recalign.data.knowledge import TitleKnowledge, fold_of, title_key
from recalign.data.samples import SampleSet
from recalign.prompting.asking import DomainPrompts
from recalign.scoring.base import sample_lists
from recalign.tuning.learned_titles import count_shots, count_titles
from recalign.tuning.model_artifact import load_knowledge, load_scorer
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_stage

Build = Callable[..., StageInputs]


def events(data: SampleSet, split: str) -> set[tuple[str, str]]:
    """Users and items of the split's targets and of what came before them."""
    found = set()
    for sample in data.samples(split):
        found |= {(sample.user_id, entry.item_id) for entry in sample.past} | {(sample.user_id, sample.item_id)}
    return found


def total(knowledge: TitleKnowledge) -> int:
    return sum(sum(title.met) for title in knowledge.counts.values())


def test_training_events_are_counted_once_each(source: SampleSet) -> None:
    known = count_titles([(source, source.frame("train"))])
    assert known is not None
    assert total(known) == len(events(source, "train"))
    assert total(known) < len(events(source, "train") | events(source, "test")), "test events are not counted"
    assert known.rule is not None


def test_users_who_are_not_told_apart_are_not_counted(source: SampleSet) -> None:
    config = {**source.manifest.config, "protocol": {"name": "published"}}
    published = SampleSet(
        source.path, source.manifest.model_copy(update={"config": config}), source.frame(), source.catalog
    )
    assert count_titles([(published, published.frame("train"))]) is None
    assert total(count_shots([(published, published.samples("train"))])) == 0


def test_shots_tell_their_targets_and_the_past_of_their_users(source: SampleSet) -> None:
    samples = source.samples("train")[:5]
    known = count_shots([(source, [*samples, samples[0]])])
    expected = {(one.user_id, entry.item_id) for one in samples for entry in one.past}
    assert total(known) == len(expected | {(one.user_id, one.item_id) for one in samples})


def test_a_stage_keeps_what_it_counted_and_later_ones_build_on_it(
    tmp_path: Path, inputs: Build, source: SampleSet, target: SampleSet
) -> None:
    taught = tune_stage(inputs(kind="instruction", mode="full"), tmp_path / "taught")
    tuned = tune_stage(inputs(mode="full", parent=taught), tmp_path / "tuned")
    few = tune_stage(inputs(parent=tuned, data=[target], shots=8, selection="strict-k"), tmp_path / "few")
    again = tune_stage(inputs(mode="full", parent=tuned), tmp_path / "again")
    assert load_knowledge(taught) is None
    known, more = load_knowledge(tuned), load_knowledge(few)
    counted = count_titles([(source, source.frame("train"))])
    assert known is not None
    assert more is not None
    assert counted is not None
    assert (total(known), known.rule) == (total(counted), counted.rule)
    assert total(more) > total(known)
    assert more.rule == known.rule
    assert (tuned / "knowledge.parquet").read_bytes() == (again / "knowledge.parquet").read_bytes()


def test_without_facts_in_the_template_nothing_is_counted(tmp_path: Path, inputs: Build) -> None:
    assert load_knowledge(tune_stage(inputs(template="titles"), tmp_path / "model")) is None


def test_a_scorer_asks_as_the_model_was_tuned(tmp_path: Path, inputs: Build, source: SampleSet) -> None:
    model = tune_stage(inputs(mode="full"), tmp_path / "model")
    scorer, lists = load_scorer(model, source, device="cpu"), sample_lists(source.samples("test"))
    finder = FactFinder(source.catalog, load_knowledge(model))
    asked = DomainPrompts(scorer.encoder, source.catalog, finder).encode(lists)
    expected, _ = scorer.score_prompts(asked, [len(one.item_ids) for one in lists])
    np.testing.assert_array_equal(scorer.score(lists).flat(), expected)
    text = scorer.encoder.tokenizer.decode(asked[0].ids)
    assert "others" in text
    assert "expected" in text


def test_no_test_label_is_in_what_is_said(source: SampleSet) -> None:
    """With the answers of all test samples turned round, every prompt about them stays the same."""
    known = count_titles([(source, source.frame("train"))])
    turned = source.frame().with_columns(
        label=pl.when(pl.col("split") == "test").then(1 - pl.col("label")).otherwise(pl.col("label")).cast(pl.Int8)
    )
    other = SampleSet(source.path, source.manifest, turned, source.catalog, source.earlier())
    assert known is not None
    for data in (source, other):
        recounted = count_titles([(data, data.frame("train"))])
        assert recounted is not None
        for title in source.catalog.frame["title"]:
            for user in source.frame("test")["user_id"]:
                key, fold = title_key(title), fold_of(user)
                assert recounted.opinion(key, fold) == known.opinion(key, fold)
