"""Every command of the documentation, run in order (`make test-docs`)."""

from __future__ import annotations

from itertools import chain, zip_longest
from pathlib import Path

import pytest

from .blocks import ROOT, blocks, kits, pages
from .running import run_page

pytestmark = pytest.mark.docs


def running() -> list[Path]:
    """Pages with a block that runs. Those that need no kit stand between the others.

    So a process has something to do while another one makes the kit that most pages need.
    """
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    found = [page for page, text in texts.items() if any(block.runs for block in blocks(text))]
    alone, needing = ([page for page in found if bool(kits(texts[page])) is needs] for needs in (False, True))
    return [page for page in chain(*zip_longest(alone, needing)) if page]


@pytest.mark.timeout(0)  # running.LIMIT is the limit of a page
@pytest.mark.parametrize("page", running(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run(page: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    base = tmp_path_factory.getbasetemp()
    shelf = (base if worker_id == "master" else base.parent) / "kits"  # one for all processes of this run
    shelf.mkdir(exist_ok=True)
    run_page(page, tmp_path, shelf)
