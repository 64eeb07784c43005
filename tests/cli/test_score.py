"""`recalign score`: options become a request, and a signal leaves whole shards."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recalign
from recalign.bulk.request import Share
from recalign.data.samples import CandidateList, HistoryEntry, SampleSet
from recalign.data.source import SourceOptions
from recalign.recommender import Recommender

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "model"
    settings = {"max_steps": 1, "batch_size": 4, "precision": "fp32"}
    return recalign.tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


@pytest.fixture
def events(workshop: Path, tmp_path: Path) -> Path:
    """Eight users with the German column names of a shop, and one whose items are gone."""
    ids = SampleSet.load(workshop / "data").catalog.ids
    rows = [
        (f"k{user}", ids[(user * 5 + place) % len(ids)], place + user % 3) for user in range(8) for place in range(3)
    ]
    path = tmp_path / "events.csv"
    pl.DataFrame([*rows, ("weg", "gone", 5)], schema=["KundenNr", "ArtNr", "Sterne"], orient="row").write_csv(path)
    return path


def command(model: Path, events: Path, output: Path, *more: object) -> tuple[object, ...]:
    columns = ("--columns", "user_id=KundenNr", "--columns", "item_id=ArtNr", "--columns", "rating=Sterne")
    return ("score", model, "--users", events, "--output", output, "--like-above", 2, *columns, *more)


def test_users_are_scored_as_a_recommendation_would(cli: Cli, model: Path, events: Path, tmp_path: Path) -> None:
    more = ("-k", 4, "--shards", 3, "--not", "id:" + (without := recalign.Recommender.load(model).catalog.ids[30]))
    code, out, err = cli(*command(model, events, tmp_path / "out", *more))
    assert (code, out) == (0, f"{tmp_path / 'out'}: 32 scores of 8 users; 1 users without scores (rejects-*.jsonl)\n")
    assert "score: 9/9 users" in err
    scores = pl.concat([pl.read_parquet(path) for path in (tmp_path / "out").glob("*.parquet")])
    recommender = Recommender.load(model)
    for user, rows in pl.read_csv(events).filter(pl.col("KundenNr") != "weg").group_by("KundenNr"):
        history = [HistoryEntry(str(item), stars > 2, float(stars)) for _, item, stars in rows.iter_rows()]
        others = [item for item in recommender.catalog.ids if item != without]
        expected = recommender.rank(history, 4, candidates=others)
        found = scores.filter(user_id=user[0]).sort("rank")
        np.testing.assert_allclose(found["score"], [item.score for item in expected], rtol=1e-4, atol=1e-5)
        assert found["rank"].to_list() == [1, 2, 3, 4]


def test_shares_and_refusals_of_the_command(cli: Cli, model: Path, events: Path, tmp_path: Path) -> None:
    code, out, _ = cli(*command(model, events, tmp_path / "out", "--shards", 3, "--shard", "1/2"))
    assert code == 0
    assert "2 shards of other workers are missing: 0, 2" in out
    code, _, err = cli(*command(model, events, tmp_path / "out", "--shards", 3, "-k", 5))
    assert code == 2
    assert "found another setting k" in err
    assert "--restart" in err
    source = SourceOptions(columns={"user_id": "KundenNr", "item_id": "ArtNr", "rating": "Sterne"})
    done = recalign.score(
        model, events, tmp_path / "out", source=source, like_above=2, shards=3, share=Share(0, 2)
    )  # the same from Python
    assert done.missing == ()
    code, _, err = cli(*command(model, events, tmp_path / "out", "--data", model))
    assert code == 2
    assert "of another kind" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--retrieve", 5), "--retrieve; found no index"),
        (("--shard", "4/4"), "share of the shards; found 4/4; expected I/N with I from 0 to N - 1"),
        (("--columns", "user"), "--columns 'user'"),
        (("--separator", '"'), "separator"),
        (("--only", "genres"), "filter 'genres'"),
        (("--engine", "spark"), "--engine; found 'spark'; expected local or ray"),
        (("--ray-address", "auto"), "--ray-address; found --engine local; expected --engine ray"),
    ],
)
def test_wrong_options_are_one_line(cli: Cli, tmp_path: Path, more: tuple[object, ...], message: str) -> None:
    code, out, err = cli(*command(tmp_path / "model", tmp_path / "none.csv", tmp_path / "out", *more))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_sigterm_leaves_whole_shards_and_the_same_command_goes_on(
    cli: Cli, model: Path, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli(*command(model, events, tmp_path / "whole", "--shards", 3))
    real, calls = Recommender.checked, []

    def checked(self: Recommender, lists: Sequence[CandidateList], values: Sequence[object]) -> object:
        calls.append(len(lists))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, lists, values)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Recommender, "checked", checked)
        code, _, err = cli(*command(model, events, tmp_path / "out", "--shards", 3))
    assert code == 128 + signal.SIGTERM
    assert "stopped with 1 of 3 shards made. Everything is saved: run the same command again to continue" in err
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1
    assert cli(*command(model, events, tmp_path / "out", "--shards", 3))[0] == 0
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "whole")]
    assert files[0] == files[1]


@pytest.mark.extras
@pytest.mark.skipif(find_spec("ray") is None, reason="no Ray: pip install 'recalign[ray]'")
@pytest.mark.filterwarnings("ignore")
def test_the_engine_ray_leaves_the_same_bytes(
    cli: Cli, model: Path, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where paths are relative to the directory of the command."""
    monkeypatch.chdir(tmp_path)
    more = ("-k", 4, "--shards", 3, "--not", "id:" + recalign.Recommender.load(model).catalog.ids[30])
    assert cli(*command(model, events, Path("plain"), *more))[0] == 0
    code, out, err = cli(*command(model, Path(events.name), Path("out"), *more, "--engine", "ray"))
    assert (code, out) == (0, "out: 32 scores of 8 users; 1 users without scores (rejects-*.jsonl)\n"), err
    assert "score: 3/3 shards" in err
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "plain")]
    assert files[0] == files[1]
