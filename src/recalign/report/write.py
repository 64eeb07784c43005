"""Writing a report: the page, and beside it a folder with its tables, its figures and the results it was made from.

Everything that a stranger may have written goes through autoescape and `printable`. The page forbids itself the network
by its own content security policy, which admits this package's script only, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup, escape

from recalign.artifacts import write_file_atomic
from recalign.errors import ArtifactError, ConfigError
from recalign.evaluation import sentences, tables
from recalign.evaluation.cells import UNDEFINED, Cell, Column, Table, TableRow, fixed
from recalign.experiment.results import RESULTS_FILE, Missing, Results
from recalign.metrics.ranking import random_ranker
from recalign.report.canvas import DARK, LIGHT, Drawing, css_variables, render
from recalign.report.exports import csv_tables, panel_slugs, slugs
from recalign.report.figures import Plot, plots
from recalign.terminal import printable

PAGE_NAME: Final = "report.html"
_LIST: Final = "files.txt"  # what the last report wrote into the folder, so that the next one leaves nothing stale
_OURS: Final = re.compile(r"(tables/[a-z0-9-]+\.csv|figures/[a-z0-9-]+\.(svg|png))")
_PAPER_CANDIDATES: Final = 51  # over so many candidates TLRec says that it ranks
_CONTROL_CHARACTERS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


@dataclass(frozen=True)
class Report:
    """What was written: the page, the folder beside it, and how many tables and figures that has."""

    page: Path
    folder: Path
    tables: int
    figures: int


def write_report(
    run: Path, output: Path | None = None, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Report:
    """Write the report of a run.

    The same results give the same bytes. The folder beside the page has its name without ``.html``.

    `run` is a directory with ``results.json``, `output` the page; by default ``report.html`` in `run`. `progress` hears
    how many figures are drawn, of how many.

    Raises:
        ArtifactError: There are no results, or not of this version, or the disk does not take the report.
        ConfigError: `output` does not end in ``.html``.
    """
    target = run / PAGE_NAME if output is None else output
    if target.suffix != ".html":
        raise ConfigError(f"report {target}", found=f"a name ending in {target.suffix!r}", expected="one in .html")
    results = Results.read(run)
    drawn = plots(results)
    names = slugs([_figure_name(results, plot) for plot in drawn])
    figures: list[tuple[Plot, Drawing | None]] = []
    for plot, name in zip(drawn, names, strict=True):
        figures.append((plot, None if plot.draw is None else render(plot.draw, f"fig-{name}")))
        progress(len(figures), len(drawn))
    folder = target.with_suffix("")
    files = {f"tables/{name}": data for name, data in csv_tables(results).items()}
    tables = len(files)
    for name, (_, drawing) in zip(names, figures, strict=True):
        if drawing is not None:
            files |= {f"figures/{name}.svg": drawing.svg, f"figures/{name}.png": drawing.png}
    document = _page(results, figures, folder.name)
    _write(folder, files)
    write_file_atomic(folder / RESULTS_FILE, (run / RESULTS_FILE).read_bytes())
    write_file_atomic(target, document.encode())
    return Report(target, folder, tables, (len(files) - tables) // 2)


def _figure_name(results: Results, plot: Plot) -> str:
    """``fig-2-ablation-on-movie`` for what the run's file asks for, ``movie-reliability`` for what every panel has."""
    if plot.place == "paper":
        return plot.title
    if plot.place == "training":
        return "training"
    panels = dict(zip((panel.name for panel in results.panels), panel_slugs(results), strict=True))
    return f"{panels[plot.panel]}-{plot.kind}"


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write `files` and remove what an earlier report listed and this one does not have."""
    listing = folder / _LIST
    try:
        before = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{listing} cannot be read", found=str(error), hint="Remove it") from error
    # The old names stay listed until the new files are there: a report that is cut off is cleaned up by the next one.
    write_file_atomic(listing, "".join(f"{name}\n" for name in sorted({*before, *files})).encode())
    for name, data in files.items():
        write_file_atomic(folder / name, data)
    for name in before:
        if name not in files and _OURS.fullmatch(name):
            (folder / name).unlink(missing_ok=True)
    write_file_atomic(listing, "".join(f"{name}\n" for name in sorted(files)).encode())


def _page(results: Results, figures: list[tuple[Plot, Drawing | None]], folder: str) -> str:
    """The HTML document, with every figure that has a drawing. `folder` beside the page holds its files."""
    # The drawings' text was escaped by the SVG writer.
    shown = [(plot, None if drawing is None else Markup(drawing.inline)) for plot, drawing in figures]
    script = _asset("theme.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    panels = [
        {
            "panel": panel,
            "id": name,
            "headline": sentences.headline(panel),
            "outcomes": sentences.outcomes(panel),
            "about": sentences.about(panel),
            "terms": sentences.terms(panel, columns_only=True),
            "results": tables.results_table(panel),
            "controls": tables.controls_table(panel),
            "comparisons": tables.comparisons_table(panel),
            "ranking": tables.ranking_table(panel),
            "figures": [(plot, markup) for plot, markup in shown if plot.panel == panel.name],
            "published": any(row.published for row in panel.rows),
        }
        for name, panel in zip(panel_slugs(results), results.panels, strict=True)
    ]
    return _environment().get_template("page.html.jinja").render(
        results=results,
        panels=panels,
        paper_figures=[(plot, markup) for plot, markup in shown if plot.place == "paper"],
        training=[(plot, markup) for plot, markup in shown if plot.place == "training"],
        missing=missing_table(results.missing),
        folder=folder,
        random_ndcg=fixed(random_ranker(_PAPER_CANDIDATES)["ndcg"], 3),
        finished=_moment(results.finished),
        script=Markup(script),
        script_hash=digest,
        style=Markup(_style()),
    )  # fmt: skip


def missing_table(missing: Sequence[Missing]) -> Table | None:
    """Jobs without a result; None where all are there."""
    if not missing:
        return None
    columns = tuple(Column(name, numeric=False) for name in ("Job", "Status", "Reason"))
    rows = tuple(
        TableRow((Cell(job.job), Cell(job.status, tone="bad" if job.status == "failed" else ""), Cell(job.reason)))
        for job in missing
    )
    return Table("Jobs without a result", columns, rows)


def _moment(text: str) -> str:
    """A time stamp for people, to the minute; what is none stays as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def _asset(name: str) -> str:
    return resources.files("recalign.report").joinpath("assets", name).read_text(encoding="utf-8")


def _style() -> str:
    """The style sheet: the palettes of `recalign.report.canvas`, then the rules."""
    light, dark = css_variables(LIGHT), css_variables(DARK)
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f'@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) '
        f"{{ color-scheme: dark; {dark} }} }}\n"
        f'@media screen {{ :root[data-theme="dark"] {{ color-scheme: dark; {dark} }} }}\n'
        f"{_asset('style.css')}"
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever text a template prints is one harmless line; `lines` and our own markup are exempt by their type.
        finalize=_safe,
    )
    environment.filters["lines"] = _lines
    environment.filters["fixed"] = fixed
    environment.globals["UNDEFINED"] = UNDEFINED
    return environment


def _safe(value: object) -> object:
    return printable(value) if type(value) is str else value


def _lines(text: str) -> Markup:
    """Escaped text with its lines and indentation as they are, and without control and format characters."""
    kept = (char for char in text if char in "\n\t" or unicodedata.category(char) not in _CONTROL_CHARACTERS)
    return Markup(escape("".join(kept)))
