"""The verbs of the command for Python: the command's modules and a notebook call the same functions.

`tune`, `evaluate` and `export` are the library's own functions; the others here combine two or three of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from recalign.answer import Answer, Explain, answer
from recalign.artifacts import read_manifest
from recalign.bulk.places import place
from recalign.bulk.request import HISTORY, SHARDS, Request, Share
from recalign.bulk.score import Scored, score_users
from recalign.bulk.spread import spread_users
from recalign.data.matching import TitleIndex
from recalign.data.samples import SampleSet
from recalign.data.source import SourceOptions
from recalign.engines import Engine
from recalign.experiment.prepare import PrepareConfig
from recalign.experiment.prepare import prepare as prepare_directory
from recalign.experiment.progress import Reporter, counted
from recalign.experiment.run import ExperimentRun, run_experiment
from recalign.models.config import Precision
from recalign.recommender import Progress, Recommender, Selection
from recalign.report import write_report
from recalign.scoring.servers import Endpoint


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
    endpoint: str | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Recommend items to someone with these likes and dislikes, as `recalign recommend` does.

    It loads the model for this one answer. Keep a `Recommender` where there are several.

    Arguments are those of `Recommender.load` and of `recalign.answer.answer`, which say what they raise.
    """
    recommender = Recommender.load(
        run, data, index=index, backbone=backbone, device=device, precision=precision, endpoint=endpoint
    )
    return answer(recommender, likes, dislikes, k, explain=explain, selection=selection, progress=progress)


def run(
    file: str | Path,
    output: str | Path | None = None,
    *,
    store: str | Path | None = None,
    jobs: int | None = None,
    engine: Engine = Engine(),
    seeds: int | None = None,
    backbones: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> ExperimentRun:
    """Run an experiment's file and write ``results.json`` and ``report.html``, as `recalign run` does.

    Arguments and errors are those of `recalign.experiment.run.run_experiment`.
    """
    places = [None if path is None else Path(path) for path in (output, store)]
    done = run_experiment(
        Path(file), *places, jobs=jobs, engine=engine, seeds=seeds, backbones=backbones, reporter=reporter
    )
    write_report(done.directory, progress=counted((reporter or Reporter()).task("report", "figures")))
    return done


def score(
    run: str | Path,
    users: str | Path,
    output: str | Path,
    *,
    source: SourceOptions = SourceOptions(),
    like_above: float | None = None,
    max_history: int = HISTORY,
    k: int | None = None,
    selection: Selection = Selection(),
    without: Iterable[str] = (),
    pairs: str | Path | None = None,
    shards: int = SHARDS,
    share: Share = Share(),
    restart: bool = False,
    data: str | Path | None = None,
    index: str | Path | None = None,
    backbone: str | None = None,
    device: str = "auto",
    endpoint: str | None = None,
    engine: Engine = Engine(),
    progress: Progress | None = None,
) -> Scored:
    """Score all users of a table of events, shard by shard, as `recalign score` does. After a kill it goes on.

    Args:
        run, data, index, backbone, device, endpoint: See `Recommender.load`.
        output: The directory of the scores, or its URL; `recalign.bulk.output` says what comes to be there.
        users, source, like_above, max_history, k, selection, pairs, shards: See `recalign.bulk.request.Request`.
        without: Items that never come back (titles or ids), beside those of `selection`.
        share, restart: See `recalign.bulk.score.score_users`.
        engine: Where the shards are made.
        progress: Told of users done, and of all there are to do; on a cluster, of shards.

    Raises what `Recommender.load`, `recalign.bulk.score.score_users` and `Engine.joined` raise.
    """
    from recalign.tuning.guards import collected_signals  # loads torch, as the recommender does
    from recalign.tuning.model_artifact import load_catalog, model_directory

    given = {"model": model_directory(Path(run)), "data": data, "index": index}
    places = {name: Path(path) for name, path in given.items() if path is not None}
    if titles := list(without):
        catalog = load_catalog(places["model"]) if data is None else SampleSet.load(places["data"]).catalog
        unwanted = selection.filters.without.union(TitleIndex(catalog).match(title).item_id for title in titles)
        selection = replace(selection, filters=replace(selection.filters, without=unwanted))
    tables = place(users), None if pairs is None else place(pairs)
    request = Request(tables[0], source, like_above, max_history, k, selection, tables[1], shards)
    load = partial(Recommender.load, run, data, index=index, backbone=backbone, device=device, endpoint=endpoint)
    model = {name: read_manifest(path, verify=False).fingerprint for name, path in places.items()}
    if endpoint is not None:
        model["endpoint"] = Endpoint.parse(endpoint).kind  # shards of one output come from one kind of arithmetic
    with engine.joined() as cluster:
        begin: Callable[..., Scored]
        if cluster is None:
            begin = partial(score_users, load())
        else:
            gpus = 0 if device == "cpu" or endpoint is not None else min(1, cluster.gpus)
            begin = partial(spread_users, cluster, load, indexed=index is not None, gpus=gpus)
        with collected_signals() as signals:
            return begin(
                request, place(output), model=model, share=share, restart=restart, signals=signals, progress=progress
            )
