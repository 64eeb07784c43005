"""How good models are on the source users whom their selection held out: what everything is chosen by.

    python benchmarks/held_out.py DATA MODEL [MODEL ...] [--split test] [--mean] [--device cuda] [--save FOLDER]

DATA is the prepared source. All events of the held-out users are asked about, 16 after each history in order of time,
but for those of the test split. With --split the samples of that split of any DATA are asked about instead. A MODEL may
be scores that an earlier call saved (.parquet). With --mean the last row is of the mean of the models' weights, which
`recalign tune --merge` makes of trainings that differ in their draws alone: give it one stage's training seeds.

Columns: AUC over all, and AUC within a list (the mean over lists with both answers), each minus that of the first
model, with a 95 % interval over users. After a model that knows titles comes what its facts alone let one expect,
without any language model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from recalign.artifacts import read_manifest
from recalign.data.facts import FactFinder
from recalign.data.samples import CandidateList, SampleSet
from recalign.data.schema import SPLITS
from recalign.metrics.classification import auc
from recalign.metrics.significance import Statistic, paired_bootstrap
from recalign.scoring.base import sample_lists
from recalign.scoring.prompted import PromptScorer
from recalign.tuning.config import RecStage, stage_config
from recalign.tuning.model_artifact import load_knowledge, load_model, load_scorer, scorer_around
from recalign.tuning.selection import held_out_lists
from recalign.tuning.weights import add_to_mean

Tables = dict[Statistic, pl.DataFrame]


def asked(data: SampleSet, model: Path) -> tuple[list[CandidateList], list[int]]:
    """The lists of all held-out users of a model's selection, and the labels of their items."""
    stage = stage_config(read_manifest(model, kind="model").config["stage"], str(model))
    if not isinstance(stage, RecStage) or stage.selection != "source":
        sys.exit(f"{model} was not selected on held-out users of a source (selection = 'source')")
    return held_out_lists(stage.model_copy(update={"max_eval_samples": sys.maxsize}), data)


def measured(lists: list[CandidateList], labels: list[int], scores: np.ndarray) -> Tables:
    """A row per item with its score, and a row per list with the AUC within it."""
    users = [asked.user_id for asked in lists for _ in asked.item_ids]
    ids = [str(place) for place in range(len(labels))]
    items = pl.DataFrame({"sample_id": ids, "user_id": users, "label": labels, "score": scores})
    cuts = np.cumsum([len(asked.item_ids) for asked in lists])[:-1]
    parts = zip(lists, np.split(np.asarray(labels), cuts), np.split(scores, cuts), strict=True)
    within = [(asked.user_id, auc(truth, found)) for asked, truth, found in parts if 0 < truth.sum() < len(truth)]
    rows = [(str(place), user, 1, value) for place, (user, value) in enumerate(within)]
    columns = ["sample_id", "user_id", "label", "score"]
    return {"auc": items, "mean": pl.DataFrame(rows, schema=columns, orient="row")}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--split", choices=SPLITS, help="ask about this split instead of the held-out users")
    parser.add_argument("--mean", action="store_true", help="also the mean of the weights of the models")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", type=Path, help="folder for the scores of each model")
    options = parser.parse_args()
    data = SampleSet.load(options.data)
    if options.split:
        samples = data.samples(options.split)
        lists, labels = sample_lists(samples), [sample.label for sample in samples]
    else:
        lists, labels = asked(data, next(model for model in options.models if model.suffix != ".parquet"))
    print(f"{len({one.user_id for one in lists})} users, {len(lists)} lists, {len(labels)} items")
    print(f"{'model':28} {'AUC':>6} {'minus the first':>24}  {'within':>6} {'minus the first':>24} {'s':>5}")
    first: Tables = {}
    rows = [row for model in options.models for row in scorings(model, data, lists, options.device)]
    if options.mean:
        models = [model for model in options.models if model.suffix != ".parquet"]
        rows.append(("mean", lambda: mean_of(models, data, options.device).score(lists).flat()))
    for name, scored in rows:
        started = time.perf_counter()
        scores = scored()
        if options.save and not name.startswith(" "):
            pl.DataFrame({"score": scores}).write_parquet(options.save / f"{name.removesuffix('.parquet')}.parquet")
        tables = measured(lists, labels, scores)
        first = first or tables
        cells = [cell(statistic, tables[statistic], first[statistic]) for statistic in tables]
        print(f"{name:28} {'  '.join(cells)} {time.perf_counter() - started:5.0f}", flush=True)


def mean_of(models: list[Path], data: SampleSet, device: str) -> PromptScorer:
    """The first of the models, with the mean of the weights of all in place of its own."""
    mean, backbone, _ = load_model(models[0], device=device)
    for number, directory in enumerate(models[1:], start=2):
        other = load_model(directory, device=device)[0]
        add_to_mean(dict(mean.named_parameters()), dict(other.named_parameters()), number)
    return scorer_around(mean, backbone, models[0], data)


def scorings(
    model: Path, data: SampleSet, lists: list[CandidateList], device: str
) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """What is measured of a model, with the name of each row."""
    if model.suffix == ".parquet":
        return [(model.name, lambda: pl.read_parquet(model)["score"].to_numpy())]
    rows = [(model.name, lambda: load_scorer(model, data, device=device).score(lists).flat())]
    knowledge = load_knowledge(model)
    if knowledge is not None and (rule := knowledge.rule) is not None:
        finder = FactFinder(data.catalog, knowledge)
        rows.append(("  its facts alone", lambda: np.concatenate([rule(finder.features(one)) for one in lists])))
    return rows


def cell(statistic: Statistic, table: pl.DataFrame, first: pl.DataFrame) -> str:
    """A value, and its difference from that of the first model; nothing where no list has both answers."""
    gap = paired_bootstrap(statistic, table, first) if len(table) else None
    if gap is None:
        return f"{'–':>6} {'':25}"
    value = auc(table["label"], table["score"]) if statistic == "auc" else table["score"].mean()
    between = "" if gap.interval is None else f"[{gap.interval.low:+.3f}, {gap.interval.high:+.3f}]"
    return f"{value:6.4f} {gap.difference:+.4f} {between:>17}"


if __name__ == "__main__":
    main()
