"""`recalign evaluate in-context`: options of an untuned language model that is shown answered samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from recalign.errors import ConfigError

if TYPE_CHECKING:
    from recalign.baselines.priors import Prior
    from recalign.data.samples import SampleSet
    from recalign.experiment.in_context import EndpointEvaluation
    from recalign.models.config import BackboneConfig
    from recalign.scoring.base import Scorer
    from recalign.teacher.config import TeachConfig

NAME: Final = "in-context"
_OPTIONS: Final = f"options of recalign evaluate {NAME}"
_PANEL: Final = "In-context learning (model in-context)"
# What `--set` may name besides, for an endpoint; the rest of a teacher's settings is about chain-of-thought data.
_CALLS: Final = frozenset(
    ("temperature", "max_tokens", "length_parameter", "concurrency", "deadline", "attempts", "longest_wait", "failures")
)
_LOADING: Final = frozenset(("revision", "dtype", "quantization", "device", "attn_implementation"))
_EITHER: Final = frozenset(("demonstrations", "template", "settings"))
_PAID: Final = frozenset(
    ("base_url", "key_env", "ledger", "limit", "max_tokens_total", "max_cost", "price_in", "price_out", "no_logprobs")
)
# What `read` wants of the command's parameters.
OPTIONS: Final = _EITHER | _PAID | {"backbone", "teacher", "seed", "split", "candidates", "output", "score"}


def _option(text: str, **options: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=_PANEL, show_default=False, **options)


Backbone = Annotated[str | None, _option("'nano', a local checkpoint directory, or a hub id.")]
Demonstrations = Annotated[
    int | None, _option("Answered train samples before each question, drawn by --seed (0: zero-shot).", min=0)
]
Template = Annotated[str | None, _option("Prompt template; default: the one the data names.")]
Teacher = Annotated[str | None, _option("openai:MODEL, instead of --backbone: any OpenAI-compatible endpoint.")]
BaseUrl = Annotated[str | None, _option("Address of the endpoint.")]
KeyEnv = Annotated[str | None, _option("Environment variable that holds the API key (OPENAI_API_KEY).")]
Answers = Annotated[Path | None, _option("Where paid answers are kept. Default: beside --output.")]
Limit = Annotated[int | None, _option("Samples that the endpoint is asked about, drawn by --seed. Default: all.")]
NoLogprobs = Annotated[
    bool | None,
    typer.Option(
        "--no-logprobs",
        help="Do not ask for the labels' probabilities: score by the answers. Default: ask, and score by them where "
        "all answers have them.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
TotalTokens = Annotated[int | None, _option("Most tokens spent, of prompts and answers.")]
MaxCost = Annotated[float | None, _option("Most money spent; needs both prices.")]
PriceIn = Annotated[float | None, _option("Price of a million prompt tokens.")]
PriceOut = Annotated[float | None, _option("Price of a million answer tokens.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting of the backbone or endpoint, e.g. dtype=bfloat16 or max_tokens=32; repeat.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class InContext:
    """What was asked for: a backbone or an endpoint (`teacher` with `ledger`), and how it is shown samples."""

    demonstrations: int
    template: str
    seed: int
    backbone: BackboneConfig | None = None
    teacher: TeachConfig | None = None
    ledger: Path | None = None
    logprobs: bool = True

    @property
    def name(self) -> str:
        """Name in tables."""
        model = self.teacher.teacher if self.teacher else Path(self.backbone.name).name if self.backbone else ""
        return f"{NAME} {model} {self.demonstrations}-shot"

    def as_json(self) -> dict[str, Any]:
        """What belongs into a JSON answer."""
        model = self.teacher.teacher if self.teacher else self.backbone.name if self.backbone else ""
        return {"model": model, "demonstrations": self.demonstrations, "template": self.template or None}

    def scorer(self, data: SampleSet, kind: Literal["log-odds", "paper"]) -> Scorer:
        """The backbone as a scorer of the data's items; nano is built (or found) first, as `recalign tune` does."""
        from recalign.baselines.in_context import load_in_context
        from recalign.cli.progress import TerminalReporter
        from recalign.experiment.backbones import resolve_backbone
        from recalign.experiment.progress import of_steps
        from recalign.models.nano_config import NanoConfig

        assert self.backbone is not None
        with TerminalReporter() as reporter:
            progress = of_steps(reporter.task("pretraining nano"))
            resolved = resolve_backbone(self.backbone, NanoConfig(), [data], progress=progress)
        options: dict[str, Any] = {"template": self.template, "name": self.name, "kind": kind}
        return load_in_context(resolved, data, self.demonstrations, self.seed, **options)

    def ask(
        self, data: SampleSet, split: str, priors: tuple[Prior, ...], output: Path | None, resamples: int
    ) -> EndpointEvaluation:
        """Ask the endpoint; the priors are measured on the samples that it answers."""
        from recalign.cli.progress import TerminalReporter
        from recalign.experiment.in_context import evaluate_endpoint

        assert self.teacher is not None
        assert self.ledger is not None
        own: dict[str, Any] = {"demonstrations": self.demonstrations, "template": self.template, "name": self.name}
        own |= {"seed": self.seed, "output": output, "resamples": resamples, "logprobs": self.logprobs}
        with TerminalReporter() as reporter:
            show: dict[str, Any] = {"announce": reporter.note, "progress": reporter.task(self.name, "samples")}
            return evaluate_endpoint(data, split, self.teacher, self.ledger, priors, **own, **show)


def read(
    models: list[str],
    *,
    seed: int,
    split: str,
    candidates: Path | None,
    output: Path | None,
    score: str,
    **given: Any,
) -> InContext | None:
    """The options of in-context learning, checked before anything is loaded; None where it is not asked for.

    Raises:
        ConfigError: They do not go together, or are there without the model `in-context`.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if NAME not in models:
        if given:
            hint = f"Add it: recalign evaluate {NAME} ..."
            raise ConfigError(_flag(next(iter(given))), found=f"no model {NAME} to use it", hint=hint)
        return None
    if ("backbone" in given) == ("teacher" in given):
        found = "both --backbone and --teacher" if "backbone" in given else "neither --backbone nor --teacher"
        hint = "Pass --backbone NAME_OR_DIR for a local model, or --teacher openai:MODEL for an endpoint."
        raise ConfigError(f"model {NAME}", found=found, expected="one of them", hint=hint)
    shown = given.get("demonstrations", 0)
    if shown and split == "train":
        raise ConfigError(
            "--split train", found="demonstrations from that split", hint="They would show answers to it."
        )
    chosen: dict[str, Any] = {"demonstrations": shown, "template": given.get("template", ""), "seed": seed}
    if "backbone" in given:
        for name in _PAID & set(given):
            raise ConfigError(_flag(name), found="--backbone, which costs nothing", hint="It is for --teacher.")
        return InContext(**chosen, backbone=_backbone(given["backbone"], given.get("settings")))
    if len(models) > 1 or candidates is not None or score != "log-odds":
        found = "other models" if len(models) > 1 else "--candidates" if candidates is not None else f"--score {score}"
        hint = "Evaluate it alone: its table is about the samples that it answers, by yes or no."
        raise ConfigError(f"model {NAME} with --teacher", found=found, hint=hint)
    fields = {name: value for name, value in given.items() if name not in _EITHER | {"ledger", "no_logprobs"}}
    teacher = _teacher(fields, given.get("settings"))
    ledger = given.get("ledger") or (output and output.with_name(f"{output.name}.ledger.sqlite"))
    if ledger is None:
        raise ConfigError(
            f"model {NAME} with --teacher",
            found="no place for its answers",
            hint="Pass --output FILE (they are kept beside it) or --ledger FILE.",
        )
    return InContext(**chosen, teacher=teacher, ledger=ledger, logprobs=not given.get("no_logprobs", False))


def _flag(name: str) -> str:
    return f"--{'set' if name == 'settings' else name.replace('_', '-')}"


def _backbone(name: str, settings: list[str] | None) -> BackboneConfig:
    from recalign.models.config import BackboneConfig
    from recalign.settings import validated

    return validated(BackboneConfig, {"name": name, **_settings(settings, _LOADING)}, _OPTIONS)


def _teacher(fields: dict[str, Any], settings: list[str] | None) -> TeachConfig:
    from recalign.settings import validated
    from recalign.teacher.config import TeachConfig

    if not fields["teacher"].startswith("openai:"):
        hint = "A local model gives probabilities, too: pass it as --backbone."
        raise ConfigError(f"--teacher {fields['teacher']!r}", expected="openai:MODEL", hint=hint)
    # Not sampled: the answer to the question is wanted, not one of several.
    return validated(TeachConfig, {"temperature": 0.0, **fields, **_settings(settings, _CALLS)}, _OPTIONS)


def _settings(settings: list[str] | None, known: frozenset[str]) -> dict[str, str]:
    found = {}
    for setting in settings or []:
        name, sign, value = (part.strip() for part in setting.partition("="))
        if not sign or name not in known:
            raise ConfigError(
                "--set", found=repr(setting), expected=f"NAME=VALUE with one of {', '.join(sorted(known))}"
            )
        found[name] = value
    return found
