"""`recalign prepare`: what it prints, and its options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from recalign.artifacts import hash_file, read_manifest
from recalign.cli.prepare import prepare
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError, RecalignError
from recalign.terminal import wrapped


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


def test_it_says_what_became_of_the_data_and_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recalign.terminal.fitted", lambda text, stream: wrapped(text, 80))  # as on a terminal
    told = invoke(*SMALL, "--output", tmp_path / "data")
    assert re.search(r"^split +samples +users +liked +in \.jsonl$", told, re.MULTILINE)
    assert re.search(r"^test +20 +20 +\d+\.\d% +20$", told, re.MULTILINE)
    assert told.index("\ntrain") < told.index("\nvalid") < told.index("\ntest")
    assert "protocol leave-one-out v2, template default" in told
    assert "! few-users" in told
    assert f"--data {tmp_path / 'data'}" in told
    assert told.index("recalign tune") < told.index("recalign evaluate"), "tune is what README goes on with"
    assert "--output runs/data\n" in told
    assert max(len(line) for line in told.splitlines() if str(tmp_path) not in line) <= 80


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
        ((__file__,), f"recalign prepare table --input {__file__}"),
        (("synthetic", "--split", "1"), "split: found '1'"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        invoke(*options, "--output", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


RATINGS = "".join(f"{user},{item},{(user + item) % 5 + 1},Shoe {item}\n" for user in range(9) for item in range(5))
IMPLICIT = ("--like-above", 3.5, "--order", "file", "--noun", "shoe", "--noun-plural", "shoes")
PIPED = f"{sys.executable} -c 'from recalign.cli.main import run; run()' prepare table " + " ".join(map(str, IMPLICIT))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("cat {file} | {prepare} --input - --output {output}", "stdin"),
        ("gzip -c {file} | {prepare} --input /dev/stdin --output {output}", "stdin"),
        ("{prepare} --input /dev/stdin --output {output} < {file}", "stdin"),
        ("{prepare} --input <(cat {file}) --output {output}", r"\d+"),
    ],
)
def test_pipes_are_read_once_and_hashed_as_they_came(tmp_path: Path, command: str, name: str) -> None:
    file = tmp_path / "r.csv"
    file.write_text("user_id,item_id,rating,title\n" + RATINGS)
    line = command.format(file=file, output=tmp_path / "data", prepare=PIPED)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    invoke("table", "--input", file, *IMPLICIT, "--output", tmp_path / "same")
    piped, same = (read_manifest(tmp_path / name, kind="samples") for name in ("data", "same"))
    [(source, found)] = piped.info["sources"].items()
    assert re.fullmatch(name, source)
    [(account, expected)] = zip(piped.info["accounts"], same.info["accounts"], strict=True)
    assert {**account, "path": ""} == {**expected, "path": ""}
    assert piped.files["samples.parquet"] == same.files["samples.parquet"]
    if "gzip" not in command:
        assert found == hash_file(file).sha256


def test_other_datasets_refuse_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ratings.csv")
    for dataset in ("movielens", "alpaca-json"):
        with pytest.raises(DataError, match=r"a pipe or device.*'table' reads pipes"):
            invoke(dataset, "--input", tmp_path / "ratings.csv", "--output", tmp_path / "data")


def test_a_file_without_header_and_many_parts(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    for number in range(14):
        (tmp_path / "r" / f"part-{number}").write_text(RATINGS.replace(",", "\t"))
    options = ("--header", "user_id,item_id,rating,title", "--separator", r"\t", *IMPLICIT)
    told = invoke("table", "--input", tmp_path / "r", *options, "--output", tmp_path / "data")
    assert re.search(r"^part-9 +45 +0 +0 +45$", told, re.MULTILINE)
    assert "part-10" not in told
    assert re.search(r"^4 more files +180 +0 +45 +135$", told, re.MULTILINE)
    assert len(read_manifest(tmp_path / "data", kind="samples").info["sources"]) == 14


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('{"user_id": 1, "item_id": [2], "title": "A"}', "Write plain values"),
        ('{"user_id": 1', "Write one JSON object"),
    ],
)
def test_hints_about_rejected_json_fit_it(tmp_path: Path, line: str, hint: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(f'{line}\n{line}\n{{"user_id": "", "item_id": 2, "title": "A"}}\n')
    with pytest.raises(DataError, match=rf"3 rejected rows.*{hint}") as caught:
        invoke("table", "--input", file, "--feedback", "implicit", "--output", tmp_path / "data")
    assert "--separator" not in str(caught.value)
