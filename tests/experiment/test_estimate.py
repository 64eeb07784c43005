"""What a run will cost, before anything is run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from recalign.experiment import estimate
from recalign.experiment.estimate import checkpoint_parameters, estimate_cost, tuning_operations
from recalign.experiment.execute import execute
from recalign.experiment.plan import ExperimentPlan
from recalign.experiment.progress import Reporter
from recalign.experiment.store import Cost, Job, PrepareWork, ScoreWork, Store, TuneWork
from recalign.experiment.worker import machine_kind
from recalign.models.released import release_directory
from recalign.tuning.config import RecStage

Change = Callable[..., ExperimentPlan]
Done = Any  # of conftest
NANO = 'name = "nano"\nsources = ["source"]\ntargets = ["movie"]'


def test_an_estimate_counts_everything_and_believes_what_was_measured(change: Change, tmp_path: Path) -> None:
    plan, store = change(), Store(tmp_path / "store")
    found = estimate_cost(plan.jobs, store)
    assert sum(count for count, _ in found.guessed.values()) == len(plan.jobs)
    assert (found.done, found.measured, found.unknown) == ({}, {}, 0)
    assert found.cpu_hours == pytest.approx(sum(cost for _, cost in found.guessed.values()) / 3600)
    assert not (tmp_path / "store").exists(), "an estimate writes nothing"
    store.prepare()
    by_name = {job.name: job for job in plan.jobs.values()}
    for name, seconds in (("full-seed0", 3600.0), ("book fold 0", 2.0), ("book fold 1", 4.0)):
        store.record(by_name[name], Cost(seconds, seconds, machine_kind()))
        if name.startswith("book"):
            execute(by_name[name], store, Reporter())
        else:
            store.path(by_name[name].output).mkdir()
    found = estimate_cost(plan.jobs, store)
    assert found.done == {"tune": 1, "prepare": 2}
    assert found.measured == {"tune": (1, 3600.0), "prepare": (1, 3.0)}
    total = sum(found.done.values()) + sum(
        count for each in (found.measured, found.guessed) for count, _ in each.values()
    )
    assert total == len(plan.jobs)
    (line,) = [line for line in found.lines() if line.startswith("prepare")]
    assert line.split() == ["prepare", "2", "3", "0.1", "1", "like", "finished", "ones,", "2", "guessed"]


def test_what_ran_on_another_machine_says_nothing_of_this_one(change: Change, tmp_path: Path) -> None:
    plan, store = change(), Store(tmp_path / "store")
    store.prepare()
    tuned = [job for job in plan.jobs.values() if isinstance(job.work, TuneWork) and job.name.endswith("seed0")]
    for job, machine in zip(tuned, ("96 cores, 8 GPUs", ""), strict=False):
        store.record(job, Cost(1.0, 1.0, machine))
        store.path(job.output).mkdir(parents=True)
    assert len(tuned) > 1
    assert estimate_cost(plan.jobs, store).measured == {}


def test_a_backbone_of_unknown_size_is_said_to_be_unknown(change: Change, tmp_path: Path) -> None:
    plan = change(('name = "nano"\nsources = ["source"]\ntargets = ["movie"]', 'name = "some/model"'))
    assert not [job for job in plan.jobs.values() if job.work.kind == "nano"]
    found = estimate_cost(plan.jobs, Store(tmp_path))
    asked = [job for job in plan.jobs.values() if is_of_a_language_model(job, plan)]
    assert found.unknown == len(asked)
    assert "on backbones that are not on this machine" in found.lines()[-1]


def test_all_of_a_plan_is_found_after_its_run(smoke: Done) -> None:
    found = estimate_cost(smoke.plan.jobs, Store(smoke.store))
    assert sum(found.done.values()) == len(smoke.plan.jobs)
    assert (found.measured, found.guessed, found.cpu_hours) == ({}, {}, 0)
    assert all(isinstance(job.work, PrepareWork) == job.output.startswith("data/") for job in smoke.plan.jobs.values())


def is_of_a_language_model(job: Job, plan: ExperimentPlan) -> bool:
    """Whether it is tuned, or scored with a tuned model or in context."""
    tuned = {each.output for each in plan.jobs.values() if isinstance(each.work, TuneWork)}
    work = job.work
    return job.output in tuned or (isinstance(work, ScoreWork) and bool(work.in_context or work.model in tuned))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A directory with 3 × 8 × 4 parameters in products, in two files; the rest is looked up, or no matrix."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    layers = {f"model.layers.{n}.mlp.up_proj.weight": np.ones((8, 4), np.float32) for n in range(3)}
    others = {"model.embed_tokens.weight": (50, 4), "lm_head.weight": (50, 4), "model.norm.weight": (4,)}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in others.items()}
    first = {name: layers.pop(name) for name in list(layers)[:1]}
    save_file({**first, **zeros}, directory / "model-00001-of-00002.safetensors")
    save_file(layers, directory / "model-00002-of-00002.safetensors")
    return directory


def test_the_size_of_a_checkpoint_is_read_from_the_headers_of_its_files(checkpoint: Path) -> None:
    assert checkpoint_parameters(checkpoint) == 3 * 8 * 4


def test_a_local_backbone_is_estimated_by_its_size(
    change: Change, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "matrix_speed", lambda: 1e3)
    found = estimate_cost(change((NANO, f'name = "{checkpoint}"')).jobs, Store(tmp_path / "store"))
    assert found.unknown == 0
    assert found.guessed["tune"][1] > 100 * found.guessed["tune"][0], "operations count, at this speed"
    in_context = 2 * 96 * 200 * 1000 / 1e3  # the least that scoring of any split takes
    assert found.guessed["score"][1] > in_context


def test_a_backbone_that_was_fetched_by_name_is_estimated_too(
    change: Change, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALIGN_CACHE", str(tmp_path))
    jobs = change((NANO, 'name = "smollm2"')).jobs
    assert estimate_cost(jobs, Store(tmp_path / "store")).unknown > 0
    shutil.copytree(checkpoint, release_directory("smollm2"))
    assert estimate_cost(jobs, Store(tmp_path / "store")).unknown == 0


def test_what_stages_that_count_epochs_take_follows_their_data(
    change: Change, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "matrix_speed", lambda: 1e3)
    two_steps = "instructions = 40\nbatch_size = 8\nmax_steps = 2"

    def cost(settings: str) -> float:
        plan = change((NANO, f'name = "{checkpoint}"'), (two_steps, settings))
        (job,) = [job for job in plan.jobs.values() if job.name == "it"]
        return estimate_cost({job.key: job}, Store(tmp_path / "store")).guessed["tune"][1] - 5

    assert cost(two_steps) == pytest.approx(4 * 96 * 200 * 16 / 1e3)
    assert cost("instructions = 40\nbatch_size = 8\nepochs = 3") == pytest.approx(4 * 96 * 200 * 120 / 1e3)
    assert cost(two_steps + '\nmode = "full"') == pytest.approx(6 * 96 * 200 * 16 / 1e3)


def test_each_training_of_a_stage_counts() -> None:
    once = tuning_operations(RecStage(mode="full", max_steps=30), 1000, 99)
    assert tuning_operations(RecStage(mode="full", max_steps=30, merge=3), 1000, 99) == pytest.approx(3 * once)
    few = {"mode": "full", "max_steps": 30, "shots": 16, "folds": 4}
    by_folds = RecStage.model_validate({**few, "selection": "k-fold"})
    assert tuning_operations(by_folds, 1000, 99) == pytest.approx(5 * once)
