from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from recalign.cli.recommend import RecommendCommand, recommend
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError, DataError
from recalign.recommender import Recommender
from recalign.retrieval.index import build_index
from recalign.scoring.base import Scores
from recalign.scoring.pairs import GeneratedPair, GeneratedPairs

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

    def load(
        run: Path,
        data: Path | None,
        *,
        index: Path | None,
        backbone: str | None,
        device: str,
        precision: str,
        endpoint: str | None,
    ) -> Recommender:
        assert (backbone, device, precision, endpoint) == (None, "auto", "auto", None)
        calls.append((run, data))
        return Recommender(Descending(), catalog, index=None if index is None else build_index(catalog))

    monkeypatch.setattr(Recommender, "load", load)
    return calls


def call(*arguments: str) -> str:
    app = typer.Typer()
    app.command(cls=RecommendCommand)(recommend)
    if "runs/x" not in arguments:
        arguments = ("runs/x", *arguments)
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
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


def test_near_ties_are_told_unless_diversity_made_the_order(
    loaded: list[tuple[Path, Path | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "told apart" not in call("--likes", "id:i4")
    monkeypatch.setattr(Descending, "_one", lambda self, asked, item: 0.001 * float(item[1:]))
    said = "Not told apart, with less than 1 % between them: numbers 1 to {}. Their order says nothing."
    assert said.format(5) in " ".join(call("--likes", "id:i4").split())
    assert json.loads(call("--likes", "id:i4", "--json"))["near_ties"] == said.format(5).replace(" %", "\u00a0%")
    assert said.format(3) in " ".join(call("--likes", "id:i4", "--index", "index").split())
    assert "told apart" not in call("--likes", "id:i4", "--index", "index", "--diversity", "0.5")


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


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Let `generate_pairs` answer with these places in `TITLES`; gives the candidates that it was asked for."""

    def write(*pairs: tuple[int, int], n_generated: int, answer: str = "", cut: bool = False) -> list[list[str]]:
        asked: list[list[str]] = []

        def generate_pairs(
            scorer: object, catalog: ItemCatalog, history: Sequence[HistoryEntry], ranked: list[str]
        ) -> GeneratedPairs:
            asked.append(ranked)
            liked = {entry.item_id: entry.liked for entry in history}
            valid = [
                GeneratedPair(f"i{one}", TITLES[one], liked[f"i{one}"], f"i{other}", TITLES[other], other)
                for one, other in pairs
            ]
            answers = ("", "", answer)
            return GeneratedPairs(tuple(valid), n_generated, 0, len(ranked), "watched", cut, answers)

        monkeypatch.setattr("recalign.scoring.pairs.generate_pairs", generate_pairs)
        return asked

    return write


def test_pairs_stand_beside_the_influences_and_are_marked(
    loaded: list[tuple[Path, Path | None]], writing: Callable[..., list[list[str]]]
) -> None:
    asked = writing((0, 2), (1, 3), n_generated=3)
    output = call("--likes", "heat", "--dislikes", "id:i1", "-k", "1", "--explain", "pairs")
    assert asked == [["i2", "i3", "i4", "i5"]]  # more candidates than items are shown
    assert "liked Heat (1995)" in output
    assert "+1.000" in output
    assert 'Pairs "watched → recommended", generated by the model, not a measurement:' in output
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "Heat (1995) [red]Not red[/red] (1999) 2" in lines
    said = " ".join(output.split())
    assert "Silence of the Lambs, The (1991) (disliked)" in said
    assert "2 of the 3 pairs that it wrote are valid (67%): a given item with one of the 4 best-ranked items" in said
    assert "kind cot" not in output
    assert "It wrote" not in output


@pytest.mark.parametrize(("n_generated", "says"), [(0, "wrote no list of pairs"), (12, "0 of the 12 pairs")])
def test_none_valid_names_the_stage_that_is_missing(
    loaded: list[tuple[Path, Path | None]],
    writing: Callable[..., list[list[str]]],
    n_generated: int,
    says: str,
) -> None:
    from rich.cells import cell_len

    writing(n_generated=n_generated, answer="\x1b[2J[red]Yes.\n" * 40, cut=True)
    output = call("--likes", "heat", "--explain", "pairs")
    said = " ".join(output.split())
    assert says in said
    assert 'It wrote: "[red]Yes. [red]Yes.' in said
    assert '…"' in said
    assert "cut at the length limit" in said
    assert "recalign teach, then recalign tune --kind cot" in said
    assert all(char.isprintable() or char == "\n" for char in output)
    assert max(cell_len(line) for line in output.splitlines()) <= 80


def test_pairs_fit_and_titles_are_only_text(
    loaded: list[tuple[Path, Path | None]], writing: Callable[..., list[list[str]]]
) -> None:
    from rich.cells import cell_len

    writing((3, 4), (5, 2), (0, 1), n_generated=3)
    output = call("--likes", "heat", "--likes", "id:i5", "--dislikes", "id:i3", "--explain", "pairs")
    assert max(cell_len(line) for line in output.splitlines()) <= 80
    assert "[red]Not red[/red]" in output
    assert all(char.isprintable() or char == "\n" for char in output)


def test_pairs_in_json(loaded: list[tuple[Path, Path | None]], writing: Callable[..., list[list[str]]]) -> None:
    writing((0, 2), n_generated=4, answer="\x1b[2J1. ...")
    raw = call("--likes", "heat", "-k", "1", "--json", "--explain", "pairs")
    assert raw.isascii()
    assert "\x1b" not in raw
    answer = json.loads(raw)
    assert len(answer["items"]) == 1
    assert answer["items"][0]["influences"][0]["item_id"] == "i0"
    generated = answer["generated_pairs"]
    assert generated["generated"] is True
    assert "not a measurement" in generated["note"]
    assert (generated["n_valid"], generated["n_generated"], generated["rate"]) == (1, 4, 0.25)
    assert generated["answers"][2] == "\x1b[2J1. ..."
    assert generated["pairs"] == [
        {
            "item_id": "i0",
            "title": "Heat (1995)",
            "liked": True,
            "recommended_id": "i2",
            "recommended_title": "[red]Not red[/red] (1999)",
            "rank": 2,
        }
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs/x", "--likes", "heat", "--explain"),
        ("runs/x", "--explain", "--likes", "heat"),
        ("--likes", "heat", "--explain", "runs/x"),
        ("runs/x", "--explain", "influences", "--likes", "heat"),
        ("runs/x", "--explain=influences", "--likes", "heat"),
    ],
)
def test_explain_alone_means_influences(loaded: list[tuple[Path, Path | None]], arguments: tuple[str, ...]) -> None:
    answer = json.loads(call(*arguments, "-k", "1", "--json"))
    assert loaded == [(Path("runs/x"), None)]
    assert answer["items"][0]["influences"]
    assert "generated_pairs" not in answer


def test_explain_takes_nothing_else() -> None:
    app = typer.Typer()
    app.command(cls=RecommendCommand)(recommend)
    for arguments in (["--explain=stories"], ["--explain", "stories"]):
        result = CliRunner().invoke(app, ["runs/x", *arguments])
        assert result.exit_code == 2
        assert "stories" in result.output


@pytest.mark.parametrize("explain", [[], ["--explain", "pairs"]])
def test_no_items_are_refused(loaded: list[tuple[Path, Path | None]], explain: list[str]) -> None:
    with pytest.raises(ConfigError, match="number of recommendations; found 0"):
        call("--likes", "heat", "-k", "0", *explain)


def test_errors_reach_the_boundary(loaded: list[tuple[Path, Path | None]]) -> None:
    with pytest.raises(DataError, match="no likes and no dislikes"):
        call()
    with pytest.raises(DataError, match="no item has the title"):
        call("--likes", "Nothing like it")


def test_filters(loaded: list[tuple[Path, Path | None]]) -> None:
    asked = ("--likes", "heat", "--json", "--only", "item_id=i1", "--only", "item_id=i3")
    assert [item["item_id"] for item in json.loads(call(*asked))["items"]] == ["i1", "i3"]
    assert [item["item_id"] for item in json.loads(call(*asked, "--not", "id:i1"))["items"]] == ["i3"]
    answer = json.loads(call("--likes", "heat", "--json", "--include-seen", "-k", "2"))
    assert [item["item_id"] for item in answer["items"]] == ["i0", "i1"]


def test_only_what_the_index_finds_is_ranked(loaded: list[tuple[Path, Path | None]]) -> None:
    found = json.loads(call("--likes", "id:i4", "--json", "--index", "index"))["items"]  # "A Title That Goes On …"
    assert {item["item_id"] for item in found} == {"i1", "i3", "i5"}  # "the", "title", "2001"
    found = json.loads(call("--likes", "id:i4", "--json", "--index", "index", "--retrieve", "1"))["items"]
    assert len(found) == 1


def test_what_needs_an_index(loaded: list[tuple[Path, Path | None]]) -> None:
    with pytest.raises(ConfigError, match="--retrieve; found no index"):
        call("--likes", "heat", "--retrieve", "5")
    with pytest.raises(ConfigError, match="diversity; found no index"):
        call("--likes", "heat", "--diversity", "0.5")
