"""`recalign candidates`: the lists that models rank, drawn once and frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recalign.cli.next_step import tell_next
from recalign.terminal import say


def candidates(
    data: Annotated[Path, typer.Argument(help="Prepared directory.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    negatives: Annotated[int, typer.Option(metavar="N", min=1, help="Negatives beside each liked target.")] = 50,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the draw and of the order within a list.")] = 0,
    split: Annotated[str, typer.Option(help="Split whose liked targets are ranked: train, valid or test.")] = "test",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace ranking candidates that are there.")] = False,
) -> None:
    """Draw ranking candidates: each liked target among items that its user never met.

    `recalign evaluate --candidates` ranks them; all models that are to be compared share one directory.
    """
    from recalign.artifacts import already, read_manifest
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.data.ranking_lists import (
        RankingConfig,
        find_drawn,
        ranking_candidates,
        write_ranking_candidates,
    )
    from recalign.data.samples import SampleSet
    from recalign.experiment.progress import counted

    sample_set = SampleSet.load(data)
    config = RankingConfig(negatives=negatives, seed=seed, split=split)
    counts = find_drawn(output, sample_set, config, overwrite=overwrite)
    if counts is not None:
        say(already("drawn", output))
    else:
        with TerminalReporter(after=SHORT_SECONDS) as reporter:
            lists, counts = ranking_candidates(sample_set, config, progress=counted(reporter.task("draw", "lists")))
        parent = sample_set.fingerprint
        write_ranking_candidates(output, lists, counts, config, parent=parent, overwrite=overwrite)
    say(
        f"{split}: {counts.samples:,} samples of {counts.users:,} users; {counts.lists:,} targets of "
        f"{counts.list_users:,} users are liked.\n"
        f"{counts.lists:,} lists of {counts.items_per_list}: 1 liked target, {negatives} items its user never met.\n"
        f"candidates: {output} (fingerprint {read_manifest(output, verify=False).fingerprint[:12]})"
    )
    tell_next(("evaluate", "MODEL", "--data", data, "--candidates", output))
