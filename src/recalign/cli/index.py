"""`recalign index`: what finds candidates in a large catalogue, for a model to rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from recalign.cli.next_step import tell_next
from recalign.terminal import say

UNITS: Final = {"texts": "texts", "weights": "targets"}  # what the two parts of the work are counted in


def index(
    source: Annotated[
        Path, typer.Argument(metavar="DATA|RUN", help="Prepared data, or a tuned model.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the index.", show_default=False)],
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Local directory or hub id of a sentence encoder; adds text vectors.", show_default=False),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the encoder.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="Where the encoder runs: auto, cpu or cuda.")] = "auto",
    retriever: Annotated[
        list[str] | None,
        typer.Option(help="Add a retriever of another package, by its name; repeat for more.", show_default=False),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Only add and remove items, so that the index has those of DATA or RUN.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
) -> None:
    """Index a catalogue: popularity, what people met besides, and words of the item texts, as one list of candidates.

    The weights of the three are chosen on the validation users of DATA. From RUN only the texts are indexed.
    """
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.experiment.progress import counted
    from recalign.retrieval.make import make_index

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        made = make_index(
            source, output, text_encoder=text_encoder, revision=revision, device=device, also=retriever or (),
            update=update, overwrite=overwrite, note=reporter.note,
            progress_for=lambda name: counted(reporter.task(name, UNITS[name])),
        )  # fmt: skip
    for name, weight in made.choice.weights.items():
        recall = f", alone recall@100 {made.choice.recall[name]:.3f}" if made.choice.cases else ""
        say(f"{name}: weight {weight:g}{recall}")
    if made.choice.cases:
        say(f"together recall@100 {made.choice.recall['fused']:.3f} on {made.choice.cases:,} validation targets")
    else:
        say("no validation targets: equal weights")
    say(f"index: {output} ({len(made.catalog):,} items)")
    tell_next(("recommend", "RUN", "--index", output, "--likes", "TITLE"))
