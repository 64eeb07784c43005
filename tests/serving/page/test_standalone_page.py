"""The page as one file, opened from the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.samples import HistoryEntry, SampleSet
from recalign.recommender import Recommender
from recalign.serving.data import NO_AUDIT, DataBeside
from recalign.serving.results import NamedHistory, compute_results, user_histories
from recalign.serving.schemas import ToldVerdict
from recalign.serving.standalone import standalone

from ..fakes import FakeScorer, films
from .conftest import Open
from .test_page import HOSTILE, expect_titles

pytestmark = pytest.mark.browser
VERDICT = ToldVerdict(evaluated=True, text="It beats <b>nothing</b>.")
ENDING = "</script><script>document.title = 'taken'</script>"

Make = Callable[..., tuple[Path, dict[str, Recommender]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a page of two users; the models are there to compare with."""

    def write(
        titles: dict[str, str] | None = None, verdict: ToldVerdict = VERDICT
    ) -> tuple[Path, dict[str, Recommender]]:
        data = films(tmp_path / "films", titles)
        model = Recommender(FakeScorer(), data.catalog)
        beside = DataBeside.of(data, model)
        models = beside.beside({"fake": model})
        results = compute_results(models, user_histories(data, 2), beside.audit, k=5)
        results = results.model_copy(update={"verdicts": {"fake": verdict}})
        (tmp_path / "page.html").write_text(standalone(results), encoding="utf-8")
        return tmp_path / "page.html", models

    return write


def test_the_whole_flow_by_keyboard_without_a_request(make: Make, visit: Open, tmp_path: Path) -> None:
    page, models = make()
    histories = user_histories(films(tmp_path / "again"), 2)
    shown = visit(page)
    for place, history in enumerate(histories):
        if place:
            shown.tab_to("picker")
            shown.press("ArrowDown")
        ranked = [models[name].rank(history.entries, 5) for name in ("fake", "prior:item-mean")]
        for column, expected in enumerate(ranked):
            expect_titles(shown, column, expected[0].title)
            titles = shown.columns.nth(column).locator(".ranked > li .head .title").all_text_contents()
            assert titles == [item.title for item in expected]
        catalog = models["fake"].catalog
        assert shown.page.locator("#history li").all_inner_texts() == [
            f"{'Liked' if entry.liked else 'Disliked'}\n{catalog.title(entry.item_id)}" for entry in history.entries
        ]
    second = ranked[0][1]
    shown.tab_to(f"Why {second.title}?")
    shown.press("Enter")
    (told,) = models["fake"].explain(histories[1].entries, [second])
    reasons = shown.columns.nth(0).locator(".ranked > li:nth-child(2) .reasons li")
    reasons.first.wait_for()
    assert [text.rpartition("\n")[0] for text in reasons.all_inner_texts()] == [
        f"{'liked' if influence.liked else 'disliked'} {influence.title}" for influence in told.influences
    ]
    assert reasons.locator(".effect").all_inner_texts() == [
        f"{influence.effect:+.3f}".replace("-", "−") for influence in told.influences
    ]
    while shown.focused != "audit-open":
        shown.press("Shift+Tab")
    shown.press("Enter")
    assert shown.page.locator("#findings > li").count() > 0
    shown.press("Escape")
    assert shown.page.locator(":is(#search, #clear, #key, header a, .remove):visible").count() == 0
    assert shown.page.get_by_role("button", name="Like").count() == 0
    assert [url for url in shown.asked if not url.startswith(("file:", "data:"))] == []
    assert shown.said == []


def test_hostile_titles_are_text(make: Make, visit: Open) -> None:
    titles = {str(n): f"{n} {(ENDING, *HOSTILE)[n % 5]}" for n in range(1, 11)}
    page, models = make(titles)
    shown = visit(page)
    shown.page.locator(".reasons li").first.wait_for()
    found = shown.page.locator(".ranked > li .head .title, #history .title").all_text_contents()
    assert set(found) <= {models["fake"].catalog.title(item) for item in titles}
    assert any("</script>" in title for title in found)
    assert shown.page.locator("main :is(script, img, b)").count() == 0
    assert shown.page.title() == "recalign"
    assert shown.said == []


SIX_FAST_CHOICES = """() => {
    const picker = document.getElementById("picker");
    for (const place of [1, 0, 1, 0, 0, 1]) {
        picker.value = place;
        picker.dispatchEvent(new Event("change"));
    }
}"""


def test_six_fast_choices_show_the_last(make: Make, visit: Open, tmp_path: Path) -> None:
    page, models = make()
    history = user_histories(films(tmp_path / "again"), 2)[1]
    shown = visit(page)
    shown.page.locator(".reasons li").first.wait_for()
    shown.page.evaluate(SIX_FAST_CHOICES)
    expected = models["fake"].rank(history.entries, 5)
    expect_titles(shown, 0, expected[0].title)
    titles = shown.columns.nth(0).locator(".ranked > li .head .title").all_text_contents()
    assert titles == [item.title for item in expected]
    assert shown.said == []


@pytest.mark.parametrize("width", [360, 1200])
def test_no_width_scrolls_sideways(make: Make, visit: Open, width: int) -> None:
    page, _ = make({str(n): f"{n} {'Donaudampfschiff' * 12}" for n in range(1, 9)})
    shown = visit(page, width)
    shown.page.locator(".reasons li").first.wait_for()
    shown.page.locator("#audit-open").click()
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    assert shown.page.evaluate("document.getElementById('audit').scrollWidth") <= width


def test_verdict_near_ties_and_the_scale_of_bars_are_said(make: Make, visit: Open) -> None:
    page, models = make()
    shown = visit(page)
    shown.page.locator(".reasons li").first.wait_for()
    column = shown.columns.nth(0)
    assert column.locator(".verdict").inner_text() == VERDICT.text
    history = user_histories(SampleSet.load(page.parent / "films"), 2)[0]
    ranked = models["fake"].rank(history.entries, 5)
    near = [item for item in ranked if (ranked[0].probability or 0) - (item.probability or 0) < 0.01]
    assert len(near) == 4  # `FakeScorer` has the ids for log-odds, so most probabilities are close to 1
    assert column.locator(".alike").inner_text() == (
        "Not told apart, with less than 1\u00a0% between them: numbers 1 to 4. Their order says nothing."
    )
    assert "bars end at 1" in column.locator(".reasons > p").inner_text()
    (told,) = models["fake"].explain(history.entries, ranked[:1])
    widths = column.locator(".bar").evaluate_all("bars => bars.map((bar) => parseFloat(bar.style.width))")
    assert widths == pytest.approx([50 * abs(influence.effect) for influence in told.influences], rel=1e-3)


def test_only_probabilities_are_called_chances(make: Make, visit: Open) -> None:
    shown = visit(make()[0])
    label = shown.columns.nth(0).locator(".unit")
    label.wait_for()
    assert label.inner_text() == "Chance of a like"
    assert shown.columns.nth(0).locator(".value").first.inner_text().endswith(" %")
    shown.page.locator("#first-model").select_option("prior:popularity")
    shown.columns.nth(0).locator(".ranked > li").first.wait_for()
    assert not label.is_visible()


@pytest.mark.parametrize(
    ("prior", "beside"),
    [("prior:recent+item-mean", "prior:recent+item-mean"), ("prior:like-rate", "prior:item-mean")],  # the page has none
)
def test_the_prior_of_the_verdict_stands_beside_the_model(make: Make, visit: Open, prior: str, beside: str) -> None:
    page, models = make(verdict=ToldVerdict(evaluated=True, text="It loses.", prior=prior))
    shown = visit(page)
    shown.columns.nth(1).locator("h3", has_text=beside).wait_for()
    assert shown.page.locator("#second-model").input_value() == beside
    history = user_histories(SampleSet.load(page.parent / "films"), 2)[0]
    expect_titles(shown, 1, models[beside].rank(history.entries, 5)[0].title)
    shown.page.locator("#second-model").select_option("prior:popularity")
    shown.columns.nth(1).locator("h3", has_text="prior:popularity").wait_for()
    assert shown.said == []


def test_a_history_that_is_the_end_of_a_longer_one_says_so(tmp_path: Path, model: Recommender, visit: Open) -> None:
    first, last = (HistoryEntry("1", True),), (HistoryEntry("2", True),)
    histories = [NamedHistory("long", last, first, "The last 1 of 2."), NamedHistory("short", first)]
    page = tmp_path / "page.html"
    page.write_text(standalone(compute_results({"fake": model}, histories, NO_AUDIT)), encoding="utf-8")
    shown = visit(page)
    note = shown.page.locator("#history-note")
    assert note.inner_text() == "The last 1 of 2."
    shown.page.locator("#picker").select_option("1")
    note.wait_for(state="hidden")


def test_scores_that_are_an_order_are_alike_where_they_are_equal(make: Make, visit: Open) -> None:
    shown = visit(make()[0])
    shown.page.locator("#first-model").select_option("prior:popularity")
    shown.columns.nth(0).locator(".ranked > li").first.wait_for()
    scores = shown.columns.nth(0).locator(".value").all_inner_texts()
    told = shown.columns.nth(0).locator(".alike")
    assert told.is_visible() == (len(set(scores)) < len(scores))
    assert "with the same score" in told.inner_text()
