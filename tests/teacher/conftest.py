"""Prepared data, and a clock that nobody has to wait for."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.data.samples import SampleSet
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.teacher.clock import Clock
from recalign.teacher.config import TeachConfig
from recalign.teacher.teach import Source, make_source

MODEL = "openai:test-model"


class FakeClock(Clock):
    """Time that passes only where somebody waits. `waits` are the seconds of each wait."""

    def __init__(self) -> None:
        super().__init__(0)
        self.time, self.waits = 1000.0, list[float]()

    def now(self) -> float:
        return self.time

    def stamp(self) -> str:
        return f"t{self.time:.0f}"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """An API key in the environment, and no proxy between the tests and their server."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-5d41402abc4b")
    return "sk-canary-5d41402abc4b"


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
