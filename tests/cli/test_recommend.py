from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from recalign.cli.recommend import recommend
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList
from recalign.data.schema import ITEMS
from recalign.errors import DataError
from recalign.recommender import Recommender
from recalign.scoring.base import Scores

TITLES = [
    "Heat (1995)",
    "Silence of the Lambs, The (1991)",
    "[red]Not red[/red] (1999)",
    "Evil \x1b[2J\x1b]0;owned\x07\u202eTitle (1990)",
    "A Title That Goes On and On, Far Beyond What Any Terminal of Eighty Columns Could Hold in One Line (2001)",
    "千と千尋の神隠し 千と千尋の神隠し 千と千尋の神隠し 千と千尋の神隠し 千と千尋の神隠し (2001)",
]


class Descending:
    """The k-th item of the catalogue scores -k, plus the number of likes."""

    name = "descending"
    log_odds = True

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(np.array([self._one(each, item) for item in each.item_ids]) for each in lists))

    def _one(self, asked: CandidateList, item: str) -> float:
        return -float(item[1:]) + sum(entry.liked for entry in asked.history)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path | None]]:
    rows = [(f"i{place}", title, None, None, None) for place, title in enumerate(TITLES)]
    catalog = ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")
    calls: list[tuple[Path, Path | None]] = []

    def load(run: Path, data: Path | None, *, backbone: str | None, device: str) -> Recommender:
        assert (backbone, device) == (None, "auto")
        calls.append((run, data))
        return Recommender(Descending(), catalog)

    monkeypatch.setattr(Recommender, "load", load)
    return calls


def call(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(recommend)
    result = CliRunner().invoke(app, ["runs/x", *arguments], env={"COLUMNS": "80"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_table(loaded: list[tuple[Path, Path | None]]) -> None:
    output = call("--likes", "heat", "--dislikes", "silense of the lambs", "-k", "3")
    assert loaded == [(Path("runs/x"), None)]
    assert "Likes:    Heat (1995)\n" in output
    assert 'The (1991) (for "silense of the lambs", by typing error)' in " ".join(output.split())
    assert output.index("i2") < output.index("i3") < output.index("i4")
    assert "i5" not in output


@pytest.mark.parametrize("explain", [[], ["--explain"]])
def test_output_fits_and_titles_are_only_text(loaded: list[tuple[Path, Path | None]], explain: list[str]) -> None:
    from rich.cells import cell_len

    output = call("--likes", "heat", "--likes", "id:i4", "--dislikes", "id:i5", "--likes", "id:i3", *explain)
    assert max(cell_len(line) for line in output.splitlines()) <= 80
    assert "[red]Not red[/red] (1999)" in output
    assert "Evil Title" in output
    assert all(char.isprintable() or char == "\n" for char in output)


def test_explain_shows_signed_effects_and_says_what_they_are(loaded: list[tuple[Path, Path | None]]) -> None:
    output = call("--likes", "heat", "--dislikes", "id:i1", "-k", "1", "--explain")
    lines = [line.split() for line in output.splitlines()]
    assert ["liked", "Heat", "(1995)", "+1.000"] in lines
    assert "+0.000" in output
    assert "leaving it out" in output


def test_json(loaded: list[tuple[Path, Path | None]]) -> None:
    answer = json.loads(call("--likes", "heat", "-k", "2", "--json", "--data", "prepared"))
    assert loaded == [(Path("runs/x"), Path("prepared"))]
    assert answer["model"] == "descending"
    assert answer["catalogue_items"] == len(TITLES)
    assert answer["likes"] == [{"query": "heat", "item_id": "i0", "title": "Heat (1995)", "match": "title"}]
    assert answer["dislikes"] == []
    assert [item["item_id"] for item in answer["items"]] == ["i1", "i2"]
    assert answer["items"][0]["score"] == 0.0
    assert answer["items"][0]["probability"] == 0.5
    assert "influence" not in answer
    assert "influences" not in answer["items"][0]


def test_json_explained(loaded: list[tuple[Path, Path | None]]) -> None:
    raw = call("--likes", "heat", "--dislikes", "id:i3", "-k", "1", "--json", "--explain")
    assert raw.isascii()
    assert raw.count("\n") == 1
    answer = json.loads(raw)
    assert "leave-one-out" in answer["influence"]
    first = answer["items"][0]["influences"][0]
    assert first == {"item_id": "i0", "title": "Heat (1995)", "liked": True, "effect": 1.0, "score_without": -1.0}


def test_errors_reach_the_boundary(loaded: list[tuple[Path, Path | None]]) -> None:
    with pytest.raises(DataError, match="no likes and no dislikes"):
        call()
    with pytest.raises(DataError, match="no item has the title"):
        call("--likes", "Nothing like it")
