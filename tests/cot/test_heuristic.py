"""The embedded teacher: valid answers for any data, better than chance, and blind to the truth."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import polars as pl
import pytest

from recalign.cot.answers import Accepted, read_answer
from recalign.cot.cases import Case, CotQuestion, Source, make_source
from recalign.cot.config import TeachConfig
from recalign.cot.teachers.heuristic import HeuristicTeacher
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.prompting.prompts import CotFields


def answers(teacher: HeuristicTeacher, case: Case) -> list[str]:
    return [asyncio.run(teacher.complete(CotQuestion("", 512, 0.2, case=case, step=step))).text for step in (1, 2, 3)]


def read(teacher: HeuristicTeacher, source: Source, case: Case) -> CotFields:
    fields = source.fields(case)
    for step, text in enumerate(answers(teacher, case), start=1):
        answer = read_answer(
            step, asyncio.run(teacher.complete(CotQuestion("", 512, 0.2, case=case, step=step))), fields
        )
        assert isinstance(answer, Accepted), text
        assert answer.unknown == 0
        fields = answer.fields
    return fields


def test_answers_are_valid_and_keep_to_what_was_asked(movies: SampleSet, source: Source) -> None:
    teacher = HeuristicTeacher(movies, TeachConfig())
    for case in source.cases[:10]:
        fields = read(teacher, source, case)
        assert len(fields.pairs) == min(10, len(case.candidates))
        assert 1 <= len(fields.featured) <= 5
        liked = [movies.catalog.text(entry.item_id) for entry in case.history if entry.liked]
        assert set(fields.featured) <= set(liked) or not liked, "what is featured was liked, where anything was"
        assert {watched for watched, _ in fields.pairs} <= set(fields.featured)


def test_books_and_titles_that_bring_quotes(books: SampleSet) -> None:
    source = make_source(books, TeachConfig())
    fields = read(HeuristicTeacher(books, TeachConfig()), source, source.cases[0])
    assert "written by" in fields.pairs[0][0]
    assert "Favourite authors are" in fields.preferences


def test_titles_alone_will_do(movies: SampleSet, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = movies.catalog.frame.with_columns(
        genres=pl.lit(None, pl.List(pl.String)), year=pl.lit(None, pl.Int32), author=pl.lit(None, pl.String)
    )
    monkeypatch.setattr(movies.catalog, "frame", bare)
    fields = read(HeuristicTeacher(movies, TeachConfig()), source, source.cases[0])
    assert len(fields.pairs) == 10


def test_prepared_or_not_the_answers_are_the_same(movies: SampleSet, source: Source) -> None:
    alone, together = (HeuristicTeacher(movies, TeachConfig()) for _ in range(2))
    together.prepare(source.cases)
    for case in source.cases[::7]:
        assert answers(alone, case) == answers(together, case)


def test_the_truth_changes_nothing(movies: SampleSet, source: Source) -> None:
    """Data in which a user's own samples have other truths: the teacher says the same about that user's case."""
    case = source.cases[0]
    expected = answers(HeuristicTeacher(movies, TeachConfig()), case)
    frame = movies.frame("train")
    own = pl.col("user_id") == case.user_id
    somebody = frame.filter(~own)["item_id"][0]
    changed = _with_train(movies, frame.with_columns(item_id=pl.when(own).then(pl.lit(somebody)).otherwise("item_id")))
    assert answers(HeuristicTeacher(changed, TeachConfig()), case) == expected
    without = _with_train(movies, frame.filter(~own))
    assert answers(HeuristicTeacher(without, TeachConfig()), case) == expected


def test_what_others_did_changes_something(movies: SampleSet, source: Source) -> None:
    case = source.cases[0]
    frame = movies.frame("train")
    fewer = _with_train(movies, frame.filter(pl.col("user_id").hash(1) % 3 == 0))
    assert answers(HeuristicTeacher(fewer, TeachConfig()), case) != answers(
        HeuristicTeacher(movies, TeachConfig()), case
    )


def test_disliked_items_weigh_less(movies: SampleSet, source: Source) -> None:
    teacher = HeuristicTeacher(movies, TeachConfig())
    changed = 0
    for case in source.cases[:10]:
        flipped = tuple(replace(entry, liked=not entry.liked) for entry in case.history)
        changed += answers(teacher, replace(case, history=flipped))[2] != answers(teacher, case)[2]
    assert changed > 5


def test_it_needs_words_in_the_language(movies: SampleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(movies.manifest.config, "domain", {"language": "fr", "noun": "film", "noun_plural": "films"})
    with pytest.raises(ConfigError, match="'fr'"):
        HeuristicTeacher(movies, TeachConfig())


def _with_train(samples: SampleSet, frame: pl.DataFrame) -> SampleSet:
    """The same data with another train split."""

    class Changed(SampleSet):
        def __init__(self) -> None:
            self.path, self.manifest, self.catalog = samples.path, samples.manifest, samples.catalog

        def frame(self, split: str | None = None) -> pl.DataFrame:
            return frame

    return Changed()
