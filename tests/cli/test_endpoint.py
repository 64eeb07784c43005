"""``--endpoint``: each command that takes a model asks a server instead, and says what it says without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recalign
from recalign.artifacts import read_manifest
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.models import backbone as backbone_module
from recalign.models.backbone import load_tokenizer
from recalign.models.config import BackboneConfig
from recalign.serving.models import load_models
from recalign.serving.run import ServeConfig
from recalign.testing.scripted_scoring import ScriptedScoring, plain_probabilities
from recalign.tuning.model_artifact import load_model

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "model"
    settings = {"max_steps": 2, "batch_size": 4, "precision": "fp32", "optim": {"lr": 1e-2}}
    return recalign.tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


@pytest.fixture(scope="module")
def server(workshop: Path) -> Iterator[ScriptedScoring]:
    """It says the same of every prompt: each token has the probability 1/10."""
    tokens = len(load_tokenizer(BackboneConfig(name=str(workshop / "backbone"))).tokenizer)
    with ScriptedScoring("vllm", lambda prompt: [0.1] * tokens) as server:
        yield server


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """From now on no model can be loaded here, nor is a proxy between the tests and their server."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(backbone_module, "_load_model", refuse)
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def close(ours: object, theirs: object) -> None:
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=0, atol=1e-5)


def test_recommend(cli: Cli, workshop: Path, model: Path, request: pytest.FixtureRequest) -> None:
    once = cache(plain_probabilities(load_model(model, device="cpu")[0]))
    title = SampleSet.load(workshop / "data").catalog.frame["title"][0]
    command = ("recommend", model, "--likes", title, "-k", 5, "--explain", "--json")
    _, local, _ = cli(*command)
    request.getfixturevalue("without_weights")
    with ScriptedScoring("sglang", lambda prompt: once(tuple(prompt))) as server:
        code, remote, err = cli(*command, "--endpoint", server.endpoint)
        assert code == 0, err
        refusal = cli(*command[:-1], "pairs", "--endpoint", server.endpoint)
    ours, theirs = json.loads(remote)["items"], json.loads(local)["items"]
    assert [item["item_id"] for item in ours] == [item["item_id"] for item in theirs]
    close([item["score"] for item in ours], [item["score"] for item in theirs])
    close([item["influences"][0]["effect"] for item in ours], [item["influences"][0]["effect"] for item in theirs])
    assert (refusal[0], "which writes nothing" in refusal[2]) == (2, True)


def test_evaluate(
    cli: Cli, workshop: Path, model: Path, server: ScriptedScoring, tmp_path: Path, without_weights: object
) -> None:
    output, reads = tmp_path / "scores.parquet", len(read_manifest(model).info["test_reads"])
    command = ("evaluate", model, "--data", workshop / "data", "--resamples", 1, "--output", output)
    code, _, err = cli(*command, "--endpoint", server.endpoint)
    assert code == 0, err
    scores = pl.read_parquet(output)
    assert (scores["score"].to_list(), scores["label_mass"].to_list()) == ([0.0] * len(scores), [0.2] * len(scores))
    assert len(read_manifest(model).info["test_reads"]) == reads + 1


@pytest.mark.slow
def test_evaluate_over_an_index(
    cli: Cli, workshop: Path, model: Path, server: ScriptedScoring, tmp_path: Path, without_weights: object
) -> None:
    assert cli("index", workshop / "data", "--output", tmp_path / "index")[0] == 0
    asked = len(server.requests)
    more = ("--index", tmp_path / "index", "--retrieve", 3, "--resamples", 1)
    code, _, err = cli("evaluate", model, "--data", workshop / "data", *more, "--endpoint", server.endpoint)
    assert code == 0, err
    assert len(server.requests) > asked


def test_score(
    cli: Cli, workshop: Path, model: Path, server: ScriptedScoring, tmp_path: Path, without_weights: object
) -> None:
    ids = SampleSet.load(workshop / "data").catalog.ids
    rows = [(f"k{user}", ids[user], True, place) for place, user in enumerate(range(3))]
    events = tmp_path / "events.csv"
    pl.DataFrame(rows, schema=["user_id", "item_id", "liked", "timestamp"], orient="row").write_csv(events)
    command = ("score", model, "--users", events, "--output", tmp_path / "out", "-k", 2, "--shards", 1)
    code, out, err = cli(*command, "--endpoint", server.endpoint)
    assert (code, "6 scores of 3 users" in out) == (0, True), err
    code, _, err = cli(*command, "--endpoint", f"sglang:{server.address}")
    assert code == 2  # one output comes from one kind of arithmetic
    assert "found another model" in err


def test_serve(model: Path, server: ScriptedScoring, cli: Cli, without_weights: pytest.MonkeyPatch) -> None:
    configs: list[ServeConfig] = []

    def serve(runs: list[str], config: ServeConfig, **more: Any) -> None:
        configs.append(config)

    without_weights.setattr("recalign.serving.run.serve", serve)
    assert cli("serve", model, "--endpoint", server.endpoint)[0] == 0
    assert [config.endpoint for config in configs] == [server.endpoint]
    models = load_models([str(model)], endpoint=server.endpoint)
    assert len(models["model"].recommend(likes=[f"id:{models['model'].catalog.ids[0]}"], k=2)) == 2
    with pytest.raises(ConfigError, match="--endpoint; found 2 models; expected one"):
        load_models([str(model), f"b={model}"], endpoint=server.endpoint)


def test_what_does_not_go_with_an_endpoint(
    cli: Cli, workshop: Path, model: Path, server: ScriptedScoring, without_weights: pytest.MonkeyPatch
) -> None:
    evaluate = ("evaluate", "--data", workshop / "data", "--endpoint", server.endpoint)
    for more, says in [
        (("prior:like-rate",), "found 0 tuned models; expected one"),
        ((model, "--precision", "bf16"), "found device auto, precision bf16"),
    ]:
        code, _, err = cli(*evaluate, *more)
        assert (code, says in err) == (2, True), err
    without_weights.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    code, _, err = cli(*evaluate[:-1], "vllm:http://127.0.0.1:9", model)
    assert (code, err.count("\n")) == (2, 1)


def test_another_backbone_is_refused(
    cli: Cli, model: Path, server: ScriptedScoring, tmp_path: Path, without_weights: object
) -> None:
    from recalign.testing.tiny import make_tiny

    other = make_tiny(tmp_path / "other", "llama", seed=5)
    code, _, err = cli("recommend", model, "--likes", "x", "--backbone", other, "--endpoint", server.endpoint)
    assert (code, "was made for another backbone" in err) == (2, True), err
