"""`recalign evaluate in-context`: options of a language model, mostly untuned, that is shown answered samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from recalign.artifacts import read_manifest
from recalign.cli.client_options import option
from recalign.errors import ConfigError
from recalign.experiment.progress import Reporter, of_steps

if TYPE_CHECKING:
    from recalign.baselines.config import InContextConfig
    from recalign.data.samples import SampleSet
    from recalign.evaluation.document import Panel
    from recalign.models.config import BackboneConfig, Precision
    from recalign.scoring.base import Scorer
    from recalign.settings import Settings

NAME: Final = "in-context"
_OPTIONS: Final = f"options of recalign evaluate {NAME}"
_PANEL: Final = "In-context learning"

Backbone = Annotated[
    str | None,
    option(
        "'nano', 'smollm2', a local checkpoint directory, a hub id, or a tuned model, which is asked with its own "
        "template and facts; or pass --teacher.",
        _PANEL,
    ),
]
Demonstrations = Annotated[
    int | None,
    option("Answered train samples before each question, drawn by --seed (0: zero-shot).", _PANEL, metavar="N", min=0),
]
Template = Annotated[str | None, option("Prompt template; default: the one the data names.", _PANEL)]
NoLogprobs = Annotated[
    bool | None,
    option(
        "With --teacher: do not ask for the labels' probabilities, score by the answers. Default: ask, and score by "
        "them where all answers have them.",
        _PANEL,
        "--no-logprobs",
    ),
]


@dataclass(frozen=True)
class InContext:
    """What was asked for: a backbone, a `tuned` model or an endpoint (`teacher` with `ledger`), and how it is shown
    samples."""

    demonstrations: int
    template: str
    seed: int
    backbone: BackboneConfig | None = None
    tuned: Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    teacher: InContextConfig | None = None
    ledger: Path | None = None
    logprobs: bool = True
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def name(self) -> str:
        """Name in tables."""
        local = self.backbone.name if self.backbone else self.tuned or ""
        model = self.teacher.teacher if self.teacher else Path(local).name
        return f"{NAME} {model} {self.demonstrations}-shot"

    def scorer(self, data: SampleSet, kind: Literal["log-odds", "paper"]) -> Scorer:
        """The model as a scorer of the data's items; nano is built (or found) first, as `recalign tune` does.

        The `reporter` is told how far that is.
        """
        if self.tuned is not None:
            from recalign.evaluation.in_context import load_demonstrated

            return load_demonstrated(
                self.tuned,
                data,
                self.demonstrations,
                self.seed,
                name=self.name,
                kind=kind,
                precision=self.precision,
                device=self.device,
            )
        from recalign.baselines.in_context import load_in_context
        from recalign.models.config import NanoConfig
        from recalign.tuning.backbones import NANO, resolve_backbone

        assert self.backbone is not None
        built = self.backbone.name == NANO
        chosen = {} if self.device == "auto" else {"device": self.device}
        backbone = self.backbone.model_copy(update=chosen)
        progress = of_steps(self.reporter.task("pretraining nano")) if built else None
        resolved = resolve_backbone(backbone, NanoConfig(), [data], progress=progress)
        return load_in_context(
            resolved,
            data,
            self.demonstrations,
            self.seed,
            template=self.template,
            name=self.name,
            kind=kind,
            precision=self.precision,
        )

    def ask(self, data: SampleSet, split: str, fit: SampleSet | None, output: Path | None, resamples: int) -> Panel:
        """Ask the endpoint; the priors, which may learn from `fit`, are measured on the samples that it answers."""
        from recalign.cli.progress import TerminalReporter
        from recalign.evaluation.in_context import evaluate_endpoint

        assert self.teacher is not None
        assert self.ledger is not None
        with TerminalReporter() as reporter:
            return evaluate_endpoint(
                data,
                split,
                self.teacher,
                self.ledger,
                demonstrations=self.demonstrations,
                template=self.template,
                name=self.name,
                seed=self.seed,
                fit=fit,
                output=output,
                resamples=resamples,
                logprobs=self.logprobs,
                announce=reporter.note,
                progress=reporter.task(self.name, "samples"),
            )


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
    shown, template = given.pop("demonstrations", 0), given.pop("template", "")
    settings = given.pop("settings", [])
    if shown and split == "train":
        hint = "They would show answers to it."
        raise ConfigError("--split train", found="demonstrations from that split", hint=hint)
    if "backbone" in given:
        if (tuned := _tuned(given["backbone"])) is None:
            return InContext(shown, template, seed, backbone=_backbone(given, settings))
        if template or settings:
            found = f"{tuned}, a tuned model"
            raise ConfigError("--template" if template else "--set", found=found, hint="It brings its own.")
        return InContext(shown, "", seed, tuned=tuned)
    if len(models) > 1 or candidates is not None or score != "log-odds":
        found = "other models" if len(models) > 1 else "--candidates" if candidates is not None else f"--score {score}"
        hint = "Evaluate it alone: its table is about the samples that it answers, by yes or no."
        raise ConfigError(f"model {NAME} with --teacher", found=found, hint=hint)
    from recalign.baselines.config import InContextConfig
    from recalign.settings import parse_settings, validated

    logprobs, ledger = not given.pop("no_logprobs", False), given.pop("ledger", None)
    asked = validated(InContextConfig, parse_settings(settings, into=given), _OPTIONS)
    return InContext(shown, template, seed, teacher=asked, ledger=_ledger(ledger, output), logprobs=logprobs)


def _flag(name: str) -> str:
    return f"--{'set' if name == 'settings' else name.replace('_', '-')}"


def _tuned(backbone: str) -> Path | None:
    """The directory of the tuned model that was named as a backbone; None where it is a backbone."""
    from recalign.tuning.model_artifact import KIND, model_directory

    directory = Path(backbone)
    if not directory.is_dir():
        return None
    directory = model_directory(directory)
    stored = (directory / "manifest.json").exists()
    return directory if stored and read_manifest(directory, verify=False).kind == KIND else None


def _backbone(given: Settings, settings: list[str]) -> BackboneConfig:
    from recalign.models.config import BackboneConfig
    from recalign.settings import parse_settings, validated

    name = given.pop("backbone")
    if given:
        found = "--backbone, which costs nothing"
        raise ConfigError(_flag(next(iter(given))), found=found, hint="It is for --teacher.")
    return validated(BackboneConfig, parse_settings(settings, into={"name": name}), _OPTIONS)


def _ledger(ledger: Path | None, output: Path | None) -> Path:
    from recalign.llm.ledger import ledger_path

    if ledger is not None:
        return ledger
    if output is not None:
        return ledger_path(output)
    hint = "Pass --output FILE (they are kept beside it) or --ledger FILE."
    raise ConfigError(f"model {NAME} with --teacher", found="no place for its answers", hint=hint)
