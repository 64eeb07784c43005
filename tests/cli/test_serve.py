from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign import Recommender, tune
from recalign.errors import ModelError
from recalign.serving.models import load_models
from recalign.serving.store import Event, EventStore

from .conftest import Cli


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Path:
    settings = {"max_steps": 1, "batch_size": 2, "shots": 4, "precision": "fp32"}
    output = tmp_path_factory.mktemp("serve") / "rt"
    return tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


def test_a_tuned_model_is_served_until_sigterm(
    cli: Cli, model: Path, workshop: Path, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    data, judged = workshop / "data", tmp_path / "judged"
    shutil.copytree(model, judged)
    assert cli("evaluate", judged, "--data", data, "--resamples", 20)[0] == 0
    expected = Recommender.load(model)
    likes = [f"id:{item}" for item in expected.catalog.ids[:2]]
    options = ("--data", data, "--port", 0, "--drain", 0, "--backbone", workshop / "backbone")
    with start("serve", model, f"again={judged}", *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first, _, address = process.stdout.readline().rpartition(" ")
        assert first == "serving rt, again:"
        body = json.dumps({"likes": likes, "k": 3, "model": "again"}).encode()
        url = address.strip() + "v1/recommend"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            items = json.load(response)["items"]
        with urllib.request.urlopen(address.strip() + "v1/audit", timeout=60) as response:
            audit = json.load(response)
        with urllib.request.urlopen(address.strip() + "v1/verdicts", timeout=60) as response:
            verdicts = json.load(response)["verdicts"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    ranked = expected.recommend(likes, k=3)
    assert [item["item_id"] for item in items] == [item.item_id for item in ranked]
    assert [item["score"] for item in items] == pytest.approx([item.score for item in ranked], rel=1e-4)
    assert audit == {**json.loads(cli("audit", data, "--json")[1]), "data": "data"}
    assert [(name, told["evaluated"]) for name, told in verdicts.items()] == [("rt", False), ("again", True)]
    assert "14 test users" in verdicts["again"]["text"]


def test_a_model_and_its_backbone_in_one_folder(model: Path, workshop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(model, folder / "shoes")
    with pytest.raises(ModelError, match="backbone"):
        load_models([str(folder / "shoes")])
    shutil.copytree(workshop / "backbone", folder / "backbone")
    loaded = load_models([str(folder / "shoes")], backbone=str(folder / "backbone"))
    likes = [f"id:{item}" for item in loaded["shoes"].catalog.ids[:2]]
    expected = Recommender.load(model).recommend(likes, k=3)
    assert loaded["shoes"].recommend(likes, k=3) == expected


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--host", "0.0.0.0"], "without a key"),
        (["--keys", "nowhere"], "key file nowhere"),
        (["--port", "99999"], "--port"),
        (["--port", "0"], "nothing-here"),
        (["--port", "0", "--store", "mysql://u:secret@host/db"], "found mysql; expected sqlite"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(cli: Cli, options: list[str], word: str) -> None:
    code, _, error = cli("serve", "nothing-here", *options)
    assert (code, word in error, error.count("\n")) == (2, True, 1)
    assert "secret" not in error


def test_events_become_a_table(cli: Cli, tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite")
    store.append([Event("k", "u", "1", "like")])
    store.close()
    code, out, _ = cli("events", tmp_path / "events.sqlite", "--output", tmp_path / "events.parquet")
    said, after = out.splitlines()
    assert (code, said) == (0, f"1 events: {tmp_path / 'events.parquet'}")
    assert after.startswith(f"next: recalign prepare table --input {tmp_path / 'events.parquet'} ")


@pytest.mark.parametrize(
    ("store", "word"),
    [("nowhere.sqlite", "nothing there"), ("postgresql://u:secret@127.0.0.1:1/db", "u:***@127.0.0.1:1")],
)
def test_a_store_that_is_not_there_is_told_in_one_line(cli: Cli, tmp_path: Path, store: str, word: str) -> None:
    code, _, error = cli("events", store, "--output", tmp_path / "events.parquet")
    assert (code, word in error, error.count("\n")) == (2, True, 1)
    assert "secret" not in error


@pytest.mark.parametrize("command", [("events", "store", "--output", "table"), ("serve", "model", "--port", "0")])
def test_the_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    code, _, error = cli(*command)
    assert (code, "no sqlalchemy" in error, "pip install 'recalign[serve]'" in error) == (2, True, True)


def test_models_on_one_backbone_are_loaded_with_its_weights_once(model: Path) -> None:
    weights = [
        {name: parameter.data_ptr() for name, parameter in served.scorer.model.named_parameters()}  # type: ignore[attr-defined]
        for served in load_models([str(model), f"again={model}"]).values()
    ]
    same = {name for name, pointer in weights[0].items() if weights[1][name] == pointer}
    assert same == {name for name in weights[0] if "lora_" not in name}


def test_two_models_need_two_names(cli: Cli, model: Path) -> None:
    code, _, error = cli("serve", model, model, "--port", 0)
    assert (code, "NAME=DIRECTORY" in error) == (2, True)
