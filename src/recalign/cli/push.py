"""`recalign push`: the LoRA of a run to a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recalign.experiment.push import Pushed


def push(
    run: Annotated[
        Path, typer.Argument(help="A run with one model, or RUN/models/NAME, or a model directory.", show_default=False)
    ],
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="Hub id, owner/name; made if it is not there.", show_default=False)
    ],
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it. Otherwise only its owner can.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files and ask no hub.")] = False,
    backbone: Annotated[
        str | None,
        typer.Option(help="Path or hub id of the backbone, if it has moved since tuning.", show_default=False),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(help="Hub id of the backbone, if it is a directory here.", show_default=False),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="By the hub's names, as apache-2.0.", show_default="that of the base"),
    ] = None,
) -> None:
    """Send a tuned LoRA to a hub, with a card that has the numbers of the run.

    No title, rating or path of this machine goes with it. The token is that of HF_TOKEN or of `hf auth login`.
    """
    from recalign.experiment.push import push as push_model

    done = push_model(
        run,
        repository,
        public=public,
        dry_run=dry_run,
        backbone=backbone,
        base_model=base_model,
        licence=licence,
    )
    _tell(done, repository, public)


def _tell(done: Pushed, repository: str, public: bool) -> None:
    from recalign.terminal import printable, say

    for name, size in done.files:
        say(f"{size:>13,}  {name}")
    shown = ", ".join(f"{entry.row.title} on {entry.panel.title}" for entry in done.measured)
    say(printable(f"results in the card: {shown or 'none, for this model is in no run'}"))
    for data in done.trained_on:
        say(printable(f"trained on {data.name}, {data.labels:,} labels, licence: {data.licence or 'not known here'}"))
    if not done.url:
        to_whom = "for everybody to see" if public else "for its owner alone"
        say(f"nothing was sent; without --dry-run these files go to {repository}, {to_whom}")
        return
    what = "pushed" if done.changed else "up to date, nothing to push"
    say(f"{what}: {done.url} ({'public' if done.public else 'private'}), commit {done.commit[:12]}")
