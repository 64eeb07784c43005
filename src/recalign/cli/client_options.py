"""Options that several commands have. Any other setting of those that ask an endpoint is given by ``--set``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

_MODEL: Final = "Language model (--teacher)"
_BUDGET: Final = "Budget"


def option(text: str, panel: str | None = None, *names: str, **options: Any) -> Any:
    """An option whose default is told in its text, where there is one."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **options)


Teacher = Annotated[
    str | None,
    option(
        "Who answers: openai:MODEL (any OpenAI-compatible endpoint). recalign teach also takes hf:PATH_OR_ID and "
        "heuristic (its default: no network, no cost).",
        _MODEL,
    ),
]
BaseUrl = Annotated[str | None, option("Address of the endpoint.", _MODEL)]
KeyEnv = Annotated[str | None, option("Environment variable that holds the API key (OPENAI_API_KEY).", _MODEL)]
LedgerFile = Annotated[
    Path | None, option("Where paid answers are kept. Default: beside --output, as OUTPUT.ledger.sqlite.", _MODEL)
]
Limit = Annotated[int | None, option("Most samples that are asked about, drawn by --seed. Default: all.", _MODEL)]
TotalTokens = Annotated[int | None, option("Most tokens spent, of prompts and answers.", _BUDGET)]
MaxCost = Annotated[float | None, option("Most money spent; needs both prices.", _BUDGET)]
PriceIn = Annotated[float | None, option("Price of a million prompt tokens.", _BUDGET)]
PriceOut = Annotated[float | None, option("Price of a million answer tokens.", _BUDGET)]
Device = Annotated[str, option("auto (a GPU where there is one), cpu or cuda. Default: auto.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    option(
        "Arithmetic of language models: auto (the type they are loaded in: fp32 on a CPU), fp32, bf16, or int8 (on a "
        "CPU; linear layers in eight-bit integers, see the documentation, page performance). Default: auto.",
        metavar="NAME",
    ),
]
Endpoint = Annotated[
    str | None,
    option(
        "Ask the model where it is served instead of loading it: vllm:ADDRESS or sglang:ADDRESS, with an "
        "address such as http://127.0.0.1:8000; #NAME after it where the server has several models (see the "
        "documentation, page remote)."
    ),
]
Tracker = Annotated[
    Literal["wandb", "trackio", "tensorboard", "mlflow"] | None,
    option(
        "Show the logs of trainings there, too: wandb, trackio, tensorboard or mlflow (see the documentation, page "
        "trackers).",
        metavar="NAME",
    ),
]
Settings = Annotated[
    list[str] | None,
    option(
        "Any other setting, e.g. temperature=0, max_tokens=32 or concurrency=4; repeat.",
        None,
        "--set",
        metavar="NAME=VALUE",
    ),
]
