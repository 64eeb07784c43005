"""Every command of the documentation, run in order (`make test-docs`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .blocks import ROOT, blocks, pages
from .running import run_page

pytestmark = pytest.mark.docs
RUNNING = [page for page in pages() if any(block.runs for block in blocks(page.read_text(encoding="utf-8")))]


@pytest.mark.timeout(0)  # running.LIMIT is the limit of a page
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run(page: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    base = tmp_path_factory.getbasetemp()
    shelf = (base if worker_id == "master" else base.parent) / "kits"  # one for all processes of this run
    shelf.mkdir(exist_ok=True)
    run_page(page, tmp_path, shelf)
