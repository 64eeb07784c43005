"""A clock that nobody has to wait for, and a key in the environment."""

from __future__ import annotations

import pytest

from recalign.llm.calls import Clock


class FakeClock(Clock):
    """Time that passes only where somebody waits.

    Attributes:
        waits: Seconds of each wait.
        bounds: Upper bounds of the random numbers that were drawn.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self.time, self.waits, self.bounds = 1000.0, list[float](), list[float]()

    def now(self) -> float:
        return self.time

    def stamp(self) -> str:
        return f"t{self.time:.0f}"

    def uniform(self, high: float) -> float:
        self.bounds.append(high)
        return super().uniform(high)

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
