"""Colours of the report, light and dark, in one place: the page's CSS and the figures both come from here.

The series are distinguishable with the common colour-vision deficiencies (blue, orange, teal, purple … after Okabe and
Ito, darkened or lightened until each has a contrast of 3:1 to its background); markers and labels say the same again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    """What a figure is drawn with.

    Attributes:
        colours: Colour by role, as ``#rrggbb``.
        background: Colour behind the figure, or ``none``.
    """

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
