"""Checkpoints: what the loop needs to go on exactly where it stopped.

A checkpoint is an artefact (kind ``checkpoint``) with ``state.json`` and a safetensors file for each of the tensors of
`LoopState`. It names what it belongs to (stage configuration, data, parent): one that belongs to something else is
refused with the difference. The newest one that is whole is used; a damaged one is reported and passed over.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from recalign.artifacts import Manifest, read_manifest, write_directory
from recalign.errors import ArtifactError

logger = logging.getLogger(__name__)

KIND = "checkpoint"
KEPT = 2  # the newest and the one before it, to fall back on
REQUIRED = ("weights", "optimizer", "rng")
OPTIONAL = ("ema", "best")

LogEntry = dict[str, float]  # {"step", "loss", "lr"} or {"step", "validation"}


@dataclass
class LoopFacts:
    """What the loop remembers beside tensors; written as JSON.

    Attributes:
        best_value, best_step: The best validation so far and its step.
        stale: Validations since then without a gain.
        log: Losses, learning rates and validations so far.
    """

    best_value: float | None = None
    best_step: int = 0
    stale: int = 0
    log: list[LogEntry] = field(default_factory=list)


@dataclass
class LoopState:
    """Everything that changes while the loop runs.

    Attributes:
        step: Optimizer steps done.
        weights, optimizer: Trained tensors by parameter name; optimizer tensors by ``<parameter>/<slot>``.
        rng: States of torch's generators by device name (uint8).
        ema: Averaged weights, where averaging is on.
        best: Weights of the best validation so far, where the stage selects.
        facts: What else the loop remembers.
        processes: How many processes tuned together.
    """

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    rng: dict[str, Tensor]
    ema: dict[str, Tensor] | None = None
    best: dict[str, Tensor] | None = None
    facts: LoopFacts = field(default_factory=LoopFacts)
    processes: int = 1


class CheckpointStore:
    """The checkpoints of one training in its working directory.

    `identity` is all that the training is a function of. With `keep_last` its last step has a checkpoint, too: where
    other trainings come before the model is written, a finished one is not done again.
    """

    def __init__(self, directory: Path, identity: Mapping[str, object], *, keep_last: bool = False) -> None:
        self.directory, self.keep_last = directory, keep_last
        self.identity: object = json.loads(json.dumps(identity))

    def due(self, step: int, steps: int, every: int) -> bool:
        """Whether a checkpoint is written after `step` of `steps`, in steps of `every`."""
        return self.keep_last if step == steps else step % every == 0

    def save(self, state: LoopState) -> None:
        """Write a checkpoint for `state.step` and drop all but the newest `KEPT`. Raises ArtifactError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target = self.directory / f"step-{state.step:08d}"
        config = {"identity": self.identity, "step": state.step}
        with write_directory(target, KIND, config=config, overwrite=True) as staging:
            for name in (*REQUIRED, *OPTIONAL):
                tensors: Mapping[str, Tensor] | None = getattr(state, name)
                if tensors is not None:
                    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                    save_file(plain, staging / f"{name}.safetensors")
            content = {"step": state.step, "progress": asdict(state.facts)}
            if state.processes > 1:
                content["processes"] = state.processes
            (staging / "state.json").write_text(json.dumps(content), encoding="utf-8")
        for old in self._directories()[:-KEPT]:
            shutil.rmtree(old)

    def load_latest(self) -> LoopState | None:
        """The newest whole checkpoint, or None where there is none.

        Raises:
            ArtifactError: It belongs to another configuration, data set or parent; or none of several is whole.
        """
        directories = self._directories()
        for directory in reversed(directories):
            try:
                manifest = read_manifest(directory, kind=KIND)
            except ArtifactError as error:
                logger.warning("passing over a damaged checkpoint: %s", error)
                continue
            self._check_identity(directory, manifest)
            return _load(directory, manifest)
        if directories:
            raise ArtifactError(
                f"checkpoints in {self.directory}",
                found=f"{len(directories)}, none of them whole",
                expected="at least one whole checkpoint",
                hint="Start the stage again with --restart",
            )
        return None

    def clear(self) -> None:
        """Remove the working directory."""
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def _directories(self) -> list[Path]:
        return sorted(self.directory.glob("step-????????"))

    def _check_identity(self, directory: Path, manifest: Manifest) -> None:
        theirs = manifest.config.get("identity", manifest.config.get("owner"))  # its name before stages had kinds
        if theirs != self.identity:
            changes = "; ".join(_differences(theirs, self.identity))
            raise ArtifactError(
                f"checkpoint {directory.name} in {directory.parent}",
                found=f"another run's state ({changes})",
                expected="the configuration, data and parent it was written with",
                hint="Put the old settings back, or start the stage again with --restart",
            )


def _load(directory: Path, manifest: Manifest) -> LoopState:
    files = [*(f"{name}.safetensors" for name in REQUIRED), "state.json"]
    missing = [name for name in files if name not in manifest.files]
    if missing:
        raise ArtifactError(
            f"checkpoint {directory}",
            found=f"no {', '.join(missing)}",
            expected="weights, optimizer, random-generator and loop state together",
            hint="Start the stage again with --restart",
        )
    content = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    tensors = {
        name: load_file(directory / f"{name}.safetensors")
        for name in (*REQUIRED, *OPTIONAL)
        if f"{name}.safetensors" in manifest.files
    }
    facts, processes = LoopFacts(**content["progress"]), content.get("processes", 1)
    return LoopState(step=content["step"], **tensors, facts=facts, processes=processes)


def _differences(old: object, new: object, path: str = "") -> list[str]:
    """Paths at which two JSON trees differ, as ``path: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted({*old, *new})
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old} -> {new}"]


def rng_state() -> dict[str, Tensor]:
    """State of torch's generators: the CPU's and, where CUDA is in use, each device's."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{index}"] = state
    return states


def restore_rng(states: Mapping[str, Tensor]) -> None:
    """Put torch's generators back into `states`."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([states[f"cuda:{index}"] for index in range(torch.cuda.device_count())])
