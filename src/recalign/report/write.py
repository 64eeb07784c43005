"""Writing a report: the page, and beside it a folder with its tables, its figures and the results it was made from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recalign.artifacts import write_file_atomic
from recalign.errors import ArtifactError, ConfigError
from recalign.experiment.results import RESULTS_FILE, Results
from recalign.report.canvas import Drawing, render
from recalign.report.exports import csv_tables, panel_slugs, slugs
from recalign.report.figures import Plot, plots
from recalign.report.page import page

PAGE_NAME: Final = "report.html"
_LIST: Final = "files.txt"  # what the last report wrote into the folder, so that the next one leaves nothing stale
_OURS: Final = re.compile(r"(tables/[a-z0-9-]+\.csv|figures/[a-z0-9-]+\.(svg|png))")


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: The HTML file.
        folder: The folder with ``results.json``, ``tables/`` and ``figures/``.
        tables: Number of CSV files.
        figures: Number of figures, each as SVG and PNG.
    """

    page: Path
    folder: Path
    tables: int
    figures: int


def write_report(run: Path, output: Path | None = None) -> Report:
    """Write the report of a run.

    The same results give the same bytes. The folder beside the page has its name without ``.html``.

    Args:
        run: Directory with ``results.json``.
        output: The page; ``report.html`` in `run` if not given.

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
    figures: list[tuple[Plot, Drawing | None]] = [
        (plot, None if plot.draw is None else render(plot.draw, f"fig-{name}"))
        for plot, name in zip(drawn, names, strict=True)
    ]
    folder = target.with_suffix("")
    files = {f"tables/{name}": data for name, data in csv_tables(results).items()}
    tables = len(files)
    for name, (_, drawing) in zip(names, figures, strict=True):
        if drawing is not None:
            files |= {f"figures/{name}.svg": drawing.svg, f"figures/{name}.png": drawing.png}
    document = page(results, figures, folder.name)
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
