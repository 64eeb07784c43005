"""`recalign prepare`: ratings and titles in, a prepared directory out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalign.cli.audit import show_findings
from recalign.cli.next_step import after_prepare, tell_next
from recalign.data.readers import READERS
from recalign.errors import ConfigError
from recalign.terminal import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SOURCE = "Own files (dataset table)"
_TEXT = "Prompts"
_LIKES = "Likes"
_SPLITS = "Samples"
_SYNTHETIC = "Dataset synthetic"
_SHOWN_FILES = 10  # a table can come in thousands of parts; the manifest has the account of each


def _option(text: str, panel: str | None = None) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False)


def prepare(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help=", ".join(READERS.names()), show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    input: Annotated[Path | None, _option("Folder or file of the dataset; table also reads pipes (-).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prepared directory.")] = False,
    protocol: Annotated[
        str | None,
        _option("tallrec, temporal, leave-one-out, leave-n-out or explicit-only. Default: the dataset's.", _SPLITS),
    ] = None,
    split: Annotated[str | None, _option("Train, valid and test in proportion, e.g. 8:1:1 or 0:0:1.", _SPLITS)] = None,
    folds: Annotated[
        int | None, _option("Instead of --split: users in so many groups, for cross-validation (3 or more).", _SPLITS)
    ] = None,
    fold: Annotated[
        int | None, _option("The group that is test, from 0 (0); the next one is valid, the others train.", _SPLITS)
    ] = None,
    max_history: Annotated[int | None, _option("Longest history (10).", _SPLITS)] = None,
    min_history: Annotated[int | None, _option("Interactions that a target needs before it.", _SPLITS)] = None,
    order: Annotated[str | None, _option("A user's order: time, file or shuffle.", _SPLITS)] = None,
    order_seed: Annotated[
        int | None, _option("Which order of events at the same time, of the possible ones (0).", _SPLITS)
    ] = None,
    holdout: Annotated[
        int | None, _option("leave-n-out: a user's events that are held out together (10).", _SPLITS)
    ] = None,
    test_users: Annotated[
        int | None, _option("Most users in valid and in test, a seeded choice (all).", _SPLITS)
    ] = None,
    seed: Annotated[int | None, _option("Root of all randomness (0).", _SPLITS)] = None,
    max_rendered: Annotated[
        int | None, _option("Most rows of the .jsonl files (100,000); samples.parquet has all.", _SPLITS)
    ] = None,
    like_above: Annotated[float | None, _option("Ratings above this are likes, e.g. 3.5.", _LIKES)] = None,
    feedback: Annotated[str | None, _option("explicit (ratings), binary (yes/no), implicit (events).", _LIKES)] = None,
    negatives: Annotated[int | None, _option("Implicit: sampled unseen items per event (1).", _LIKES)] = None,
    negatives_in_history: Annotated[
        bool, typer.Option("--negatives-in-history", help="Implicit: show them in histories.", rich_help_panel=_LIKES)
    ] = False,
    template: Annotated[str | None, _option("Prompt template of the .jsonl files: a name or a .toml.", _TEXT)] = None,
    item_text: Annotated[str | None, _option("Text of an item, e.g. '{title}[ ({year})]'.", _TEXT)] = None,
    noun: Annotated[str | None, _option("What one item is called, e.g. shoe.", _TEXT)] = None,
    noun_plural: Annotated[str | None, _option("Several items, e.g. shoes.", _TEXT)] = None,
    verb: Annotated[str | None, _option("What the question asks, e.g. like.", _TEXT)] = None,
    past: Annotated[str | None, _option("The same in the past, e.g. liked.", _TEXT)] = None,
    consumed: Annotated[str | None, _option("What the user did, e.g. bought.", _TEXT)] = None,
    yes: Annotated[str | None, _option("The positive answer, e.g. Yes.", _TEXT)] = None,
    no: Annotated[str | None, _option("The negative answer, e.g. No.", _TEXT)] = None,
    language: Annotated[str | None, _option("Language of the template: en, de.", _TEXT)] = None,
    columns: Annotated[list[str] | None, _option("Ours=theirs, e.g. user_id=KundenNr; repeat.", _SOURCE)] = None,
    item_columns: Annotated[list[str] | None, _option("The same for the items file; repeat.", _SOURCE)] = None,
    header: Annotated[
        str | None, _option("The columns of a file without header, e.g. user_id,item_id,rating,timestamp.", _SOURCE)
    ] = None,
    item_header: Annotated[str | None, _option("The same for the items file, e.g. item_id,title.", _SOURCE)] = None,
    separator: Annotated[
        str | None, _option("Column separator, e.g. ';', '\\t' or '::'; found from the header by default.", _SOURCE)
    ] = None,
    encoding: Annotated[str | None, _option("Text encoding; UTF-8 by default.", _SOURCE)] = None,
    time_unit: Annotated[
        str | None, _option("Unit of times that are numbers: seconds to nanoseconds; auto (by size).", _SOURCE)
    ] = None,
    items: Annotated[str | None, _option("Items file. Dataset synthetic: number of items (400).", _SOURCE)] = None,
    bare_answers: Annotated[
        bool,
        typer.Option("--bare-answers", help='alpaca-json: take "Yes" for "Yes."', rich_help_panel=_TEXT),
    ] = False,
    catalogue: Annotated[str | None, _option("movies (default) or books.", _SYNTHETIC)] = None,
    users: Annotated[int | None, _option("Number of users (300).", _SYNTHETIC)] = None,
    ratings_per_user: Annotated[int | None, _option("Mean number of ratings per user (30).", _SYNTHETIC)] = None,
) -> None:
    """Prepare samples: histories, targets and labels, split into train, valid and test.

    Writes samples.parquet, events.parquet and items.parquet (what tuning and evaluation read), train/valid/test.jsonl
    (prompts to look at), rejects.jsonl (every input line that was not used, and why), audit.json and manifest.json.
    """
    from rich.console import Console

    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.experiment.prepare import PrepareConfig
    from recalign.experiment.prepare import prepare as run

    names = {name: dict(mapped_columns(name, context.params[name] or [])) for name in ("columns", "item_columns")}
    config = PrepareConfig.build(**{**context.params, **names})
    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        path = run(config, note=reporter.note, reporter=reporter)
    _show(Console(highlight=False), path)


def mapped_columns(name: str, pairs: list[str]) -> Iterator[tuple[str, str]]:
    """What the option of this name maps: our column and the file's. Raises ConfigError for other texts."""
    for pair in pairs:
        ours, sign, theirs = pair.partition("=")
        if not sign or not ours:
            option = f"--{name.replace('_', '-')} {pair!r}"
            raise ConfigError(option, expected="our column = yours, such as user_id=KundenNr")
        yield ours, theirs


def _show(console: Console, path: Path) -> None:
    """What was read, what became of it, what to know, what to do next; fits 80 columns."""
    import json

    from rich.text import Text

    from recalign.artifacts import read_manifest
    from recalign.data.audit import AuditReport
    from recalign.experiment.prepare import AUDIT_FILE

    manifest = read_manifest(path, kind="samples", verify=False)
    info, config = manifest.info, manifest.config
    if info["accounts"]:
        table = _table("file", "lines", "headers", "parsed", "rejected")
        shown, more = info["accounts"][:_SHOWN_FILES], info["accounts"][_SHOWN_FILES:]
        rows = [(account["path"], [account]) for account in shown]
        for name, accounts in rows + ([(f"{len(more):,} more files", more)] if more else []):
            sums = (sum(account[key] for account in accounts) for key in ("lines", "header", "parsed", "rejected"))
            table.add_row(Text(name, overflow="ellipsis"), *(f"{number:,}" for number in sums))
        console.print(table)
        for reason, count in info["rejects"].items():
            say(f"  {count:,} × {reason}")
        if times := info["times"]:
            form = f"{times['form']}, " if times["form"] else ""
            say(f"times: {form}{times['first']} to {times['last']}")
        say(f"licence: {info['licence']}")
        console.print()
    table = _table("split", "samples", "users", "liked", "in .jsonl")
    for split in ("train", "valid", "test"):
        counts = info["splits"][split]
        share = f"{counts['positive'] / counts['samples']:.1%}" if counts["samples"] else "-"
        table.add_row(split, f"{counts['samples']:,}", f"{counts['users']:,}", share, f"{info['rendered'][split]:,}")
    console.print(table)
    protocol = config["protocol"]
    facts = f"protocol {protocol['name']} v{protocol['version']}, template {config['template']}"
    if "folds" in protocol:
        facts += f", fold {protocol['fold']} of {protocol['folds']} (from 0)"
    if info["users_without_sample"]:
        facts += f"; {info['users_without_sample']:,} of {info['users']:,} users have no sample"
    say(f"{facts}\n")
    show_findings(AuditReport.model_validate(json.loads((path / AUDIT_FILE).read_bytes())))
    say(f"{path}")
    tell_next(*after_prepare(path))


def _table(first: str, *numbers: str) -> Table:
    from rich.table import Column, Table

    return Table(first, *(Column(name, justify="right") for name in numbers), box=None, pad_edge=False)
