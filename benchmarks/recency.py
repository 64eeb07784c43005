"""AUC of `prior:recent+item-mean` by its decay h: on the source's validation split, and on a target's test.

    python benchmarks/recency.py [--orders 5]

Data: RECALIGN_DATA with ml-latest-small (the source, which chooses) and ml-100k (leave-one-out, over orders of the
events at the same time). It explains figures of docs/results.md. Nothing is chosen by what it says about the target.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from recalign.baselines.priors import ItemStatistics, prior
from recalign.baselines.recent import DECAYS, Recency, RecentPrior
from recalign.data.samples import SampleSet
from recalign.experiment.prepare import prepare
from recalign.experiment.prepare_config import PrepareConfig
from recalign.metrics.classification import auc
from recalign.scoring.base import sample_lists


def prepared(folder: Path, **settings: object) -> SampleSet:
    """Prepared leave-one-out data in `folder`."""
    config = PrepareConfig.build(output=folder, protocol="leave-one-out", max_rendered=1, **settings)
    return SampleSet.load(prepare(config))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=5, help="order seeds of the target")
    orders, data = parser.parse_args().orders, Path(os.environ["RECALIGN_DATA"])
    with tempfile.TemporaryDirectory() as made:
        source = prepared(Path(made) / "source", dataset="movielens", input=data / "ml-latest-small", like_above=3.5)
        statistics = ItemStatistics(source)
        targets = [
            prepared(Path(made) / str(seed), dataset="movielens-100k", input=data / "ml-100k", order_seed=seed)
            for seed in range(orders)
        ]
        print(f"weight 1; source: {source.count('valid')} validation samples; target: {orders} orders")
        print("    h   source   target")
        for decay in DECAYS:
            by_source, *by_target = (measured(statistics, part, split, decay) for part, split in
                                     [(source, "valid"), *((target, "test") for target in targets)])  # fmt: skip
            print(f"{decay:5g}   {by_source:.4f}   {np.mean(by_target):.4f} ± {np.std(by_target, ddof=1):.4f}")


def measured(statistics: ItemStatistics, data: SampleSet, split: str, decay: float) -> float:
    """AUC of recent + item mean with this decay and weight 1."""
    chosen = prior("recent+item-mean", statistics, data.catalog)
    assert isinstance(chosen, RecentPrior)
    samples = data.samples(split)
    scorer = RecentPrior(chosen.name, chosen.means, Recency(decay, 1.0), with_mean=True)
    return auc([sample.label for sample in samples], scorer.score(sample_lists(samples)).flat()) or 0.0


if __name__ == "__main__":
    main()
