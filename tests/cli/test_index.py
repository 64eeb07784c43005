from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recalign.cli.main import app
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ArtifactError, ConfigError
from recalign.testing.data import write_sample_set


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def prepared(directory: Path, items: int = 30) -> SampleSet:
    titles = {str(item): f"story {item} of {'men' if item % 2 else 'mice'}" for item in range(items)}
    samples: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    for user in range(8):
        walk = [str((user + 3 * step) % 30) for step in range(6)]
        for split, place in (("train", 3), ("valid", 4), ("test", 5)):
            history = tuple(HistoryEntry(item, True) for item in walk[:place])
            samples[split].append(Sample(f"{split}{user}", f"u{user}", walk[place], 1, history))
    return write_sample_set(directory, titles, samples)


def test_index_then_evaluate(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data")
    output = call("index", data.path, "--output", tmp_path / "index").stdout
    assert "popularity: weight" in output
    assert "on 8 validation targets" in output
    options = ("evaluate", "prior:popularity", "--data", data.path, "--index", tmp_path / "index", "--retrieve", 20)
    table = call(*options).stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "full catalogue, no sampled negatives" in " ".join(table.split())
    assert "prior:popularity" in "".join(table.split())
    assert "Ranking minus retrieval" in table
    document = json.loads(call(*options, "--json", "--output", tmp_path / "tables").stdout)
    assert [stage["name"] for stage in document["stages"]] == ["retriever", "prior:popularity"]
    assert document["stages"][1]["metrics"]["recall"]["mean"] <= document["ceiling"]["mean"] <= 1
    low, high = document["ceiling"]["ci"]
    assert low < document["ceiling"]["mean"] < high
    lines = (tmp_path / "tables" / "retrieved.csv").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == f"ceiling,{document['ceiling']['mean']},,{low},{high},1"
    stages = (tmp_path / "tables" / "stages.csv").read_text(encoding="utf-8").splitlines()
    assert stages[0].startswith("stage,ndcg_mean,ndcg_sd,ndcg_ci_low,ndcg_ci_high,ndcg_n,")
    assert stages[2].startswith(f"prior:popularity,{document['stages'][1]['metrics']['ndcg']['mean']},")
    assert "prior:popularity,retriever,mrr," in (tmp_path / "tables" / "comparisons.csv").read_text(encoding="utf-8")
    assert {(test["a"], test["b"]) for test in document["comparisons"]} == {("prior:popularity", "retriever")}


def test_update_adds_and_removes(tmp_path: Path) -> None:
    call("index", prepared(tmp_path / "old").path, "--output", tmp_path / "index")
    new = prepared(tmp_path / "new", items=33)
    with pytest.raises(ArtifactError, match=r"recalign index .*new --output .*index --update"):
        call("evaluate", "prior:popularity", "--data", new.path, "--index", tmp_path / "index")
    with pytest.raises(ArtifactError, match="exists already"):
        call("index", new.path, "--output", tmp_path / "index")
    assert "(33 items)" in call("index", new.path, "--output", tmp_path / "index", "--update").stdout
    # the catalogue fits now, but the interactions are those of other data
    with pytest.raises(ArtifactError, match="found interactions of data"):
        call("evaluate", "prior:popularity", "--data", new.path, "--index", tmp_path / "index")


def test_what_cannot_be_indexed(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data")
    call("index", data.path, "--output", tmp_path / "index")
    with pytest.raises(ArtifactError, match="found kind 'index'; expected prepared data or a tuned model"):
        call("index", tmp_path / "index", "--output", tmp_path / "other")
    with pytest.raises(ConfigError, match="retriever text; found nothing to make it of; expected a text encoder"):
        call("index", data.path, "--output", tmp_path / "other", "--retriever", "text")
    with pytest.raises(ConfigError, match=r"unknown retriever 'bm52'.*Did you mean bm25"):
        call("index", data.path, "--output", tmp_path / "other", "--retriever", "bm52")
    with pytest.raises(ConfigError, match="--update; found --retriever"):
        call("index", data.path, "--output", tmp_path / "index", "--retriever", "bm25", "--update")
