"""The trainings of a stage: one; several whose weights are averaged; or those of folds and one on all samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from recalign.prompting.asking import DomainPrompts
from recalign.tuning.checkpoint import CheckpointStore
from recalign.tuning.config import RecStage
from recalign.tuning.folds import train_by_folds
from recalign.tuning.loop import LoopResult, Validation, train
from recalign.tuning.merging import Progress, draw_seed, train_merged
from recalign.tuning.provenance import StageInputs
from recalign.tuning.selection import validation
from recalign.tuning.sources import BatchSource
from recalign.tuning.stage_data import shots_of_each, stage_source
from recalign.tuning.world import World


@dataclass(frozen=True, slots=True)
class Trainings:
    """Everything that the trainings of one stage share.

    Attributes:
        inputs, model: The stage, and what it tunes in place.
        domains, target: Prompts of each training data set, and of the validation data set where there is one.
        identity: What checkpoints belong to, see `CheckpointStore`.
        working: Directory of the checkpoints; a training among several has a folder in it.
        world: The processes that tune together.
    """

    inputs: StageInputs
    model: nn.Module
    domains: Sequence[DomainPrompts]
    target: DomainPrompts | None
    identity: Mapping[str, object]
    working: Path
    world: World

    def run(self, progress: Progress | None) -> LoopResult:
        """Tune the model as the stage says. Raises what `train` does, and `train_by_folds`."""
        config = self.inputs.config
        if isinstance(config, RecStage) and config.selection == "k-fold":
            return train_by_folds(self.model, shots_of_each(self.inputs, self.domains), config, self.train, progress)
        return train_merged(self.model, config.merge, self._member, progress)

    def train(
        self,
        name: str,
        source: BatchSource,
        progress: Progress | None,
        *,
        seed: int | None = None,
        validation: Validation | None = None,
        until: int | None = None,
    ) -> LoopResult:
        """One training, from the weights that the model has now. `name` tells it from the others; "" if it is alone."""
        config = self.inputs.config
        drawn = config if seed is None else config.model_copy(update={"seed": seed})
        return train(
            self.model,
            source,
            drawn,
            steps=config.max_steps or max(1, round(config.epochs * source.steps_per_epoch)),
            until=until,
            max_length=config.max_length,
            validation=validation,
            store=CheckpointStore(self.working / name, self.identity, keep_last=bool(name)),
            progress=progress,
            world=self.world,
        )

    def _member(self, number: int, progress: Progress | None) -> LoopResult:
        config = self.inputs.config
        seed = draw_seed(config.seed, number)
        name = f"training-{number}" if config.merge > 1 else ""
        selected = validation(self.inputs, self.domains, self.target, self.model)
        return self.train(name, stage_source(self.inputs, self.domains, seed), progress, seed=seed, validation=selected)
