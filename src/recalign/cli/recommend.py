"""`recalign recommend`: likes and dislikes in, ranked items out, with the effect of each history entry on request.

With ``--explain pairs`` there is also what the model itself writes about its choice, marked as that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recalign.cli.client_options import Endpoint, Precision
from recalign.cli.help import Command
from recalign.cli.next_step import after_recommend, tell_next
from recalign.terminal import printable

if TYPE_CHECKING:
    from recalign.answer import Answer
    from recalign.scoring.pairs import GeneratedPairs

_SHOWN_INFLUENCES: Final = 3  # per item in the terminal; --json has them all
_FEW: Final = 0.5  # a rate of valid pairs below which the model cannot have learnt to write them


class RecommendCommand(Command):
    """`--explain` may stand alone: it takes the next word only where that is one of its values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write the value that is meant after a lone ``--explain``."""
        values = ("influences", "pairs")
        meant: list[str] = []
        for place, word in enumerate(args):
            alone = word == "--explain" and args[place + 1 : place + 2] not in [[value] for value in values]
            meant.append("--explain=influences" if alone else word)
        return super().parse_args(ctx, meant)


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
    precision: Precision = "auto",
    endpoint: Endpoint = None,
    explain: Annotated[
        Literal["influences", "pairs"] | None,
        typer.Option(
            metavar="WHAT",
            help="Alone (or influences): add what each history entry does to each score (leave-one-out). "
            "pairs: also add the pairs 'watched → recommended' that a model tuned on chain-of-thought data writes.",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            help="Index of the catalogue (from `recalign index`); only what it finds is scored.",
            show_default=False,
        ),
    ] = None,
    retrieve: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many candidates the index finds. Default: 200.", show_default=False),
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen/--include-seen", help="Leave out the items that were given.")
    ] = True,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="COLUMN=VALUE",
            help="Recommend only items with this value, e.g. genres=Comedy; repeat for another value or column.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="ID", help="Never recommend this (title or id); repeat.", show_default=False),
    ] = None,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="N", min=0, max=1, help="0: the best scores; towards 1: unlike each other. Needs --index."
        ),
    ] = 0.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recommend items of the catalogue to someone who likes and dislikes these.

    Titles are matched forgivingly: case, accents, punctuation, a moved article, a missing year, a part of one title and
    small typing errors do not matter. Use id:... where a title is ambiguous.
    """
    from recalign.answer import answer
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.errors import ConfigError
    from recalign.recommender import Recommender, Selection
    from recalign.retrieval.base import Filters

    if retrieve is not None and index is None:
        raise ConfigError("--retrieve", found="no index", hint="Make one (recalign index) and name it with --index.")

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        show = reporter.task("recommend", "items")
        recommender = Recommender.load(
            run, data, index=index, backbone=backbone, device=device, precision=precision, endpoint=endpoint
        )
        unwanted = [recommender.match(title).item_id for title in without or ()]
        filters = Filters.parse(only or (), unwanted, exclude_seen=exclude_seen)
        found = answer(
            recommender, likes or (), dislikes or (), k, explain=explain,
            selection=Selection(filters, retrieve or 200, diversity),
            progress=lambda done, total: show(done, total, ""),
        )  # fmt: skip
    if json_output:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        _show(found)
        tell_next(*after_recommend(run, data, index, why=explain is None))


def _show(answer: Answer) -> None:
    # Titles reach the terminal as `Text` only: a str would be read as markup, and control characters would be obeyed.
    console = Console(highlight=False)
    for label, given in (("Likes", answer.likes), ("Dislikes", answer.dislikes)):
        for match in given:
            guessed = match.how in ("part of title", "typing error")
            note = f'  (for "{printable(match.query)}", by {match.how})' if guessed else ""
            console.print(Text(f"{label + ':':<10}{printable(match.title)}{note}"))
    console.print(_table(answer))
    if answer.near_ties:
        console.print(Text(printable(answer.near_ties)))
    if answer.explain is not None:
        console.print(Text("Indented: how much the score of the item above changes by this history entry,"))
        console.print(Text("measured by leaving it out (score with it minus score without it)."))
    if answer.written is not None:
        _show_written(console, answer.written)


def _show_written(console: Console, written: GeneratedPairs) -> None:
    """The pairs that the model wrote, marked as that, and how many of its entries they are."""
    from recalign.answer import WRITTEN

    consumed = printable(written.consumed)
    console.print(Text(f'\nPairs "{consumed} → recommended", {WRITTEN}:'))
    if written.pairs:
        table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
        table.add_column(Text(consumed[:1].upper() + consumed[1:]), overflow="fold")
        table.add_column("→ Recommended", overflow="fold")
        table.add_column("Rank", justify="right", no_wrap=True)
        for pair in written.pairs:
            given = printable(pair.title) if pair.liked else f"{printable(pair.title)} (disliked)"
            table.add_row(Text(given), Text(printable(pair.recommended_title)), str(pair.rank))
        console.print(table)
    for line in _judgement(written):
        console.print(Text(line))


def _judgement(written: GeneratedPairs) -> Iterator[str]:
    if written.rate is None:
        yield "The model wrote no list of pairs."
    else:
        yield (
            f"{written.n_valid} of the {written.n_generated} pairs that it wrote are valid ({written.rate:.0%}): "
            f"a given item with one of the {written.n_candidates} best-ranked items, each of those once."
        )
    if written.cut:
        yield "Its answer was cut at the length limit."
    if not written.pairs:
        yield f'It wrote: "{_beginning(printable(written.answers[2]))}"'
    if written.rate is None or written.rate < _FEW:
        yield "Writing pairs is learnt from chain-of-thought data: recalign teach, then recalign tune --kind cot."


def _beginning(text: str, most: int = 150) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _table(answer: Answer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("Title", overflow="fold")
    table.add_column("Score", justify="right", no_wrap=True)
    if answer.log_odds:
        table.add_column("P(liked)", justify="right", no_wrap=True)
    table.add_column("Id", overflow="fold", max_width=16)
    for item in answer.items:
        probability = [f"{item.probability:.3f}"] if item.probability is not None else []
        table.add_row(
            str(item.rank),
            Text(printable(item.title)),
            f"{item.score:.3f}",
            *probability,
            Text(printable(item.item_id)),
        )
        for influence in item.influences[:_SHOWN_INFLUENCES]:
            entry = Text(f"  {'liked' if influence.liked else 'disliked'} {printable(influence.title)}", style="dim")
            table.add_row("", entry, f"{influence.effect:+.3f}")
    return table
