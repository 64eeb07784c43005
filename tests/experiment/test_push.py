"""`push`: a run's LoRA on a hub of this machine, private, complete, and with the numbers of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.numpy import load
from transformers import AutoModelForCausalLM

from recalign.artifacts import read_manifest
from recalign.errors import ArtifactError, ConfigError, RecalignError
from recalign.evaluation.document import BESIDE
from recalign.experiment import push as module
from recalign.experiment.config import load_experiment
from recalign.experiment.execute import execute
from recalign.experiment.model_card import measured
from recalign.experiment.plan import plan_experiment
from recalign.experiment.progress import Reporter
from recalign.experiment.push import Pushed, push
from recalign.experiment.results import Results
from recalign.experiment.run_directory import link_outputs
from recalign.experiment.store import Store
from recalign.experiment.summary import make_results
from recalign.testing.scripted_hub import TOKEN, ScriptedHub
from recalign.testing.tiny import make_tiny
from recalign.tuning.export_card import Base, ExportFacts, Question

# The hub's client uploads large files in a way that the HTTP library no longer likes.
# PEFT reads a property of transformers under its old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
REPO = "owner/shoes-lora"
FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors", "recalign.json", "template.toml"]
HOSTILE = "Movies | <img src=x onerror=alert(1)> `x` [y](http://z)\n---\nlicense: mit\n# *T*"

# A LoRA of two seeds and one on K shots, on a backbone that is a directory.
EXPERIMENT = """
name = "shoes"
title = "Shoes"

[data.movie]
dataset = "synthetic"
users = 14
items = 40
ratings_per_user = 12
max_history = 4

[backbones.tiny]
name = {backbone}
device = "cpu"

[[stages]]
name = "rt"
label = "Rec-tuned"
data = ["movie"]
seeds = [0, 1]
shots = [4, 6]
selection = "last"
batch_size = 2
max_steps = 1
precision = "fp32"
optim = {{ lr = 1e-2, warmup_steps = 1 }}

[[panels]]
name = "on-movie"
title = {title}
data = "movie"
stages = ["rt"]
negatives = 5
resamples = 100
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with four models."""
    folder = tmp_path_factory.mktemp("push")
    backbone = make_tiny(folder / "tiny-llama", "llama")
    (backbone / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n", encoding="utf-8")
    text = EXPERIMENT.format(backbone=json.dumps(str(backbone)), title=json.dumps(HOSTILE))
    (folder / "shoes.toml").write_text(text, encoding="utf-8")
    experiment, directory = load_experiment(folder / "shoes.toml"), folder / "runs" / "shoes"
    store, plan = Store(folder / "store"), plan_experiment(experiment)
    store.prepare()
    for job in plan.jobs.values():  # in this process: workers would load torch once more
        execute(job, store, Reporter())
    link_outputs(directory, plan, store)
    make_results(experiment, plan, {}, store, commands=(), settings=text).write(directory)
    return directory


@pytest.fixture
def model(run: Path) -> Path:
    names = [path.name for path in sorted((run / "models").iterdir())]
    assert len(names) == 4, names
    return run / "models" / next(name for name in names if "6shot" in name and name.endswith("1"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedHub]:
    with ScriptedHub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nonexistent")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def send(model: Path, **options: Any) -> Pushed:
    return push(model, REPO, **{"base_model": "owner/tiny-llama", **options})


# ---- what arrives ----


def test_a_push_is_private_and_complete(model: Path, hub: ScriptedHub) -> None:
    done = send(model)
    repository = hub.repositories[REPO]
    assert (repository.private, len(repository.commits), done.public) == (True, 2, False)
    assert (done.changed, done.commit, done.url) == (True, repository.commits[-1], f"{hub.address}/{REPO}")
    assert sorted(repository.files) == [".gitattributes", *FILES]
    assert dict(done.files) == {name: len(repository.files[name]) for name in FILES}
    assert list(hub.large.values()) == [repository.files["adapter_model.safetensors"]]  # it came by LFS


def test_what_arrived_gives_the_scores_without_recalign(tmp_path: Path, model: Path, hub: ScriptedHub) -> None:
    send(model)
    files = hub.repositories[REPO].files
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    config = json.loads(files["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/tiny-llama", None)
    base = model.resolve().parents[2] / "tiny-llama"
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path))
    assert loaded.peft_config["default"].peft_type == "LORA"
    assert all(tensor.size for tensor in load(files["adapter_model.safetensors"]).values())
    code = files["README.md"].decode().split("````")[1].removeprefix("python\n")
    scope: dict[str, Any] = {}
    here = code.replace("'owner/tiny-llama'", repr(str(base))).replace(f'"{REPO}"', repr(str(tmp_path)))
    exec(here, scope)
    told = float(code.rpartition("# ")[2])
    assert scope["score"] == pytest.approx(told, abs=1e-4)


def test_the_card_has_the_numbers_of_the_results(run: Path, model: Path, hub: ScriptedHub) -> None:
    send(model)
    card = ModelCard(hub.repositories[REPO].files["README.md"].decode())
    data = card.data.to_dict()
    assert data["base_model"] == "owner/tiny-llama"
    assert data["base_model_relation"] == "adapter"
    assert (data["library_name"], data["pipeline_tag"], data["license"]) == ("peft", "text-ranking", "apache-2.0")
    (index,) = data["model-index"]
    assert index["name"] == "shoes-lora"
    (panel,) = Results.read(run).panels
    (row,) = [row for row in panel.rows if row.model == "Rec-tuned" and row.shots == 6]
    assert row.seeds == (0, 1)
    beside = [other for other in panel.rows if other.kind in BESIDE]
    expected = [
        (name, other.mean(name), {} if other is row else {"model": other.model})
        for name in ("auc", "ndcg")
        for other in (row, *beside)
        if other.mean(name) is not None
    ]
    (result,) = index["results"]
    assert [(each["type"], each["value"], each.get("args", {})) for each in result["metrics"]] == expected
    assert len(expected) > 8
    assert (result["dataset"]["split"], result["dataset"]["type"], result["task"]["type"]) == (
        "test",
        "movie",
        "text-ranking",
    )
    table = next(line for line in card.text.splitlines() if line.startswith("| Rec-tuned |"))
    assert f" {row.mean('auc'):.4f} " in table
    assert "means over 2 training seeds" in card.text


def test_names_from_outside_are_no_markup(model: Path, hub: ScriptedHub) -> None:
    send(model)
    text = hub.repositories[REPO].files["README.md"].decode()
    data = ModelCard(text).data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE.replace("\n", " ")
    body = ModelCard(text).text
    assert "<img" not in body
    assert "[y](http" not in body
    (caption,) = (line for line in body.splitlines() if line.startswith("### Results on"))
    assert "Movies \\| &lt;img src=x onerror=alert(1)&gt; \\`x\\` \\[y\\]" in caption
    assert sum(line == "---" for line in text.splitlines()) == 2


def test_data_and_licence_stand_in_the_card(model: Path, hub: ScriptedHub) -> None:
    done = send(model)
    (data,) = done.trained_on
    assert (data.name, data.labels, data.licence) == ("movie", 6, "generated by recalign; free of any rights")
    text = hub.repositories[REPO].files["README.md"].decode()
    assert "* movie: 6 labels. Licence: generated by recalign; free of any rights.\n" in text


def test_no_catalogue_no_path_and_no_token_goes_with_it(
    run: Path, model: Path, hub: ScriptedHub, capfd: pytest.CaptureFixture[str]
) -> None:
    send(model)
    content = b"\n".join(hub.repositories[REPO].files.values())
    catalogue = read_manifest(model).files["items.parquet"]
    assert catalogue.bytes
    titles = titles_of(model)
    assert len(titles) == 40
    secrets = [TOKEN, str(run), str(run.parents[1]), str(Path.home()), os.uname().nodename, *titles]
    assert [secret for secret in secrets if secret.encode() in content] == []
    output = capfd.readouterr()
    assert TOKEN not in output.out + output.err


def titles_of(model: Path) -> list[str]:
    from recalign.tuning.model_artifact import load_catalog

    return list(load_catalog(model).frame["title"])


# ---- again ----


def test_the_same_again_makes_no_commit(model: Path, hub: ScriptedHub, capfd: pytest.CaptureFixture[str]) -> None:
    first = send(model)
    again = send(model)
    assert len(hub.repositories[REPO].commits) == 2
    assert (again.changed, again.commit, again.files) == (False, first.commit, first.files)
    assert "No files have been modified" not in capfd.readouterr().err


def test_an_interrupted_push_goes_on(model: Path, hub: ScriptedHub) -> None:
    hub.fail["/commit/"] = (500, "down for tea")
    with pytest.raises(ArtifactError, match="push to owner/shoes-lora; found status 500: down for tea") as caught:
        send(model, public=True)
    assert "\n" not in str(caught.value)
    repository = hub.repositories[REPO]
    assert (sorted(repository.files), repository.private) == ([".gitattributes"], True)
    assert send(model, public=True).changed
    assert sum(request.startswith("PUT /lfs/") for request in hub.requests) == 1  # what had arrived is kept
    assert not repository.private


def test_an_upload_that_is_refused_tells_no_address(model: Path, hub: ScriptedHub) -> None:
    hub.fail["/lfs/"] = (403, "signature http://store/x?signature=secret is too old")
    with pytest.raises(ArtifactError, match="status 403: signature … is too old") as caught:
        send(model)
    assert "secret" not in str(caught.value)


# ---- who sees it ----


def test_public_opens_it_when_it_is_complete(model: Path, hub: ScriptedHub) -> None:
    send(model)
    assert send(model, public=True).public
    repository = hub.repositories[REPO]
    assert (repository.private, len(repository.commits)) == (False, 2)
    places = [place for place, request in enumerate(hub.requests) if "/commit/" in request or "/settings" in request]
    assert "/settings" in hub.requests[places[-1]]
    assert_refused(ConfigError, "found a public one; expected a private one. Say --public", model)
    assert not send(model, public=True).changed


def assert_refused(kind: type[RecalignError], match: str, model: Path, **options: Any) -> None:
    with pytest.raises(kind, match=match) as caught:
        send(model, **options)
    assert "\n" not in str(caught.value)


def test_a_repository_of_something_else_is_left_alone(model: Path, hub: ScriptedHub) -> None:
    send(model)
    repository = hub.repositories[REPO]
    repository.files = {".gitattributes": b"", "README.md": b"mine", "model.safetensors": b"mine"}
    assert_refused(ConfigError, "files that recalign did not push, such as model.safetensors", model)
    assert repository.files["README.md"] == b"mine"


# ---- without a hub ----


def test_dry_run_lists_what_would_go_and_asks_nobody(
    model: Path, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = send(model, dry_run=True)
    assert (hub.requests, planned.url, planned.changed) == ([], "", False)
    assert planned.files == send(model).files
    monkeypatch.delenv("HF_TOKEN")
    assert send(model, dry_run=True) == planned


def test_a_token_is_wanted_before_anything_is_loaded(
    model: Path, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "write_model", None)
    monkeypatch.delenv("HF_TOKEN")
    assert_refused(ConfigError, "found no token; .*hf auth login", model)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_one")
    with pytest.raises(ArtifactError, match="status 401: Invalid credentials") as caught:
        send(model)
    assert "hf_wrong_one" not in str(caught.value)


def test_a_hub_that_is_not_there(model: Path, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert_refused(ArtifactError, "push to owner/shoes-lora; found ConnectError", model)


def test_what_cannot_be_pushed(run: Path, model: Path, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(
        ConfigError, "base tiny-llama of the LoRA; found a directory; .*--base-model", model, base_model=None
    )
    assert_refused(ConfigError, "--base-model; found 'x'; expected a hub id", model, base_model="x")
    assert_refused(ConfigError, "--license; found 'MIT licence'", model, licence="MIT licence")
    with pytest.raises(ConfigError, match=r"repository; found .\.\./x."):
        push(model, "../x")
    with pytest.raises(ConfigError, match="4 models in it"):
        push(run, REPO)
    monkeypatch.setattr("recalign.models.hf_checkpoint.Checkpoint.licence", lambda self: None)
    assert_refused(ConfigError, "licence of the base owner/tiny-llama; found none named.*--license", model)
    assert hub.repositories == {}
    assert send(model, licence="mit").changed
    assert "\nlicense: mit\n" in hub.repositories[REPO].files["README.md"].decode()


def test_a_model_by_itself_has_no_results(model: Path, hub: ScriptedHub) -> None:
    alone = model.resolve()
    assert measured(alone) == []
    done = send(alone)
    assert done.measured == ()
    card = ModelCard(hub.repositories[REPO].files["README.md"].decode())
    assert "model-index" not in card.data.to_dict()
    assert "without results" in card.text


def test_a_base_of_the_hub_brings_its_id_and_licence(
    model: Path, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model = module.write_model

    def of_the_hub(*arguments: Any, **options: Any) -> tuple[ExportFacts, Question]:
        facts, question = write_model(*arguments, **options)
        return replace(facts, base=Base("gpt2", "0" * 40, "mit", None)), question

    monkeypatch.setattr(module, "write_model", of_the_hub)
    assert_refused(ConfigError, "--base-model; found owner/tiny-llama; expected none: this base has a hub id", model)
    send(model, base_model=None)
    text = hub.repositories[REPO].files["README.md"].decode()
    assert text.startswith("---\nbase_model: gpt2\nlibrary_name: peft\nlicense: mit\n")
    assert f"base, revision = 'gpt2', '{'0' * 40}'" in text


def test_results_that_do_not_tell_the_row_are_refused(run: Path, model: Path, tmp_path: Path) -> None:
    results = Results.read(run)
    (panel,) = results.panels
    twice = panel.model_copy(update={"rows": (*panel.rows, *(row for row in panel.rows if row.kind == "tuned"))})
    for name in ("models", "scores", "data"):
        (tmp_path / name).symlink_to(run / name)
    results.model_copy(update={"panels": (twice,)}).write(tmp_path)
    with pytest.raises(ConfigError, match=r"panel on-movie of the results; found 2 rows that may be those of rt-6shot"):
        measured(tmp_path / "models" / model.name)


def test_each_model_of_a_run_finds_its_own_row(run: Path) -> None:
    rows = {path.name: [entry.row.shots for entry in measured(path)] for path in (run / "models").iterdir()}
    assert all(shots == [4 if "4shot" in name else 6] for name, shots in rows.items())


@pytest.mark.slow
def test_another_process_finds_the_hub_by_its_environment(model: Path, tmp_path: Path, hub: ScriptedHub) -> None:
    code = "from recalign.cli.main import run; run()"
    arguments = ["push", str(model), REPO, "--base-model", "owner/tiny-llama"]
    environment = {
        **os.environ,
        **{"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)},
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"pushed: {hub.address}/{REPO} (private), commit ")
    assert TOKEN not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN in path.read_text(errors="replace")]
