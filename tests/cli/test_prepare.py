"""`recalign prepare`: what it prints, and its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from recalign.cli.prepare import prepare
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError, RecalignError


def invoke(*arguments: object) -> str:
    """Run the command as the program does, without its error boundary: errors are raised."""
    app = typer.Typer()
    app.command()(prepare)
    result = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}).invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, RecalignError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


SMALL = ("synthetic", "--users", 20, "--items", 40, "--ratings-per-user", 10)


def test_it_says_what_became_of_the_data_and_what_to_do_next(tmp_path: Path) -> None:
    told = invoke(*SMALL, "--output", tmp_path / "data")
    assert re.search(r"^split +samples +users +liked +in \.jsonl$", told, re.MULTILINE)
    assert re.search(r"^test +20 +20 +\d+\.\d% +20$", told, re.MULTILINE)
    assert told.index("\ntrain") < told.index("\nvalid") < told.index("\ntest")
    assert "protocol leave-one-out v2, template default" in told
    assert "! few-users" in told
    assert f"--data {tmp_path / 'data'}" in told.replace("\n", "")
    assert max(map(len, told.splitlines())) <= 80


def test_files_and_rejects_are_accounted_for(tmp_path: Path) -> None:
    rows = [f"{user};Schuh {item};{(user + item) % 5 + 1}" for user in range(9) for item in range(5)]
    source = tmp_path / "bewertungen.csv"
    source.write_text("\n".join(["KundenNr;Name;Sterne", *rows, "1;Schuh 1;viele", ""]), encoding="utf-8")
    mapping = ("--columns", "user_id=KundenNr", "--columns", "item_id=Name", "--columns", "rating=Sterne")
    told = invoke(
        "table", "--input", source, *mapping, "--columns", "title=Name", "--like-above", 3.5, "--order", "file",
        "--noun", "Schuh", "--noun-plural", "Schuhe", "--language", "de", "--output", tmp_path / "data",
    )  # fmt: skip
    assert re.search(r"^bewertungen\.csv +47 +1 +45 +1$", told, re.MULTILINE)
    assert re.search(r"^  1 × \w", told, re.MULTILINE)
    loaded = SampleSet.load(tmp_path / "data")
    assert loaded.domain.noun == "Schuh"
    assert loaded.manifest.config["feedback"]["like_above"] == 3.5


def test_the_unit_of_times_is_named_or_recognised_and_told(tmp_path: Path) -> None:
    def source(*times: object) -> Path:
        rows = [
            f"{user},i{item},{(user + item) % 5},Item {item},{time}"
            for user in range(5)
            for item, time in enumerate(times)
        ]
        path = tmp_path / "ratings.csv"
        path.write_text("\n".join(["user_id,item_id,rating,title,timestamp", *rows, ""]), encoding="utf-8")
        return path

    def run(*options: object) -> str:
        path = tmp_path / "ratings.csv"
        told = invoke(
            "table", "--input", path, "--like-above", 2, "--output", tmp_path / "data", "--overwrite", *options
        )
        return " ".join(told.split())

    source(1714521600123, 1714521600250, 1714608000000)
    assert "times: milliseconds since 1970 (by their size), 2024-05-01 00:00:00 to 2024-05-02 00:00:00" in run()
    loaded = SampleSet.load(tmp_path / "data")
    assert loaded.manifest.info["times"]["first"] == "2024-05-01 00:00:00"
    assert set(loaded.frame("valid")["timestamp"]) == {1714521600_250_000}
    source(1, 2, 5_000_000_000)
    with pytest.raises(DataError, match=r"line 4 of ratings\.csv, '5000000000'.*--time-unit seconds, milliseconds"):
        run()
    assert "times: milliseconds since 1970, 1970-01-01 00:00:00 to 1970-02-27 20:53:20" in run(
        "--time-unit", "milliseconds"
    )
    with pytest.raises(ConfigError, match=r"time_unit.*'hours'"):
        run("--time-unit", "hours")
    with pytest.raises(ConfigError, match="dataset synthetic has no use for time_unit"):
        invoke(*SMALL, "--time-unit", "seconds", "--output", tmp_path / "other")


def test_numbers_for_synthetic_and_paths_for_others(tmp_path: Path) -> None:
    invoke(*SMALL, "--catalogue", "books", "--output", tmp_path / "data", "--max-rendered", 30)
    loaded = SampleSet.load(tmp_path / "data")
    assert len(loaded.catalog) == 40
    assert loaded.manifest.config["synthetic"]["domain"] == "books"
    assert sum(loaded.manifest.info["rendered"].values()) == 30
    with pytest.raises(ConfigError, match="items is a number"):
        invoke("synthetic", "--items", "shoes.csv", "--output", tmp_path / "other")


def test_folds(tmp_path: Path) -> None:
    options = ("--protocol", "tallrec-book", "--order", "time", "--folds", 4, "--fold", 3)
    told = invoke(*SMALL, *options, "--output", tmp_path / "data")
    assert "protocol tallrec-book v2, template tallrec, fold 3 of 4 (from 0)" in told
    counts = SampleSet.load(tmp_path / "data").manifest.info["splits"]
    assert [counts[split]["users"] for split in ("train", "valid", "test")] == [10, 5, 5]
    with pytest.raises(ConfigError, match="found fold 1 without folds"):
        invoke(*SMALL, "--fold", 1, "--output", tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("table", "--input", "x", "--columns", "KundenNr"), "--columns 'KundenNr'; expected our column = yours"),
        (("table", "--input", "x", "--item-columns", "=x"), "--item-columns '=x'"),
        (("films",), "unknown dataset 'films'"),
        (("synthetic", "--split", "1"), "split: found '1'"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        invoke(*options, "--output", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
