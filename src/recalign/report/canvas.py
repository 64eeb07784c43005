"""The report's colours, and from a drawing to files: SVG and PNG with real colours, and an SVG with the page's colours.

The page's CSS and the figures take their colours from here. The series are distinguishable with the common
colour-vision deficiencies (blue, orange, teal, purple … after Okabe and Ito, darkened or lightened until each has a
contrast of 3:1 to its background); markers and labels say the same again.

Drawings are deterministic. They use matplotlib's object-oriented interface only: no pyplot, no global figure, no
display. This module knows no data.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, ScalarFormatter

LIGHT: Final = {
    "paper": "#ffffff",
    "raised": "#f6f7f9",
    "ink": "#1b2026",
    "muted": "#5c6670",
    "faint": "#dfe3e8",
    "accent": "#0b63a5",
    "good": "#00705a",
    "bad": "#a83f00",
    "series-1": "#0b63a5",
    "series-2": "#c25100",
    "series-3": "#00836a",
    "series-4": "#a3478f",
    "series-5": "#8a6d00",
    "series-6": "#2d8cc0",
    "series-7": "#5c6670",
    "series-8": "#7a3b1d",
}
DARK: Final = {
    "paper": "#14181d",
    "raised": "#1c2229",
    "ink": "#e6e9ed",
    "muted": "#9aa5b1",
    "faint": "#323a44",
    "accent": "#6bb5ee",
    "good": "#41c4a2",
    "bad": "#f0995c",
    "series-1": "#6bb5ee",
    "series-2": "#f0935a",
    "series-3": "#41c4a2",
    "series-4": "#dd92cb",
    "series-5": "#d8bb4a",
    "series-6": "#4a90c8",
    "series-7": "#9aa5b1",
    "series-8": "#c98a66",
}
N_SERIES: Final = sum(role.startswith("series-") for role in LIGHT)
# Colours that no figure uses otherwise: drawn for inline figures and then replaced by the page's variables.
_SENTINELS: Final = {role: f"#0101{number:02x}" for number, role in enumerate(LIGHT, start=1)}


@dataclass(frozen=True)
class Theme:
    """What a figure is drawn with: colours by role, as ``#rrggbb``, and that behind the figure, or ``none``."""

    colours: dict[str, str]
    background: str

    def __getitem__(self, role: str) -> str:
        """The colour of a role."""
        return self.colours[role]

    def series(self, number: int) -> str:
        """The colour of the series `number`, from 0; they repeat after `N_SERIES`."""
        return self.colours[f"series-{number % N_SERIES + 1}"]


SAVED: Final = Theme(LIGHT, LIGHT["paper"])
INLINE: Final = Theme(_SENTINELS, "none")


def with_variables(svg: str) -> str:
    """Replace the colours of `INLINE` by the page's CSS variables, so that the figure follows light and dark."""
    for role, sentinel in _SENTINELS.items():
        svg = svg.replace(sentinel, f"var(--{role})")
    return svg


def css_variables(colours: dict[str, str]) -> str:
    """The declarations of a palette: ``--ink: #1b2026; …``."""
    return " ".join(f"--{role}: {colour};" for role, colour in colours.items())


_STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # text stays text: searchable, selectable, in the page's font
    "text.parse_math": False,  # names come from strangers, and a dollar is a dollar
}
PAGE_INCHES: Final = 12.0  # width of a figure that fills the page
_DPI: Final = 160
_LEAST, _GREATEST = 0.8, 1.36  # CSS pixels per point of a figure
_METADATA_SVG: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Drawing:
    """A figure in its three forms: two files, and markup for the page."""

    svg: bytes
    png: bytes
    inline: str


def render(draw: Callable[[Theme], Canvas], name: str) -> Drawing:
    """Draw with real colours for the files and with the page's for the page.

    `name` is unique among the figures of a page; ids inside the markup begin with it.
    """
    with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": name}]), warnings.catch_warnings():
        # The page and any SVG viewer choose a font that has the letters of a title; only the PNG shows a box.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)
        saved = _settled(draw(SAVED))
        png = io.BytesIO()
        saved.savefig(png, format="png", metadata={"Software": None})
        svg = _svg(saved)
        return Drawing(svg.encode(), png.getvalue(), _inline(_svg(_settled(draw(INLINE))), name))


def canvas(theme: Theme, width: float, height: float) -> Canvas:
    """An empty figure of `width` by `height` inches whose parts arrange themselves."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Canvas(figsize=(width, height), dpi=_DPI, layout=layout, facecolor=theme.background)


def plain(axes: Axes, theme: Theme, *, grid: str = "y") -> None:
    """Restrained axes: no box, faint grid lines (``x``, ``y``, ``both``), few ticks."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme["muted"])
    axes.tick_params(colors=theme["muted"], labelcolor=theme["ink"], length=0, pad=4)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis=grid, color=theme["faint"], linewidth=0.8)  # type: ignore[arg-type]
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme["muted"])
    for direction in ("x", "y") if grid == "both" else (grid,):
        axis = axes.xaxis if direction == "x" else axes.yaxis
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        # As many digits as tell the ticks apart, and no offset above the axis.
        axis.set_major_formatter(ScalarFormatter(useOffset=False))


def _settled(figure: Canvas) -> Canvas:
    """Arrange the parts once and round where they stand: the solver's last digits differ from run to run."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = axes.get_position(original=True).bounds
        axes.set_position((round(left, 4), round(bottom, 4), round(width, 4), round(height, 4)))
    return figure


def _svg(figure: Canvas) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=_METADATA_SVG)
    return stream.getvalue()


def _inline(svg: str, name: str) -> str:
    """The `<svg>` element alone, without links out, metadata and document-wide style, its ids made unique by `name`."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>\s*", "", body, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', body)
    # One size of text on the whole page, and never too small to read: the figure scrolls in its box instead.
    width = float(box[1].split()[2]) if box else 0.0
    size = f"min-width: {_LEAST * width:.0f}px; max-width: {_GREATEST * width:.0f}px"
    opening = f'<svg viewBox="{box[1] if box else ""}" style="{size}" aria-hidden="true" focusable="false">'
    body = opening + body[body.index(">") + 1 :]

    def own(tag: re.Match[str]) -> str:
        text = with_variables(tag[0].replace("xlink:href=", "href="))
        text = re.sub(r'\sid="', f' id="{name}-', text)
        return text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")

    # Inside tags only: in what is written between them, which is escaped, such words are part of somebody's title.
    return re.sub(r"<[^>]+>", own, re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL))
