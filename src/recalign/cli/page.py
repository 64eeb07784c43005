"""`recalign page`: what models recommend, as one HTML file that needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recalign.cli.next_step import tell_next
from recalign.terminal import say


def page(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Directories of tuned models, or NAME=DIRECTORY.", show_default=False),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared data: its catalogue, test users, priors and audit are shown.", show_default=False),
    ] = None,
    likes: Annotated[
        list[str] | None,
        typer.Option("--likes", help="Title or id that is liked, instead of test users; repeat.", show_default=False),
    ] = None,
    dislikes: Annotated[
        list[str] | None,
        typer.Option("--dislikes", help="Title or id that is disliked; repeat.", show_default=False),
    ] = None,
    users: Annotated[int, typer.Option(min=1, max=100, help="How many test users of --data are shown.")] = 10,
    k: Annotated[int, typer.Option("-k", "--count", min=1, max=100, help="How many items of each list.")] = 10,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("page.html"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Write one HTML file with ranked lists and their reasons, to click through without a server.

    It shows test users of --data by number, or one person with the given --likes. It loads nothing from elsewhere.
    What `recalign evaluate` found of a model stands above its lists.
    """
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.serving.models import named_directory
    from recalign.serving.standalone import write_page

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        show = reporter.task("page", "lists")
        results = write_page(
            runs, output, data=data, likes=likes or (), dislikes=dislikes or (), users=users, k=k, device=device,
            progress=lambda done, total: show(done, total, ""),
        )  # fmt: skip
    models, histories = len(results.lists), len(results.histories)
    counts = f"{models} model{'s' * (models > 1)}, {histories} {'histories' if histories > 1 else 'history'}"
    say(f"page: {output} ({counts}, {output.stat().st_size / 1000:.0f} kB); open it in a browser")
    verdicts = results.verdicts.values()  # in the order of the runs
    unknown = [run for run, told in zip(runs, verdicts, strict=True) if not told.evaluated]
    if unknown and data is not None:
        directory = named_directory(unknown[0])[1]
        say(f"{directory} is not evaluated on {data}: the page cannot say whether it is any good")
        tell_next(("evaluate", directory, "--data", data))
    else:
        tell_next(("serve", *runs, *(["--data", data] if data else [])))
