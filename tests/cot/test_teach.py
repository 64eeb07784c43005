"""From prepared data to the artefact, with the embedded teacher."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import read_manifest
from recalign.cot.cases import CotQuestion, make_source
from recalign.cot.config import TeachConfig
from recalign.cot.statistics import TeachStatistics
from recalign.cot.teach import find_taught, teach
from recalign.cot.teachers import make_teacher
from recalign.cot.teachers.heuristic import HeuristicTeacher
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError, ConfigError, Interrupted, TeacherError
from recalign.llm.base import Completion
from recalign.llm.ledger import ledger_path
from recalign.tuning.instructions import read_instructions


def run(samples: SampleSet, output: Path, **settings: Any) -> TeachStatistics:
    options = {name: settings.pop(name) for name in ("overwrite", "progress") if name in settings}
    config = TeachConfig(**settings)
    return teach(samples, make_teacher(samples, config), config, output, **options)


def rows(output: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / name).read_text(encoding="utf-8").splitlines()]


def test_the_same_samples_in_each_step_and_hits_only(movies: SampleSet, tmp_path: Path) -> None:
    statistics = run(movies, tmp_path / "cot")
    steps = [rows(tmp_path / "cot", f"stage{step}.jsonl") for step in (1, 2, 3)]
    ids = [[row["sample_id"] for row in step] for step in steps]
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == statistics.kept == statistics.hits > 10
    truths = dict(movies.frame("train").select("sample_id", "item_id").iter_rows())
    for row in steps[2]:
        assert f'"{movies.catalog.text(truths[row["sample_id"]])}"' in row["output"]
    assert len(rows(tmp_path / "cot", "provenance.jsonl")) == statistics.kept
    dropped = rows(tmp_path / "cot", "dropped.jsonl")
    assert len(dropped) == statistics.asked - statistics.kept
    assert not {row["sample_id"] for row in dropped} & set(ids[0])


def test_rows_are_what_tuning_reads_and_each_carries_the_answers_before(movies: SampleSet, tmp_path: Path) -> None:
    run(movies, tmp_path / "cot")
    one, two, three = (read_instructions(tmp_path / "cot" / f"stage{step}.jsonl") for step in (1, 2, 3))
    for first, second, third in zip(one, two, three, strict=True):
        assert first.output.startswith("<Answer 1>: ")
        assert first.output in second.input
        assert first.output in third.input
        assert second.output in third.input
        assert "Answer with" not in third.input, "what a teacher is told about the form is no part of the data"


def test_it_beats_chance(movies: SampleSet, books: SampleSet, tmp_path: Path) -> None:
    for name, samples in (("movies", movies), ("books", books)):
        statistics = run(samples, tmp_path / name)
        assert statistics.hit_rate is not None
        assert statistics.chance is not None
        assert statistics.hit_rate > statistics.chance


@pytest.mark.slow
@pytest.mark.real_data
def test_it_beats_chance_on_real_ratings(real_data: Path, tmp_path: Path) -> None:
    from recalign.experiment.prepare import PrepareConfig, prepare

    source = real_data / "ml-latest-small"
    options = {"dataset": "movielens", "input": source, "protocol": "leave-one-out"}
    prepare(PrepareConfig.build(output=tmp_path / "data", **options))
    statistics = run(SampleSet.load(tmp_path / "data"), tmp_path / "cot", limit=5000)
    assert statistics.chance == pytest.approx(10 / 19)
    assert statistics.above_chance
    assert statistics.hit_low is not None
    assert statistics.hit_low > 0.65


def test_valid_only_keeps_misses_too(movies: SampleSet, tmp_path: Path) -> None:
    hits, valid = run(movies, tmp_path / "hit"), run(movies, tmp_path / "valid", filter="valid-only")
    assert valid.kept == valid.valid == hits.asked > hits.kept
    assert hits.dropped == {"truth not recommended": hits.asked - hits.kept}
    assert hits.hit_rate == valid.hit_rate


def test_the_same_call_gives_the_same_artefact(movies: SampleSet, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(movies, tmp_path / name)
    run(movies, tmp_path / "three", seed=1)
    run(movies, tmp_path / "four", concurrency=1)
    one, two, three, four = (read_manifest(tmp_path / name) for name in ("one", "two", "three", "four"))
    assert one.fingerprint == two.fingerprint == four.fingerprint, "how it is asked is not what is asked"
    assert one.fingerprint != three.fingerprint


def test_the_manifest(movies: SampleSet, tmp_path: Path) -> None:
    statistics = run(movies, tmp_path / "cot", limit=100)
    manifest = read_manifest(tmp_path / "cot", kind="cot")
    assert statistics.considered == 100
    assert set(manifest.parents) == {"samples", "candidates"}
    assert manifest.config["settings"]["limit"] == 100
    assert manifest.config["teacher"]["name"] == "heuristic"
    seen = manifest.config["labels_seen"][movies.fingerprint]
    assert 100 < seen["train"] <= movies.frame("train").height
    assert seen["valid"] == 0
    assert TeachStatistics.model_validate(manifest.info["statistics"]) == statistics
    assert not ledger_path(tmp_path / "cot").exists(), "what costs nothing needs no ledger"


def test_what_is_done_is_known(movies: SampleSet, books: SampleSet, tmp_path: Path) -> None:
    config = TeachConfig(limit=200)
    assert find_taught(movies, config, tmp_path / "cot") is None
    statistics = run(movies, tmp_path / "cot", limit=200)
    assert find_taught(movies, config, tmp_path / "cot") == statistics
    assert find_taught(movies, config.model_copy(update={"concurrency": 1}), tmp_path / "cot") == statistics
    for data, changes in ((movies, {"seed": 1}), (books, {}), (movies, {"retry_rejected": True})):
        other = config.model_copy(update=changes)
        with pytest.raises(ArtifactError, match=r"other inputs or settings.*--overwrite"):
            find_taught(data, other, tmp_path / "cot")
        assert find_taught(data, other, tmp_path / "cot", overwrite=True) is None


def test_inside_a_running_event_loop(movies: SampleSet, tmp_path: Path) -> None:
    async def notebook() -> TeachStatistics:
        return run(movies, tmp_path / "cot", limit=200)

    assert asyncio.run(notebook()) == run(movies, tmp_path / "plain", limit=200)


def test_progress_is_told(movies: SampleSet, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    statistics = run(movies, tmp_path / "cot", progress=lambda *report: told.append(report))
    assert told == [(done, statistics.asked, "") for done in range(1, statistics.asked + 1)]


def test_what_is_written_is_not_asked_for_again_and_other_output_is_refused_before(
    movies: SampleSet, tmp_path: Path
) -> None:
    (tmp_path / "cot").mkdir()
    statistics = run(movies, tmp_path / "cot")

    def forbidden(done: int, total: int, facts: str) -> None:
        raise AssertionError("it is done")

    assert run(movies, tmp_path / "cot", progress=forbidden) == statistics
    with pytest.raises(ArtifactError, match=r"exists already.*--overwrite"):
        run(movies, tmp_path / "cot", seed=1, progress=forbidden)
    run(movies, tmp_path / "cot", overwrite=True)


def test_what_cannot_be_asked_about(movies: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind cot"):
        run(movies, tmp_path / "cot", template="tlrec")
    with pytest.raises(TeacherError, match="no candidate set with its truth"):
        make_source(movies, TeachConfig(size=1, similar_users=1, limit=1))


def test_where_nothing_is_kept_nothing_is_written(
    movies: SampleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: HeuristicTeacher, question: CotQuestion) -> Completion:
        return Completion("")

    monkeypatch.setattr(HeuristicTeacher, "complete", silent)
    with pytest.raises(TeacherError, match=r"no sample was kept.*stage 1: empty.*another --teacher"):
        run(movies, tmp_path / "cot")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def listening() -> Iterator[None]:
    """SIGINT as a terminal's programs have it: a shell's background jobs, such as a test run may be, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_ctrl_c_is_told_in_one_line(movies: SampleSet, tmp_path: Path) -> None:
    def stop(done: int, total: int, facts: str) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="teaching was stopped"):
        run(movies, tmp_path / "cot", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_teacher_loads_no_torch() -> None:
    code = (
        "import sys, recalign.cot.teach, recalign.cot.teachers.heuristic; print({'torch', 'openai'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
