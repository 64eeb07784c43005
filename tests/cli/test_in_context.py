"""`recalign evaluate in-context`: an untuned model beside the priors, or an endpoint with what it refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recalign.artifacts import read_manifest
from recalign.baselines.in_context import load_in_context
from recalign.data.ranking_lists import RankingConfig, ranking_candidates, write_ranking_candidates
from recalign.data.samples import SampleSet
from recalign.evaluation.document import Panel
from recalign.evaluation.in_context import load_demonstrated
from recalign.evaluation.rows import NO_LOG_ODDS
from recalign.evaluation.score import score_split
from recalign.evaluation.score_file import ScoreFile
from recalign.experiment.tune import tune
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.scoring.base import sample_lists
from recalign.testing.scripted_teacher import Reply, ScriptedTeacher

from .conftest import Cli

FAST = ("--resamples", "20")


def test_a_backbone_with_demonstrations_is_a_model_like_others(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    given = ["in-context", "prior:like-rate", "--backbone", workshop / "backbone", "--data", workshop / "data"]
    given += ["--demonstrations", 2, "--seed", 3, "--template", "tallrec", "--output", tmp_path / "scores", *FAST]
    code, out, err = cli("evaluate", *given, "--json")
    assert code == 0, err
    first, second = Panel.model_validate_json(out).rows[:2]
    assert (first.model, first.kind) == ("in-context backbone 2-shot", "in-context")
    assert second.model == "prior:like-rate"
    assert first.verdicts["auc"].prior.startswith("prior:")
    mass = first.mean("label-mass")
    assert mass is not None
    assert mass > 0
    assert first.mean("temperature") is None, "validation labels are not used unless asked for"
    data = SampleSet.load(workshop / "data")
    config = BackboneConfig(name=str(workshop / "backbone"))
    scorer = load_in_context(config, data, 2, 3, template="tallrec")
    scores = ScoreFile.read(tmp_path / "scores" / "in-context backbone 2-shot.parquet").frame
    assert scores["score"].to_list() == pytest.approx(score_split(scorer, data, "test").frame["score"].to_list())
    assert scores["seed"].unique().to_list() == [3]


def test_a_tuned_model_is_shown_samples_with_its_own_template(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    model, data = tmp_path / "model", SampleSet.load(workshop / "data")
    tune([data.path], model, backbone=str(workshop / "backbone"), settings={"max_steps": 1, "max_length": 900})
    given = ["in-context", model, "--backbone", model, "--data", workshop / "data", *FAST, "--json"]
    code, out, err = cli("evaluate", *given, "--demonstrations", 1, "--output", tmp_path / "scores")
    assert code == 0, err
    rows = Panel.model_validate_json(out).rows[:2]
    names = ["in-context model 1-shot", "model"]
    assert [(row.model, row.kind) for row in rows] == list(zip(names, ["in-context", "tuned"], strict=True))
    assert [read["model"] for read in read_manifest(model).info["test_reads"]] == names
    shown, plain = (ScoreFile.read(tmp_path / "scores" / f"{name}.parquet").frame["score"].to_list() for name in names)
    assert shown != pytest.approx(plain, rel=1e-2)
    lists = sample_lists(data.samples("test"))
    assert load_demonstrated(model, data, 0).score(lists).flat() == pytest.approx(plain, rel=1e-4), "none are shown"
    assert load_demonstrated(model, data, 1).score(lists).flat() == pytest.approx(shown, rel=1e-4)
    code, _, err = cli("evaluate", *given, "--template", "titles")
    assert code == 2
    assert "--template; found" in err
    assert "It brings its own." in err


def test_a_backbone_ranks_and_takes_settings(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    data = SampleSet.load(workshop / "data")
    config = RankingConfig(negatives=4)
    write_ranking_candidates(tmp_path / "lists", *ranking_candidates(data, config), config, parent=data.fingerprint)
    given = ["in-context", "--backbone", workshop / "backbone", "--set", "dtype=float32", "--score", "paper"]
    given += ["--data", workshop / "data", "--candidates", tmp_path / "lists", "--json", *FAST]
    code, out, err = cli("evaluate", *given)
    assert code == 0, err
    first = Panel.model_validate_json(out).rows[0]
    assert first.metrics["logloss"].reason == NO_LOG_ODDS
    assert first.model == "in-context backbone 0-shot"
    assert first.mean("ndcg") is not None


def test_nano_is_built_from_the_data(cli: Cli, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 32, "vocabulary": 600, "steps": 2}
    config = NanoConfig(**tiny, batch_tokens=128, row_tokens=64, instructions=5)
    monkeypatch.setattr("recalign.models.config.NanoConfig", lambda: config)
    monkeypatch.setenv("RECALIGN_CACHE", str(tmp_path))
    given = ["in-context", "--backbone", "nano", "--data", workshop / "data", "--json", *FAST]
    code, out, err = cli("evaluate", *given)
    assert code == 0, err
    assert Panel.model_validate_json(out).rows[0].model == "in-context nano 0-shot"
    assert [path.name[:5] for path in tmp_path.iterdir()] == ["nano-"]


def test_an_endpoint_is_measured_on_what_it_answered(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.parquet"
    script = [Reply.ok("Yes."), Reply.refused(), Reply.ok("Perhaps."), Reply.ok("Yes.")]
    with ScriptedTeacher(script, default=Reply.ok("No.")) as server:
        given = ["in-context", "--teacher", "openai:m", "--base-url", server.base_url, "--data", workshop / "data"]
        given += ["--demonstrations", 1, "--limit", 9, "--set", "concurrency=1", "--set", "max_tokens=9"]
        given += ["--price-in", 10, "--price-out", 20, "--max-cost", 5, "--output", output, *FAST]
        code, out, err = cli("evaluate", *given)
        assert code == 0, err
        assert len(server.requests) == 9
        assert all(request.body["max_tokens"] == 9 for request in server.requests)
        assert all(request.body["temperature"] == 0 for request in server.requests)
        again, text, _ = cli("evaluate", *given, "--json")
        assert len(server.requests) == 9, "answers come from the ledger"
    assert "9 samples, 9 calls" in err
    assert "cost: about" in err
    shown = " ".join(out.split())
    assert "9 samples asked, 7 answered (" in shown
    assert "excluded: 1 off-schema, 1 refusal." in shown
    assert "in-context openai:m 1-shot: no LogLoss" in shown
    assert again == 0
    found = Panel.model_validate_json(text)
    assert found.rows[0].model == "in-context openai:m 1-shot"
    assert found.n == 7
    assert found.answered is not None
    assert found.answered.excluded == {"off-schema": 1, "refusal": 1}
    assert found.answered.asked == 9
    assert (tmp_path / "scores.parquet.ledger.sqlite").exists()
    frame = ScoreFile.read(output).frame
    assert frame.height == 7
    assert (frame["score"] > 0).sum() == 2
    test = SampleSet.load(workshop / "data").frame("test")
    assert frame.join(test, on=["sample_id", "label"], how="semi").height == 7
    assert frame["model"].dtype == pl.String


def test_nothing_but_refusals_is_an_error_with_counts(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    with ScriptedTeacher(default=Reply.refused()) as server:
        given = ["in-context", "--teacher", "openai:m", "--base-url", server.base_url, "--data", workshop / "data"]
        code, _, err = cli("evaluate", *given, "--limit", 3, "--ledger", tmp_path / "kept", *FAST)
    assert code == 2
    assert "none of 3 that can be used: excluded: 3 refusal" in err


def test_label_probabilities_and_the_switch_against_them(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    told = Reply.tokens([("No", {"No": -0.25, "Yes": -1.75}), (".", {".": 0.0})])
    with ScriptedTeacher(default=told) as server:
        given = ["in-context", "--teacher", "openai:m", "--base-url", server.base_url, "--data", workshop / "data"]
        given += ["--limit", 9, "--ledger", tmp_path / "ledger", *FAST]
        code, out, err = cli("evaluate", *given, "--json")
        assert code == 0, err
        plain, text, _ = cli("evaluate", *given, "--no-logprobs")
        assert ["logprobs" in request.body for request in server.requests] == [True] * 9 + [False] * 9
    found = Panel.model_validate_json(out)
    assert found.answered is not None
    assert found.answered.by_probability == 9
    assert found.rows[0].mean("logloss") is not None
    assert found.rows[0].mean("label-mass") == pytest.approx(0.9526, abs=1e-4)
    assert plain == 0
    assert "9 by the answer (probabilities were not asked for)" in " ".join(text.split())


TEACHER = ["in-context", "--teacher", "openai:m"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["in-context"], "neither --backbone nor --teacher"),
        ([*TEACHER, "--backbone", "x"], "both --backbone and --teacher"),
        (["prior:like-rate", "--backbone", "x"], "--backbone; found no model in-context to use it"),
        (["prior:like-rate", "--set", "dtype=float32"], "--set; found no model in-context"),
        (["in-context", "--backbone", "x", "--no-logprobs"], "--no-logprobs; found --backbone"),
        (["in-context", "--backbone", "x", "--max-cost", 3], "--max-cost; found --backbone"),
        (["in-context", "--backbone", "x", "--set", "max_tokens=3"], "max_tokens: unknown key"),
        (["in-context", "--backbone", "x", "--set", "dtype=int3"], "dtype: Input should be"),
        (["in-context", "--backbone", "x", "--demonstrations", 2, "--split", "train"], "They would show answers to it"),
        (["in-context", "--backbone", "no/such/folder/here"], "no/such/folder/here"),
        (["in-context", "--backbone", "x", "--score", "logits"], "--score 'logits'; expected log-odds or paper"),
        (["in-context", "in-context", "--backbone", "x"], "one of them twice"),
        (TEACHER, "Pass --output FILE (they are kept beside it) or --ledger FILE"),
        ([*TEACHER, "prior:like-rate"], "Evaluate it alone"),
        ([*TEACHER, "--score", "paper"], "Evaluate it alone"),
        (["in-context", "--teacher", "heuristic"], "pass it as --backbone"),
        ([*TEACHER, "--ledger", "l", "--max-cost", 3], "max_cost needs price_in and price_out"),
        ([*TEACHER, "--ledger", "l", "--set", "size=3"], "size: unknown key"),
        ([*TEACHER, "--ledger", "l", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY; found no API key"),
        ([*TEACHER, "--ledger", "l", "--split", "tset"], "split 'tset'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    cli: Cli, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("evaluate", *options, "--data", workshop / "data", *FAST)
    assert code == 2, err
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_limit_holds_for_a_local_backbone_and_all_that_stands_beside_it(
    cli: Cli, workshop: Path, tmp_path: Path
) -> None:
    given = ["in-context", "prior:like-rate", "--backbone", workshop / "backbone", "--data", workshop / "data"]
    given += ["--limit", 5, "--device", "cpu", "--seed", 2, "--output", tmp_path / "scores", "--json", *FAST]
    code, out, err = cli("evaluate", *given)
    assert code == 0, err
    panel = Panel.model_validate_json(out)
    assert panel.n == 5
    whole = SampleSet.load(workshop / "data")
    drawn = whole.limited("test", 5, 2).frame("test")
    for file in (tmp_path / "scores").iterdir():
        assert ScoreFile.read(file).frame["sample_id"].to_list() == drawn["sample_id"].to_list()
    assert whole.limited("test", 500, 2) is whole
    larger = set(whole.limited("test", 8, 2).frame("test")["sample_id"])
    assert set(drawn["sample_id"]) < larger
    assert whole.limited("test", 5, 2).frame("train").equals(whole.frame("train"))
    code, _, err = cli("evaluate", "prior:like-rate", "--data", workshop / "data", "--limit", 5, "--candidates", "x")
    assert (code, "--limit; found --candidates" in err) == (2, True)
