"""What axe finds in the page: nothing serious, in either colour scheme, on a phone and on a desk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recalign.data.samples import SampleSet
from recalign.recommender import Recommender
from recalign.serving.data import DataBeside
from recalign.serving.results import compute_results, user_histories
from recalign.serving.security import ApiKeys
from recalign.serving.standalone import standalone

from ..conftest import Start
from ..fakes import FakeScorer
from .conftest import Open, Visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("width", [375, 1200]),
    pytest.mark.parametrize("scheme", ["light", "dark"]),
]


def serious(shown: Visit) -> list[tuple[str, str]]:
    """Rule and place of what is serious or critical; the script comes through the debugger, so the policy stays."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: make test-browser")
    found: dict[str, Any] = axe.Axe().run(shown.page).response
    assert len(found["passes"]) > 10  # it looked
    return [
        (rule["id"], node["html"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_the_served_page(
    start: Start, visit: Open, data: SampleSet, model: Recommender, scheme: str, width: int
) -> None:
    shown = visit(start({"fake": model}, data=DataBeside.of(data, model)), width, scheme)
    shown.page.locator("#audit-open").wait_for()
    assert serious(shown) == []
    shown.find("film 3")
    shown.find("film 2", "Shift+Enter")
    shown.page.locator("#history li").nth(1).wait_for()
    shown.page.locator(".reasons li").first.wait_for()
    assert serious(shown) == []
    scorer = model.scorer
    assert isinstance(scorer, FakeScorer)
    scorer.gate.clear()
    try:  # while an answer is waited for
        shown.page.locator('.ranked [aria-label="Like Film 11 (2001)"]').first.click()
        shown.page.locator(".column[aria-busy=true]").first.wait_for()
        assert serious(shown) == []
    finally:
        scorer.gate.set()
    shown.page.locator(".column[aria-busy=true]").first.wait_for(state="detached")
    shown.page.locator("#search").focus()
    shown.page.keyboard.type("film")
    shown.page.locator("#suggestions li[aria-selected=true]").wait_for()
    assert serious(shown) == []
    shown.press("Escape")
    shown.page.locator("#audit-open").click()
    assert serious(shown) == []
    assert shown.said == []


def test_the_form_for_the_key(start: Start, visit: Open, scheme: str, width: int) -> None:
    shown = visit(start(keys=ApiKeys(["0123456789abcdef"])), width, scheme)
    shown.page.locator("#key-form").wait_for()
    assert serious(shown) == []


def test_the_page_of_one_file(
    visit: Open, tmp_path: Path, data: SampleSet, model: Recommender, scheme: str, width: int
) -> None:
    beside = DataBeside.of(data, model)
    results = compute_results(beside.beside({"fake": model}), user_histories(data, 2), beside.audit)
    (tmp_path / "page.html").write_text(standalone(results), encoding="utf-8")
    shown = visit(tmp_path / "page.html", width, scheme)
    shown.page.locator(".reasons li").first.wait_for()
    assert serious(shown) == []
    shown.page.locator("#audit-open").click()
    assert serious(shown) == []
