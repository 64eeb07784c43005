"""Time and chance for calls in one object, so that tests need not wait for either."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime

from recalign.seeding import generator


class Clock:
    """The machine's clock. Tests replace its methods."""

    def __init__(self, seed: int = 0) -> None:
        """Two processes wait differently long: the numbers drawn also depend on the process. No result does."""
        self._random = generator(seed, "teacher", "jitter", os.getpid())

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def stamp(self) -> str:
        """The time of day: UTC, ISO 8601, seconds."""
        return datetime.now(UTC).isoformat(timespec="seconds")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def uniform(self, high: float) -> float:
        """A random number in [0, high)."""
        return float(self._random.uniform(0.0, high)) if high > 0 else 0.0
