"""A panel's tables in a terminal of 80 columns. The report's page shows the same cells as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from recalign.evaluation import sentences
from recalign.evaluation.cells import Cell, Table
from recalign.evaluation.document import Panel
from recalign.evaluation.tables import panel_tables
from recalign.terminal import printable


def print_panel(console: Console, panel: Panel) -> None:
    """Print all tables of a panel, and what they mean in words."""
    told = [sentences.about(panel)]
    told += [sentences.answered(panel.answered, panel.n)] if panel.answered else []
    told += [sentences.headline(panel), *sentences.outcomes(panel), *sentences.terms(panel)]
    print_tables(console, panel_tables(panel), told)
    _print_lines(console, sentences.remarks(panel))


def print_tables(console: Console, tables: Sequence[Table], told: Sequence[str] = ()) -> None:
    """Print tables with their notes; below the first one comes also what is `told`."""
    for place, table in enumerate(tables):
        if place:
            console.print()
        console.print(rich_table(table))
        _print_lines(console, [*table.notes] if place else [*told, *table.notes])


def rich_table(table: Table) -> RichTable:
    """A table that fits into 80 columns: long names are folded, and some columns stand below the column before."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, title=printable(table.caption))
    shown.title_justify = "left"
    for column in table.columns:
        if column.terminal == "column":
            justify = "right" if column.numeric else "left"
            heading = "\n".join(textwrap.wrap(printable(column.heading), 9, break_long_words=False))
            shown.add_column(heading, justify=justify, no_wrap=column.numeric, overflow="fold")  # type: ignore[arg-type]
    for row in table.rows:
        shown.add_row(*_terminal_cells(table, row.cells), style="dim" if row.dim else None)
    return shown


def _print_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(Text(printable(line)))


def _terminal_cells(table: Table, cells: tuple[Cell, ...]) -> Iterator[Text]:
    """One text per column of the terminal: minor texts and the columns that stand below it are further lines."""
    lines: list[str] = []
    for column, cell in zip(table.columns, cells, strict=True):
        if column.terminal == "none":
            continue
        if column.terminal == "column":
            if lines:
                yield Text("\n".join(lines))
            lines = [printable(cell.text)]
        else:
            lines.append(printable(cell.text))
        lines += [printable(cell.minor)] if cell.minor else []
    yield Text("\n".join(lines))
