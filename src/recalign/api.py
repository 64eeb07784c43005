"""The verbs of the command for Python: the command's modules and a notebook call the same functions.

`tune`, `evaluate` and `export` are the library's own functions; the others here combine two or three of its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from recalign.answer import Answer, Explain, answer
from recalign.data.samples import SampleSet
from recalign.experiment.prepare import PrepareConfig
from recalign.experiment.prepare import prepare as prepare_directory
from recalign.experiment.progress import Reporter
from recalign.experiment.run import ExperimentRun, run_experiment
from recalign.models.config import Precision
from recalign.recommender import Progress, Recommender, Selection
from recalign.report import write_report


def prepare(dataset: str, output: str | Path, **settings: object) -> SampleSet:
    """Prepare samples from ratings and item titles, as `recalign prepare` does.

    Args:
        dataset: Name of a reader: "table" for your own files, "movielens-100k", "synthetic", ...
        output: Directory to write.
        settings: Keys that `recalign config prepare` lists: ``input="ratings.csv", like_above=3.5``.

    Raises:
        ConfigError: Unknown dataset or settings, or settings that contradict each other.
        DataError: An input file is missing or holds no usable row.
        ArtifactError: `output` exists, and ``overwrite=True`` was not given.
    """
    config = PrepareConfig.build(dataset=dataset, output=Path(output), **settings)
    return SampleSet.load(prepare_directory(config))


def recommend(
    run: str | Path,
    likes: Iterable[str] = (),
    dislikes: Iterable[str] = (),
    k: int = 10,
    *,
    explain: Explain | None = None,
    data: str | Path | None = None,
    index: str | Path | None = None,
    selection: Selection = Selection(),
    backbone: str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> Answer:
    """Recommend items to someone with these likes and dislikes, as `recalign recommend` does.

    It loads the model for this one answer. Keep a `Recommender` where there are several.

    Arguments are those of `Recommender.load` and of `recalign.answer.answer`, which say what they raise.
    """
    recommender = Recommender.load(run, data, index=index, backbone=backbone, device=device, precision=precision)
    return answer(recommender, likes, dislikes, k, explain=explain, selection=selection, progress=progress)


def run(
    file: str | Path,
    output: str | Path | None = None,
    *,
    store: str | Path | None = None,
    jobs: int = 1,
    seeds: int | None = None,
    backbones: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> ExperimentRun:
    """Run an experiment's file and write ``results.json`` and ``report.html``, as `recalign run` does.

    Arguments and errors are those of `recalign.experiment.run.run_experiment`.
    """
    places = [None if path is None else Path(path) for path in (output, store)]
    done = run_experiment(Path(file), *places, jobs=jobs, seeds=seeds, backbones=backbones, reporter=reporter)
    write_report(done.directory)
    return done
