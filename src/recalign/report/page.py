"""The page: results and their rendered figures in, one HTML document out that needs nothing else.

Everything that a stranger may have written goes through autoescape and `printable`. The page forbids itself the network
by its own content security policy, which admits this file's script only, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Final

import jinja2
from markupsafe import Markup, escape

from recalign.evaluation import sentences, tables
from recalign.evaluation.formats import UNDEFINED, fixed
from recalign.evaluation.summary import summarise_panel
from recalign.experiment.results import Results
from recalign.metrics.ranking import random_ranker
from recalign.report.canvas import Drawing
from recalign.report.exports import panel_slugs
from recalign.report.figures import Plot
from recalign.report.missing import missing_table
from recalign.report.theme import DARK, LIGHT, css_variables
from recalign.terminal import printable

_PAPER_CANDIDATES: Final = 51  # over so many candidates TLRec says that it ranks
_CONTROL_CHARACTERS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


@dataclass(frozen=True)
class Shown:
    """A figure on the page: what it is, and its markup where there is something to draw."""

    plot: Plot
    markup: Markup | None


def page(results: Results, figures: list[tuple[Plot, Drawing | None]], folder: str) -> str:
    """Render the document.

    Args:
        results: What is shown.
        figures: Every figure of `recalign.report.figures.plots`, with its drawing where it has one.
        folder: Name of the folder beside the page that holds its files.
    """
    # The drawings' text was escaped by the SVG writer.
    shown = [Shown(plot, None if drawing is None else Markup(drawing.inline)) for plot, drawing in figures]
    script = _asset("theme.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    panels = [
        {
            "panel": panel,
            "id": name,
            "summary": summarise_panel(panel),
            "about": " ".join([sentences.about(panel), *sentences.counted(panel)]),
            "results": tables.results_table(panel),
            "controls": tables.controls_table(panel),
            "comparisons": tables.comparisons_table(panel),
            "ranking": tables.ranking_table(panel),
            "figures": [figure for figure in shown if figure.plot.panel == panel.name],
            "published": any(row.published for row in panel.rows),
        }
        for name, panel in zip(panel_slugs(results), results.panels, strict=True)
    ]
    return _environment().get_template("page.html.jinja").render(
        results=results,
        panels=panels,
        paper_figures=[figure for figure in shown if figure.plot.place == "paper"],
        training=[figure for figure in shown if figure.plot.place == "training"],
        missing=missing_table(results.missing),
        folder=folder,
        random_ndcg=fixed(random_ranker(_PAPER_CANDIDATES)["ndcg"], 3),
        finished=_moment(results.finished),
        script=Markup(script),
        script_hash=digest,
        style=Markup(_style()),
    )  # fmt: skip


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
    """The style sheet: the palettes of `recalign.report.theme`, then the rules."""
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
