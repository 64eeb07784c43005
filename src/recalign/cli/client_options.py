"""Options of all commands that ask a language model. Any other setting of theirs is given by ``--set``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

_MODEL: Final = "Language model (--teacher)"
_BUDGET: Final = "Budget"


def _option(text: str, panel: str | None = None) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False)


Teacher = Annotated[
    str | None,
    _option(
        "Who answers: openai:MODEL (any OpenAI-compatible endpoint). recalign teach also takes hf:PATH_OR_ID and "
        "heuristic (its default: no network, no cost).",
        _MODEL,
    ),
]
BaseUrl = Annotated[str | None, _option("Address of the endpoint.", _MODEL)]
KeyEnv = Annotated[str | None, _option("Environment variable that holds the API key (OPENAI_API_KEY).", _MODEL)]
LedgerFile = Annotated[
    Path | None, _option("Where paid answers are kept. Default: beside --output, as OUTPUT.ledger.sqlite.", _MODEL)
]
Limit = Annotated[int | None, _option("Most samples that are asked about, drawn by --seed. Default: all.", _MODEL)]
TotalTokens = Annotated[int | None, _option("Most tokens spent, of prompts and answers.", _BUDGET)]
MaxCost = Annotated[float | None, _option("Most money spent; needs both prices.", _BUDGET)]
PriceIn = Annotated[float | None, _option("Price of a million prompt tokens.", _BUDGET)]
PriceOut = Annotated[float | None, _option("Price of a million answer tokens.", _BUDGET)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting, e.g. temperature=0, max_tokens=32 or concurrency=4; repeat.",
        show_default=False,
    ),
]


def given(**options: object) -> dict[str, object]:
    """The options that were given, as settings of a configuration."""
    return {name: value for name, value in options.items() if value is not None}
