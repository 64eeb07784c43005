from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, SampleSet
from recalign.data.schema import ITEMS
from recalign.experiment.audit import audit_with
from recalign.recommender import Recommender
from recalign.scoring.base import Scores
from recalign.serving.data import DataBeside
from recalign.serving.schemas import ToldVerdict
from recalign.serving.security import ApiKeys

from ..conftest import Running, Start
from ..fakes import FakeScorer, catalogue, films
from .conftest import Open, Visit

pytestmark = pytest.mark.browser
KEY = "0123456789abcdef"
HOSTILE = [
    "<script>document.title = 'taken'</script>",
    '"><img src=/nowhere onerror="document.title = 1">',
    "javascript:alert(1) &amp; \u202e reversed",
    "Film 4",
]


class Opposite(FakeScorer):
    """Ranks the other way round."""

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(-values for values in super().score(lists).values))


def expect_titles(visit: Visit, column: int, first: str) -> None:
    """Wait until the first title of a column is this one, and nothing is waited for."""
    place = visit.columns.nth(column)
    place.locator(".ranked > li:first-child .title", has_text=first).first.wait_for()
    visit.page.locator(f".column:nth-child({column + 1})[aria-busy=false]").wait_for()


def test_the_whole_flow_by_keyboard(start: Start, visit: Open) -> None:
    shown = visit(start())
    shown.tab_to("search")
    shown.page.keyboard.type("film 1")
    shown.page.locator("#suggestions li[aria-selected=true]").wait_for()
    search = shown.page.locator("#search")
    assert search.get_attribute("aria-expanded") == "true"
    shown.page.locator("#suggestion-3").wait_for()
    assert search.get_attribute("aria-activedescendant") == "suggestion-0"
    shown.press("ArrowDown")
    assert search.get_attribute("aria-activedescendant") == "suggestion-1"
    shown.press("Escape")
    assert search.get_attribute("aria-expanded") == "false"
    shown.press("Escape")
    assert search.input_value() == ""

    shown.find("film 3")
    expect_titles(shown, 0, "Film 12")
    shown.find("film 12", "Shift+Enter")
    expect_titles(shown, 0, "Film 11")
    assert shown.page.locator("#history li").all_inner_texts() == [
        "Liked\nFilm 3 (1993)\n×",
        "Disliked\nFilm 12 (2002)\n×",
    ]
    shown.tab_to("Disliked: Film 12 (2002). Change to liked")
    shown.press("Space")
    shown.page.locator("#history .liked").nth(1).wait_for()
    assert shown.focused == "Liked: Film 12 (2002). Change to disliked"

    shown.tab_to("Why Film 10 (2000)?")
    shown.press("Enter")
    reasons = shown.page.locator(".ranked > li", has_text="Film 10").locator(".reasons li")
    reasons.first.wait_for()
    # As `FakeScorer` has it: 0.01 times the id, for each liked one.
    assert reasons.all_inner_texts() == ["liked Film 12 (2002)\n+0.120", "liked Film 3 (1993)\n+0.030"]
    assert shown.focused == "Why Film 10 (2000)?"
    shown.press("Enter")
    reasons.first.wait_for(state="detached")

    shown.tab_to("Like Film 9 (1999)")
    shown.press("Enter")
    shown.page.locator("#history li").nth(2).wait_for()
    shown.page.locator(".ranked", has_text="Film 9 ").wait_for(state="detached")
    assert shown.focused == "fake"  # the heading of the list, since the button is gone
    while shown.focused != "clear":
        shown.press("Shift+Tab")
    shown.press("Enter")
    shown.page.locator(".note", has_text="Like a title").wait_for()
    assert shown.focused == "search"
    assert shown.said == []


def test_hostile_titles_are_text(start: Start, visit: Open) -> None:
    rows = [(str(n), title, None, None, None) for n, title in enumerate(HOSTILE, start=1)]
    catalog = ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")
    shown = visit(start({"<b>m</b>": Recommender(FakeScorer(), catalog)}))
    shown.find("script")
    expect_titles(shown, 0, "Film 4")
    titles = [catalog.title(str(n)) for n in (1, 2, 3, 4)]
    assert shown.page.locator("#history .title").all_text_contents() == titles[:1]
    assert shown.page.locator(".ranked > li .head .title").all_text_contents() == titles[:0:-1]
    shown.page.locator(".reasons li").first.wait_for()
    assert shown.page.locator(".reasons .title").all_text_contents() == titles[:1]
    assert shown.page.locator("h3").all_text_contents() == ["<b>m</b>"]
    assert shown.page.locator("main :is(script, img, b)").count() == 0
    assert shown.page.title() == "recalign"
    assert shown.said == []


def test_six_fast_edits_show_the_last(start: Start, visit: Open) -> None:
    server = start()
    shown = visit(server)
    shown.find("film 1 1991")
    expect_titles(shown, 0, "Film 12")
    server.scorer.gate.clear()  # from here the model holds every answer back
    for word in ("Like Film 12 (2002)", "Like Film 11 (2001)", "Dislike Film 10 (2000)", "Like Film 9 (1999)"):
        shown.page.locator(f'.ranked [aria-label="{word}"]').click()
    shown.page.locator('[aria-label="Remove Film 11 (2001)"]').click()
    shown.page.locator('[aria-label="Liked: Film 9 (1999). Change to disliked"]').click()
    server.scorer.gate.set()
    expect_titles(shown, 0, "Film 11")
    expected = server.post("/v1/recommend", likes=["id:1", "id:12"], dislikes=["id:10", "id:9"]).json["items"]
    assert shown.page.locator(".ranked > li .head .title").all_text_contents() == [item["title"] for item in expected]
    assert shown.page.locator(".ranked .value").all_text_contents() == [
        f"{100 * item['probability']:.1f} %" for item in expected
    ]
    assert shown.said == []


# Three tasks that heed no abort, and end in the other order; `told` is what arrives.
OVERTAKING = """async () => {
    const { Latest } = await import("/page/latest.js");
    const latest = new Latest(), told = [], ends = [], runs = [];
    for (const name of ["a", "b", "c"]) {
        const task = () => new Promise((resolve) => ends.push(() => resolve(name)));
        runs.push(latest.run(task, (result) => told.push(result), () => told.push("failed")));
    }
    ends.reverse().forEach((end) => end());
    await Promise.all(runs);
    return told;
}"""


def test_stale_answers_never_overtake_new_ones(server: Running, visit: Open) -> None:
    assert visit(server).page.evaluate(OVERTAKING) == ["c"]


def test_two_models_side_by_side(start: Start, visit: Open) -> None:
    models = {"up": Recommender(FakeScorer(), catalogue(5)), "down": Recommender(Opposite(), catalogue(5))}
    shown = visit(start(models))
    shown.find("film 3")
    expect_titles(shown, 0, "Film 5")
    expect_titles(shown, 1, "Film 1")
    assert shown.columns.nth(0).locator(".elsewhere").all_text_contents() == [f"down: number {n}" for n in (4, 3, 2, 1)]
    shown.page.locator("#second-model").select_option("")
    shown.columns.nth(1).wait_for(state="detached")
    expect_titles(shown, 0, "Film 5")
    assert shown.columns.nth(0).locator(".elsewhere").all_text_contents() == [""] * 4
    assert shown.said == []


def test_an_id_of_another_catalogue_is_no_answer(start: Start, visit: Open) -> None:
    rows = [(str(n), f"Book {n}", None, None, None) for n in range(1, 5)]
    books = ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")
    models = {"films": Recommender(FakeScorer(), catalogue(5)), "books": Recommender(FakeScorer(), books)}
    shown = visit(start(models))
    shown.find("film 3")
    expect_titles(shown, 0, "Film 5")
    note = shown.columns.nth(1).locator(".note.problem")
    note.wait_for()
    assert "takes “Film 3 (1993)” for “Book 3”" in note.inner_text()
    assert shown.columns.nth(1).locator(".ranked li").count() == 0


def test_a_key_is_asked_for_and_opens(start: Start, visit: Open) -> None:
    shown = visit(start(keys=ApiKeys([KEY])))
    shown.page.locator("#key-form").wait_for()
    assert shown.focused == "key"
    shown.page.keyboard.type(KEY)
    shown.press("Enter")
    shown.find("film 3")
    expect_titles(shown, 0, "Film 12")
    assert shown.page.locator("#key-form").is_hidden()
    assert KEY not in shown.page.url + shown.page.content()


def test_errors_are_told_in_words(start: Start, visit: Open) -> None:
    server = start()
    shown = visit(server)
    server.scorer.raises = RuntimeError("broken")
    shown.find("film 3")
    shown.page.locator(".note.problem", has_text="the server failed on this request").wait_for()
    server.scorer.raises = None
    shown.tab_to("Try again")
    shown.press("Enter")
    expect_titles(shown, 0, "Film 12")


@pytest.mark.parametrize("width", [360, 700, 1200])
def test_no_width_scrolls_sideways(start: Start, visit: Open, width: int) -> None:
    rows = [(str(n), f"{n} {'Donaudampfschiff' * 12}", None, None, None) for n in range(1, 5)]
    catalog = ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")
    models = {"up" * 40: Recommender(FakeScorer(), catalog), "down": Recommender(Opposite(), catalog)}
    shown = visit(start(models), width)
    shown.find("2")
    expect_titles(shown, 0, "4")
    shown.page.locator(".reasons li").first.wait_for()
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width


def test_a_prior_stands_beside_the_model(start: Start, visit: Open, data: SampleSet, model: Recommender) -> None:
    beside = DataBeside.of(data, model)
    shown = visit(start({"fake": model}, data=beside))
    assert [group.get_attribute("label") for group in shown.page.locator("#first-model optgroup").all()] == [
        "Models",
        "Priors",
    ]
    assert shown.page.locator("#first-model").input_value() == "fake"
    assert shown.page.locator("#second-model").input_value() == "prior:item-mean"
    assert shown.page.locator(".about:visible").all_inner_texts() == [
        "A prior: nothing learned, the training data counted."
    ]
    assert shown.page.locator(".unit:visible").count() == 0
    shown.find("film 3")
    expect_titles(shown, 0, "Film 12")
    expect_titles(shown, 1, beside.priors["prior:item-mean"].recommend(["id:3"])[0].title)
    assert shown.page.locator(".unit:visible").all_inner_texts() == ["Chance of a like"] * 2
    for name in beside.priors:
        shown.page.locator("#second-model").select_option(name)
        expected = beside.priors[name].recommend(["id:3"])
        expect_titles(shown, 1, expected[0].title)
        titles = shown.columns.nth(1).locator(".ranked > li .head .title").all_text_contents()
        assert titles == [item.title for item in expected]
    shown.page.locator("#second-model").select_option("prior:popularity")
    expect_titles(shown, 1, beside.priors["prior:popularity"].recommend(["id:3"])[0].title)
    expect_titles(shown, 0, "Film 12")  # both columns are made anew
    assert shown.page.locator(".unit:visible").count() == 1  # counts are no chances
    shown.columns.nth(1).locator(".reasons", has_text="No liked or disliked title changes this score.").wait_for()
    assert shown.said == []


def test_without_data_nothing_is_said_of_priors_and_audit(server: Running, visit: Open) -> None:
    shown = visit(server)
    shown.find("film 3")
    expect_titles(shown, 0, "Film 12")
    text = shown.page.locator("body").inner_text().lower()
    assert "prior" not in text
    assert "audit" not in text


def test_the_audit_by_keyboard(start: Start, visit: Open, tmp_path: Path) -> None:
    data = films(tmp_path / "films", {str(n): HOSTILE[(n - 1) % 2] for n in range(1, 9)})
    model = Recommender(FakeScorer(), data.catalog)
    report = audit_with(data)
    shown = visit(start({"fake": model}, data=DataBeside.of(data, model)))
    notes = len(report.findings) - len(report.warnings)
    label = f"Audit: {len(report.warnings)} warnings, {notes} notes"
    shown.page.locator("#audit-open", has_text=label).wait_for()
    shown.tab_to("audit-open")
    shown.press("Enter")
    assert shown.page.locator("#audit").is_visible()
    assert shown.page.locator("#audit-title").inner_text() == "Audit of films"
    findings = shown.page.locator("#findings > li")
    assert findings.locator("strong").all_inner_texts() == [finding.code for finding in report.findings]
    for finding, place in zip(report.findings, findings.all(), strict=True):
        assert finding.message[1:] in place.inner_text()
        assert place.locator(".examples li").all_text_contents() == list(finding.examples)
    assert any("<script>" in example for finding in report.findings for example in finding.examples)
    assert shown.page.locator("dialog :is(script, img, b)").count() == 0
    shown.press("Escape")
    assert shown.page.locator("#audit").is_hidden()
    assert shown.focused == "audit-open"
    shown.press("Space")
    shown.tab_to("audit-close")
    shown.press("Enter")
    assert shown.page.locator("#audit").is_hidden()
    assert shown.said == []


def test_the_audit_waits_for_the_key(start: Start, visit: Open, data: SampleSet, model: Recommender) -> None:
    shown = visit(start({"fake": model}, data=DataBeside.of(data, model), keys=ApiKeys([KEY])))
    shown.page.locator("#key-form").wait_for()
    assert shown.page.locator("#audit-open").is_hidden()
    shown.page.keyboard.type(KEY)
    shown.press("Enter")
    shown.page.locator("#audit-open").wait_for()


@pytest.mark.parametrize("keys", [None, ApiKeys([KEY])])
def test_the_verdict_stands_above_a_models_list(
    start: Start, visit: Open, data: SampleSet, model: Recommender, keys: ApiKeys | None
) -> None:
    told = {name: ToldVerdict(evaluated=True, text=f"{name} beats <b>nothing</b>.") for name in ("one", "two")}
    shown = visit(start({"one": model, "two": model}, data=DataBeside.of(data, model), verdicts=told, keys=keys))
    if keys:
        shown.page.locator("#key-form").wait_for()
        assert shown.page.locator(".about:visible").count() == 0
        shown.page.keyboard.type(KEY)
        shown.press("Enter")
    shown.page.locator(".verdict").nth(1).wait_for()
    assert shown.page.locator(".verdict").all_inner_texts() == [told["one"].text, told["two"].text]
    assert shown.page.locator("#second-model").input_value() == "two"  # of two models, the second stands beside
    shown.page.locator("#first-model").select_option("prior:item-mean")
    assert "A prior" in shown.columns.nth(0).locator(".about").inner_text()
    assert shown.columns.nth(1).locator(".verdict").inner_text() == told["two"].text
