"""Paths, URLs, and a folder without renames and locks."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from recalign.bulk import output
from recalign.bulk.folders import Directory, Folder, ObjectPrefix, folder_at
from recalign.bulk.output import Output
from recalign.bulk.places import ObjectUrl, Place, at_hand, place
from recalign.errors import ArtifactError, ConfigError, DataError

from .conftest import Score, contents

URL = "s3://bucket/a%20b/c?endpoint_override=127.0.0.1:9&scheme=http&region=eu-west-1"


def test_what_a_text_means() -> None:
    assert place("a/b") == Path("a/b")
    assert place(Path("a/b")) == Path("a/b")
    assert place("file:///tmp/a%20b") == place("file://localhost/tmp/a%20b") == Path("/tmp/a b")
    url = place(URL)
    assert isinstance(url, ObjectUrl)
    assert (str(url), url.name) == ("s3://bucket/a%20b/c", "c")
    assert "endpoint" not in repr(url)


@pytest.mark.parametrize("url", ["s3://KEY:hush@bucket/x", "s3://KEY@bucket/x", "gs://me:hush@bucket/x"])
def test_credentials_in_a_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="found credentials in it; expected none") as error:
        place(url)
    assert "KEY" not in str(error.value).replace("AWS_ACCESS_KEY_ID", "").replace("AWS_SECRET_ACCESS_KEY", "")
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/x", "place ftp://host/x; found Unrecognized filesystem type in URI; expected a path"),
        ("s3:///x", "place s3:///x; found Missing bucket name in S3 URI"),
    ],
)
def test_urls_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        folder_at(place(text))
    with pytest.raises(ConfigError, match="file:///PATH on this machine"):
        place("file://elsewhere/x")


def prefix(folder: Path, base: str = "scores") -> ObjectPrefix:
    """A folder as an object store has it, in a folder of this machine."""
    (folder / base).mkdir(parents=True, exist_ok=True)
    return ObjectPrefix(ObjectUrl("s3://bucket/scores"), SubTreeFileSystem(str(folder), LocalFileSystem()), base)


@pytest.mark.parametrize("make", [prefix, lambda folder: Directory(folder / "scores")])
def test_both_kinds_of_folder_do_the_same(make: object, tmp_path: Path) -> None:
    folder: Folder = make(tmp_path)  # type: ignore[operator]
    folder.make()
    assert (folder.names(), folder.read("a"), folder.size("a")) == ([], None, -1)
    folder.write("a", b"first")
    folder.write("a", b"other")
    with folder.alone(), folder.claimed("a") as mine:
        assert mine
    folder.remove_claims()
    assert (folder.names(), folder.read("a"), folder.size("a")) == (["a"], b"other", 5)
    folder.remove("a")
    assert folder.names() == []
    with pytest.raises(ArtifactError):
        folder.remove("a")


def test_an_output_without_renames_and_claims_has_the_same_bytes(
    score: Score, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(table, tmp_path / "plain")
    stores: dict[str, ObjectPrefix] = {}

    def store_at(where: Place) -> Folder:
        return stores.setdefault(str(where), prefix(tmp_path / "store", str(where)))

    monkeypatch.setattr(output, "folder_at", store_at)
    score(table, Path("out"))
    assert contents(tmp_path / "store" / "out") == contents(tmp_path / "plain")
    (tmp_path / "store" / "out" / "part-00002.json").unlink()  # killed before its manifest
    (tmp_path / "store" / "out" / "part-00002.parquet").write_bytes(b"half")
    score(table, Path("out"))
    assert contents(tmp_path / "store" / "out") == contents(tmp_path / "plain")
    with pytest.raises(ArtifactError, match="out holds the scores of another job; found another setting k"):
        score(table, Path("out"), k=3)
    score(table, Path("out"), k=3, restart=True)
    monkeypatch.undo()
    score(table, tmp_path / "three", k=3)
    assert contents(tmp_path / "store" / "out") == contents(tmp_path / "three")


def test_a_job_that_lost_its_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "folder_at", lambda where: prefix(tmp_path))
    jobs = [output.Job(input={"users": name}, model={}, settings={}) for name in ("mine", "theirs")]
    mine = Output.open(Path("x"), jobs[0], 2)
    Output.open(Path("x"), jobs[1], 2, restart=True)
    with pytest.raises(ArtifactError, match="found another input"):
        mine.write(0, b"scores", b"", {})
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["job.json"]


def test_tables_behind_a_url_are_copied_for_as_long_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    (store / "parts" / "year=1").mkdir(parents=True)
    for number in (1, 2):
        (store / f"parts/part-{number}.csv").write_text(f"rows of {number}")
    filesystem = SubTreeFileSystem(str(store), LocalFileSystem())
    monkeypatch.setattr(ObjectUrl, "opened", lambda url: (filesystem, url.text.removeprefix("s3://")))
    with at_hand(ObjectUrl("s3://parts"), ObjectUrl("s3://parts/part-2.csv")) as tables:
        assert tables.pairs is not None
        assert (tables.pairs.name, tables.pairs.read_text()) == ("part-2.csv", "rows of 2")
        assert sorted(path.name for path in tables.users.iterdir()) == ["part-1.csv", "part-2.csv", "year=1"]
    assert not tables.pairs.exists()
    assert not tables.users.exists()
    with pytest.raises(DataError, match="s3://none; found nothing there"), at_hand(ObjectUrl("s3://none"), None):
        pass
