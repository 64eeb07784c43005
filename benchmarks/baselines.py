"""Sequential baselines on the published Movie data: AUC on its validation split, and how long training takes.

Seconds are those of one seed with its whole weight-decay search, by the clock and of the processor. The last column is
the rank correlation of a model's scores with the history's like-rate: how much of what it learned is just that. Each
model has been selected on this validation split, as in the papers, so its figures flatter it; the like-rate's do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.stats import spearmanr

from recalign.baselines.artifact import load_baseline, train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BASELINES
from recalign.baselines.priors import prior
from recalign.data.samples import SampleSet
from recalign.experiment.prepare import prepare
from recalign.experiment.prepare_config import PrepareConfig
from recalign.metrics.classification import auc
from recalign.scoring.base import one_item_lists


def movies(folder: Path) -> SampleSet:
    """The published Movie data."""
    root = os.environ.get("RECALIGN_DATA")
    if not root:
        sys.exit("RECALIGN_DATA is not set: this benchmark needs ml-100k/ in that folder (see docs/data.md)")
    config = PrepareConfig(
        dataset="movielens-100k",
        input=Path(root) / "ml-100k",
        output=folder / "movies",
        protocol="tallrec",
        template="tallrec",
        max_rendered=100,
    )
    return SampleSet.load(prepare(config))


def row(
    data: SampleSet,
    model: str,
    shots: int | None,
    seeds: int,
    encoder: str | None,
    folder: Path,
    settings: dict[str, object],
) -> str:
    """One row of the table."""
    samples = data.samples("valid")
    lists, labels = one_item_lists(samples), np.array([sample.label for sample in samples])
    like_rate = prior("like-rate").score(lists).flat()
    aucs, clocks, processor, alike = [], [], [], []
    for seed in range(seeds):
        config = BaselineConfig.model_validate({"model": model, "shots": shots, "seed": seed, **settings})
        output = folder / f"{model}-{shots}-{seed}"
        clock, busy = time.perf_counter(), time.process_time()
        train_baseline(data, config, output, text_encoder=encoder if config.text else None)
        clocks.append(time.perf_counter() - clock)
        processor.append(time.process_time() - busy)
        scores = load_baseline(output, data).score(lists).flat()
        aucs.append(float(auc(labels, scores) or 0.0))
        alike.append(float(spearmanr(scores, like_rate).statistic))
    spread = f"{statistics.stdev(aucs):.4f}" if seeds > 1 else "-"
    return (
        f"{model:11}{shots or data.count('train'):>6}{statistics.fmean(aucs):8.4f}{spread:>8}{min(aucs):8.4f}"
        f"{statistics.fmean(clocks):9.1f}{statistics.fmean(processor):9.1f}{statistics.fmean(alike):8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=("gru4rec", "caser", "sasrec", "dros"), choices=BASELINES.names()
    )
    parser.add_argument("--shots", nargs="+", default=["16", "64", "256", "all"], help="K, or all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--text-encoder", help="of gru-bert and dros-bert")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of BaselineConfig")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings: dict[str, object] = {}
    for setting in options.set:
        name, _, value = setting.partition("=")
        settings[name] = value.split(",") if name in ("weight_decays", "heights") else value
    print(
        f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, {options.seeds} seeds, {settings}"
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = movies(folder)
        samples = data.samples("valid")
        value = auc([s.label for s in samples], prior("like-rate").score(one_item_lists(samples)).flat())
        print(f"history like-rate: validation AUC {value:.4f}")
        print(f"{'model':11}{'K':>6}{'AUC':>8}{'sd':>8}{'lowest':>8}{'seconds':>9}{'cpu s':>9}{'alike':>8}")
        for model in options.models:
            for shots in options.shots:
                count = None if shots == "all" else int(shots)
                print(row(data, model, count, options.seeds, options.text_encoder, folder, settings), flush=True)


if __name__ == "__main__":
    main()
