"""Prepared data, and the clock and the key of the client's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.cot.cases import Source, make_source
from recalign.cot.config import TeachConfig
from recalign.data.samples import SampleSet
from recalign.experiment.prepare import PrepareConfig, prepare

from ..llm.conftest import clock, key

__all__ = ["clock", "key"]


@pytest.fixture(scope="session")
def movies(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    return _prepared(tmp_path_factory.mktemp("movies") / "data", domain="movies")


@pytest.fixture(scope="session")
def books(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    return _prepared(tmp_path_factory.mktemp("books") / "data", domain="books")


@pytest.fixture(scope="session")
def source(movies: SampleSet) -> Source:
    return make_source(movies, TeachConfig())


def _prepared(path: Path, domain: str) -> SampleSet:
    settings = {"users": 60, "items": 80, "ratings_per_user": 20}
    prepare(PrepareConfig.build(dataset="synthetic", output=path, catalogue=domain, **settings))
    return SampleSet.load(path)
