"""A worker that the tests kill: `python killed.py TABLE OUTPUT SHARDS PAUSE` with the scorer of the fixtures."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType


def _fixtures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fixtures", Path(__file__).parent / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(table: str, output: str, shards: str, pause: str) -> None:
    """Score, with a pause after each call of the scorer."""
    from recalign.bulk.request import Request
    from recalign.bulk.score import score_users
    from recalign.recommender import Recommender

    fixtures = _fixtures()
    recommender = Recommender(fixtures.Hashed(), fixtures.small_catalogue())
    request = Request(Path(table), shards=int(shards), k=3)

    def rest(done: int, total: int) -> None:
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()
        time.sleep(float(pause))

    score_users(recommender, request, Path(output), model=fixtures.MODEL, progress=rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
