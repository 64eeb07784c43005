"""Draws the figures of docs/results.md from the results of runs.

    python docs/site/figures.py runs/next-item runs/smollm2

It reads ``results.json`` alone, and draws the figures whose panels are in it: SVG that follows light and dark.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure as Canvas

from recalign.evaluation.cells import fixed, prior_name
from recalign.evaluation.document import BESIDE, Panel, Row
from recalign.evaluation.panel import best_prior
from recalign.experiment.results import Results
from recalign.report.canvas import DARK, LIGHT, Theme, css_variables, render
from recalign.report.charts import Bar, Reference, Series, draw_bars, draw_shots

IMAGES: Final = Path(__file__).parent.parent / "images"
# TALLRec, Table 2 (Bao et al., 2023): AUC of LLaMA-7B on the published Movie test.
PAPER: Final = Series("TALLRec, LLaMA-7B (paper)", ((16, 0.6724, None), (64, 0.6748, None), (256, 0.7198, None)))
NAMES: Final = {"auc": "AUC", "gauc": "GAUC (AUC within a user)"}


@dataclass(frozen=True)
class Wanted:
    """A figure: its file, what it is drawn from, and its title."""

    file: str
    experiment: str
    panel: str
    metric: str
    title: str
    over_shots: bool = False


FIGURES: Final = (
    Wanted("next-item-leave-one-out", "next-item", "movie-loo", "auc", "Movie, leave-one-out"),
    Wanted("next-item-leave-10-out", "next-item", "movie-lno", "gauc", "Movie, leave-10-out"),
    Wanted("smollm2-leave-10-out", "smollm2", "movie-lno-200", "auc", "Movie, leave-10-out, 200 users"),
    Wanted("smollm2-shots", "smollm2", "movie", "auc", "Movie, published test", over_shots=True),
)


def draw(wanted: Wanted, panel: Panel) -> str:
    """The figure as an SVG file, with its numbers in words for those who do not see it."""
    name = NAMES[wanted.metric]
    best = best_prior(panel.rows, wanted.metric, higher_is_better=True)
    value = best.mean(wanted.metric) if best else None
    reference = Reference(f"best prior: {prior_name(best.model)}", value) if best and value is not None else None
    drawing: Callable[[Theme], Canvas]
    if wanted.over_shots:
        lines = shot_lines(panel, wanted.metric)
        drawing = partial(draw_shots, lines, axis=name, reference=reference)
    else:
        bars = [_bar(row, wanted.metric) for row in panel.plain_rows if row.mean(wanted.metric) is not None]
        axis = f"{name}, with 95 % interval over users; bars begin at chance"
        drawing = partial(draw_bars, bars, axis=axis, start=0.5, reference=reference, width=7.6)
    told = [f"{_label(row)} {fixed(row.mean(wanted.metric), 4)}" for row in panel.plain_rows]
    return standalone(render(drawing, wanted.file).inline, f"{wanted.title}: {name}", "; ".join(told))


def shot_lines(panel: Panel, metric: str) -> tuple[Series, ...]:
    """Tuned models over K, the paper's beside them; models without K and the like-rate are levels."""
    rows = [row for row in panel.plain_rows if row.kind == "tuned" or row.model == "prior:like-rate"]
    lines = [Series(_label(row), (), row.mean(metric)) for row in rows if row.shots is None]
    tuned = sorted((row for row in rows if row.shots is not None), key=lambda row: row.shots or 0)
    points = tuple((row.shots or 0, row.mean(metric) or 0.0, row.metrics[metric].ci) for row in tuned)
    return (Series(f"{tuned[0].model}, {tuned[0].backbone}", points), *lines, PAPER)


def _label(row: Row) -> str:
    if row.kind in BESIDE:
        return row.model
    return row.title


def _bar(row: Row, metric: str) -> Bar:
    tone = "muted" if row.kind in BESIDE else "accent"
    return Bar(_label(row), row.mean(metric), row.metrics[metric].ci, tone)


def standalone(svg: str, title: str, description: str) -> str:
    """The report's markup of a figure as a file of its own, light or dark as the reader's system."""
    box = re.search(r'viewBox="([^"]*)"', svg)
    width, height = (box[1] if box else "0 0 0 0").split()[2:]
    colours = f"svg {{ {css_variables(LIGHT)} background: var(--paper) }}"
    dark = f"@media (prefers-color-scheme: dark) {{ svg {{ {css_variables(DARK)} }} }}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{float(width) * 1.25:.0f}" '
        f'height="{float(height) * 1.25:.0f}" role="img" aria-labelledby="title desc">\n'
        f'<title id="title">{html.escape(title)}</title>\n<desc id="desc">{html.escape(description)}</desc>\n'
        f"<style>\n{colours}\n{dark}\ntext {{ font-family: system-ui, sans-serif }}\n</style>\n"
    )
    return head + svg[svg.index(">") + 1 :].rstrip() + "\n"


def write(runs: Sequence[Path], folder: Path) -> list[Path]:
    """Draw what these runs have the panels of; returns the files.

    Raises:
        ArtifactError: A directory has no results.
    """
    results = [Results.read(run) for run in runs]
    panels = {(result.name, panel.name): panel for result in results for panel in result.panels}
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for wanted in FIGURES:
        panel = panels.get((wanted.experiment, wanted.panel))
        if panel is not None:
            written.append(folder / f"{wanted.file}.svg")
            written[-1].write_text(draw(wanted, panel), encoding="utf-8")
    return written


def main() -> None:
    """Draw and name the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="directories of runs, with results.json")
    parser.add_argument("--output", type=Path, default=IMAGES)
    options = parser.parse_args()
    for file in write(options.runs, options.output):
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main()
