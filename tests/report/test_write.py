"""The whole report: what is written, what it refuses, and that the same results give the same bytes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recalign.errors import ArtifactError, ConfigError
from recalign.evaluation.metric import METRICS
from recalign.report import Report, write_report

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Elements, their attributes and ids; fails on a tag that closes what is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def html(written: Report) -> str:
    return written.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(html: str) -> Outline:
    return Outline(html)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written(written: Report, experiment: Path) -> None:
    assert written.page == experiment / "report.html"
    found = files(written.folder)
    assert found["results.json"] == (experiment / "results.json").read_bytes()
    assert sum(name.startswith("tables/") for name in found) == written.tables
    images = [name for name in found if name.startswith("figures/")]
    assert len(images) == 2 * written.figures
    assert all(found[name].startswith(b"\x89PNG") for name in images if name.endswith(".png"))
    listed = found["files.txt"].decode().split()
    assert sorted(listed) == sorted(name for name in found if "/" in name)


def test_every_kind_of_figure_is_drawn(written: Report) -> None:
    names = {path.stem for path in (written.folder / "figures").glob("*.svg")}
    asked = {
        "fig-4-few-shot-tuning",
        "fig-4-with-baselines",
        "fig-2-ablation-at-64-shots",
        "fig-3-backbones",
        "ranking",
    }
    panels = {"movie-priors", "movie-reliability", "movie-users", "movie-loo-priors", "movie-loo-reliability"}
    assert names == asked | panels | {"training"}


def test_the_page_is_well_formed_and_its_ids_are_unique(outline: Outline) -> None:
    assert outline.open == []
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {str(each["href"]) for name in ("a", "use") for each in outline.all(name) if "href" in each}
    assert wanted
    assert {link.removeprefix("#") for link in wanted} <= set(ids)


def test_the_page_needs_nothing_else(html: str, outline: Outline) -> None:
    for tag, attributes in outline.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
        assert not any(name.startswith("on") for name in attributes), tag
    assert {"link", "img", "iframe", "object", "embed", "base"}.isdisjoint(tag for tag, _ in outline.tags)
    assert "//" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"@import|url\((?!#)", html)
    policy = next(each["content"] for each in outline.all("meta") if each.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_titles_are_text(html: str, outline: Outline) -> None:
    assert len(outline.all("script")) == 1
    assert "alert(&#34;x&#34;)" in html
    assert "<b>" not in html
    assert "\u202e" not in html


def test_the_script_is_the_one_that_the_policy_admits(html: str) -> None:
    import base64
    import hashlib

    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in html


def test_figures_follow_the_page_and_are_described(outline: Outline, html: str) -> None:
    drawings = [each for each in outline.all("div") if each.get("class") == "drawing"]
    assert len(drawings) == len(outline.all("svg")) == 11
    assert all(each["role"] == "img" and len(str(each["aria-label"])) > 40 for each in drawings)
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        assert "var(--ink)" in svg
        assert "<text" in svg


def test_saved_figures_have_colours_of_their_own(written: Report) -> None:
    for path in (written.folder / "figures").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "var(--" not in text
        assert "<script" not in text


def test_tables_have_headers(outline: Outline) -> None:
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert {each.get("scope") for each in outline.all("th")} == {"col", "row"}
    meanings = {each.get("title") for each in outline.all("th")}
    assert {METRICS.find(name).meaning for name in ("auc", "ndcg", "ece")} <= meanings


def test_the_page_says_what_the_papers_do_not(html: str) -> None:
    text = " ".join(html.split())
    assert "The papers’ figures print no values" in text
    assert "TLRec’s published NDCG@10 cannot be the figure over 51 candidates" in text
    assert "where a random order of 51 has 0.089" in text


def test_the_same_results_give_the_same_bytes_and_tell_how_far_they_are(
    written: Report, experiment: Path, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_bytes((experiment / "results.json").read_bytes())
    heard: list[tuple[int, int]] = []
    again = write_report(tmp_path, progress=lambda *done: heard.append(done))
    assert again.page.read_bytes() == written.page.read_bytes()
    assert files(again.folder) == files(written.folder)
    assert len(heard) >= again.figures > 1
    assert heard == [(done, len(heard)) for done in range(1, len(heard) + 1)]


def empty(**more: Any) -> bytes:
    return json.dumps({"name": "x", "title": "x", "format_version": 2, "panels": [], **more}).encode()


def test_results_without_anything_is_a_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(empty())
    report = write_report(tmp_path)
    text = report.page.read_text(encoding="utf-8")
    assert (report.tables, report.figures) == (0, 0)
    assert "Every job of the run has a result." in text
    assert Outline(text).open == []


def test_what_an_earlier_report_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    missing = [{"job": "a", "status": "failed", "reason": "b"}]
    (tmp_path / "results.json").write_bytes(empty(missing=missing))
    report = write_report(tmp_path)
    own = report.folder / "tables" / "notes.csv"
    own.write_text("mine")
    outside = tmp_path / "kept.csv"
    outside.write_text("mine")
    with (report.folder / "files.txt").open("a") as listing:
        listing.write("../kept.csv\ntables/../../kept.csv\n")
    (tmp_path / "results.json").write_bytes(empty())
    write_report(tmp_path)
    assert set(files(report.folder)) == {"results.json", "files.txt", "tables/notes.csv"}
    assert outside.exists()


def test_names_of_panels_do_not_lead_out_of_the_folder(document: dict[str, Any], tmp_path: Path) -> None:
    movie, loo = document["panels"]
    rows = [row for row in movie["rows"] if row["kind"] == "prior"]
    panels = [{**each, "name": name, "rows": rows} for each, name in ((movie, "../../up"), (loo, "..//UP"))]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.json").write_bytes(empty(panels=panels))
    write_report(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {"up-results.csv", "up-2-results.csv"} <= {path.name for path in (tmp_path / "a/report/tables").iterdir()}


def test_another_name_for_the_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(empty())
    report = write_report(tmp_path, tmp_path / "out" / "page.html")
    assert (report.page.exists(), report.folder) == (True, tmp_path / "out" / "page")
    with pytest.raises(ConfigError, match=r"one in \.html"):
        write_report(tmp_path, tmp_path / "page.pdf")


def test_no_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="recalign run FILE"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_terms_are_explained_below_the_results(html: str) -> None:
    assert "AUC: 0.5 is guessing, 1 is perfect. GAUC: AUC within a user." in html
    assert "Label mass:" not in html
