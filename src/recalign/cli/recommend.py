"""`recalign recommend`: likes and dislikes in, ranked items out, with the effect of each history entry on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from recalign.data.matching import Match
    from recalign.recommender import Progress, Recommendation, Recommender

_SHOWN_INFLUENCES: Final = 3  # per item in the terminal; --json has them all
_METHOD: Final = "leave-one-out: score with the whole history minus score without this entry"


def recommend(
    run: Annotated[Path, typer.Argument(help="Directory of the tuned model.", show_default=False)],
    likes: Annotated[
        list[str] | None,
        typer.Option("--likes", help="Title or id of an item the user likes; repeat for more.", show_default=False),
    ] = None,
    dislikes: Annotated[
        list[str] | None,
        typer.Option("--dislikes", help="Title or id of an item the user dislikes; repeat.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--count", help="How many items to recommend.")] = 10,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Prepared data whose catalogue is used instead of the run's.", show_default=False),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Path or hub id of the backbone, if it has moved since tuning.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="Add what each history entry does to each score (leave-one-out).")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recommend items of the catalogue to someone who likes and dislikes these.

    Titles are matched forgivingly: case, accents, punctuation, a moved article, a missing year, a part of one title and
    small typing errors do not matter. Use id:... where a title is ambiguous.
    """
    from recalign.recommender import Recommender

    recommender = Recommender.load(run, data, backbone=backbone, device=device)
    matches = [[recommender.match(title) for title in titles or ()] for titles in (likes, dislikes)]
    history = recommender.history(likes or (), dislikes or ())
    with _progress_bar() as progress:
        ranked = recommender.rank(history, k, progress=progress)
        if explain:
            ranked = recommender.explain(history, ranked)
    if json_output:
        sys.stdout.write(json.dumps(_as_json(recommender, matches, ranked, explained=explain)) + "\n")
    else:
        _show(recommender, matches, ranked, explained=explain)


def _as_json(
    recommender: Recommender, matches: Sequence[Sequence[Match]], ranked: Sequence[Recommendation], *, explained: bool
) -> dict[str, Any]:
    def given(match: Match) -> dict[str, str]:
        return {"query": match.query, "item_id": match.item_id, "title": match.title, "match": match.how}

    items: list[dict[str, Any]] = []
    for each in ranked:
        item: dict[str, Any] = {"rank": each.rank, "item_id": each.item_id, "title": each.title}
        item |= {"score": each.score, "probability": each.probability}
        if explained:
            item["influences"] = [
                {
                    "item_id": influence.item_id,
                    "title": influence.title,
                    "liked": influence.liked,
                    "effect": influence.effect,
                    "score_without": influence.score_without,
                }
                for influence in each.influences
            ]
        items.append(item)
    answer: dict[str, Any] = {
        "model": recommender.scorer.name,
        "catalogue_items": len(recommender.catalog),
        "likes": [given(match) for match in matches[0]],
        "dislikes": [given(match) for match in matches[1]],
        "items": items,
    }
    return answer | ({"influence": _METHOD} if explained else {})


def _show(
    recommender: Recommender, matches: Sequence[Sequence[Match]], ranked: Sequence[Recommendation], *, explained: bool
) -> None:
    # Titles reach the terminal as `Text` only: a str would be read as markup, and control characters would be obeyed.
    from rich.console import Console
    from rich.text import Text

    from recalign.terminal import printable

    console = Console(highlight=False)
    for label, given in zip(("Likes", "Dislikes"), matches, strict=True):
        for match in given:
            guessed = match.how in ("part of title", "typing error")
            note = f'  (for "{printable(match.query)}", by {match.how})' if guessed else ""
            console.print(Text(f"{label + ':':<10}{printable(match.title)}{note}"))
    console.print(_table(ranked, log_odds=recommender.scorer.log_odds, explained=explained))
    if explained:
        console.print(Text("Indented: how much the score of the item above changes by this history entry,"))
        console.print(Text("measured by leaving it out (score with it minus score without it)."))


def _table(ranked: Sequence[Recommendation], *, log_odds: bool, explained: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from recalign.terminal import printable

    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("Title", overflow="fold")
    table.add_column("Score", justify="right", no_wrap=True)
    if log_odds:
        table.add_column("P(liked)", justify="right", no_wrap=True)
    table.add_column("Id", overflow="fold", max_width=16)
    for item in ranked:
        probability = [f"{item.probability:.3f}"] if item.probability is not None else []
        table.add_row(
            str(item.rank),
            Text(printable(item.title)),
            f"{item.score:.3f}",
            *probability,
            Text(printable(item.item_id)),
        )
        for influence in item.influences[:_SHOWN_INFLUENCES] if explained else ():
            entry = Text(f"  {'liked' if influence.liked else 'disliked'} {printable(influence.title)}", style="dim")
            table.add_row("", entry, f"{influence.effect:+.3f}")
    return table


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """Progress on stderr, where that is a terminal: scoring a large catalogue with a large model takes a while."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Scoring the catalogue", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
