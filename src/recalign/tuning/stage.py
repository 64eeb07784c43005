"""One stage of tuning, a pure function from artefacts to an artefact: samples, parent and configuration in, model out.

Tuning in several stages is a chain of `tune_stage` (TALLRec §2.2: instruction tuning, then rec-tuning; TLRec §4), each
from the model of the one before. So is a curriculum with a tuning stage per chain-of-thought step (`tune_curriculum`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from torch import nn

from recalign.artifacts import Manifest, differences, locked, read_manifest, storage_errors, write_directory
from recalign.artifacts import find_finished as find_artifact
from recalign.data.knowledge import TitleKnowledge
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError
from recalign.models.adapter import attach, save_adapter
from recalign.models.backbone import Backbone, load_backbone
from recalign.models.hf_checkpoint import inspect_checkpoint, locate
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.cuts import warn_of_cuts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.tuning.config import CotStage, RecStage, StageConfig
from recalign.tuning.curriculum import substages
from recalign.tuning.learned_titles import count_shots, count_titles
from recalign.tuning.loop import LoopResult
from recalign.tuning.merging import Progress
from recalign.tuning.model_artifact import KIND, KNOWLEDGE_FILE, load_knowledge
from recalign.tuning.provenance import (
    StageIdentity,
    StageInputs,
    check_data,
    check_unseen,
    is_outdated,
    labels_seen,
    stage_identity,
)
from recalign.tuning.stage_data import chosen_shots, training_rows
from recalign.tuning.trainings import Trainings
from recalign.tuning.world import World


def tune_curriculum(
    name: str,
    inputs: StageInputs,
    models: Path,
    *,
    restart: bool = False,
    note: Callable[[str], None] = lambda text: None,
    progress_for: Callable[[str], Progress | None] = lambda stage: None,
) -> Path:
    """Tune a stage of any kind; a staged curriculum is a chain of stages, ``NAME-stage1-only`` and so on before NAME.

    Args:
        name: Name of the last stage's model; its directory is returned.
        inputs, restart: See `tune_stage`, which also says what is raised.
        models: Folder of models.
        note: Told, in one line, which stages are found finished.
        progress_for: The progress callback of the stage of that name.
    """
    config = inputs.config
    stages: dict[str, StageConfig] = {name: config}
    if isinstance(config, CotStage):
        *before, last = [config.model_copy(update={"curriculum": step}) for step in substages(config.curriculum)]
        stages = {**{f"{name}-{step.curriculum}": step for step in before}, name: last}
    for stage, config in stages.items():
        inputs, target = replace(inputs, config=config), models / stage
        if not restart and find_finished(inputs, target):
            note(f"stage {stage}: already tuned")
        tune_stage(inputs, target, restart=restart, progress=progress_for(stage))
        inputs = replace(inputs, parent=target)
    return target


def tune_stage(
    inputs: StageInputs,
    output: Path,
    *,
    restart: bool = False,
    progress: Progress | None = None,
    world: World = World(),
) -> Path:
    """Tune one stage and write its model artefact to `output`.

    Called again with the same inputs, an interrupted stage continues from its newest checkpoint and a finished one is
    left as it is. What other inputs have left in `output` is refused before anything is trained. With ``restart=True``
    whatever is there is discarded. The processes of a `world` all call it; the first one writes.

    Raises:
        ArtifactError: Another process is tuning `output`.
        ConfigError: The inputs contradict each other, or a zero-shot promise.
        DataError: There is nothing to train on.
        ProcessError: Another process was lost or failed, or has other inputs.
        ModelError, ArtifactError: See `attach`, `train` and `write_directory`.
    """
    config = inputs.config
    if inputs.parent is not None:
        read_manifest(inputs.parent, kind=KIND)  # a damaged parent is refused before anything is loaded from it
    check_data(config, inputs.data)
    labels = labels_seen(inputs)
    check_unseen(inputs, labels)
    working = output.parent / f".{output.name}.checkpoints"
    ((finished,), *_) = world.gather(not restart and _is_finished(inputs, output))
    if finished:
        world.first(lambda: _clear(working))  # left by a crash just after it was published
        return output
    backbone = load_backbone(world.loading(inputs.backbone))
    parent = inputs.parent / "adapter" if inputs.parent else None
    model = attach(backbone, config.mode, config.lora, parent, seed=config.seed)
    world.divide(model, inputs.backbone.device)
    knowledge = _knowledge(inputs)
    domains = [_domain_prompts(data, backbone, config, knowledge) for data in inputs.data]
    validated = inputs.validation
    target = None if validated is None else _domain_prompts(validated, backbone, config, knowledge)
    identity = stage_identity(inputs, backbone.fingerprint, labels)
    world.check_same("inputs of the stage", [identity.config, identity.parents])
    owner = {**identity.config, "parents": identity.parents}
    with ExitStack() as held:
        world.first(lambda: _claim(working, output, held))
        if restart:
            world.first(lambda: _clear(working))
        result = Trainings(inputs, model, domains, target, owner, working, world).run(progress)
        world.collect(model)
        world.first(lambda: _write(inputs, output, model, knowledge, identity, result, restart))
        world.first(lambda: _clear(working))
    return output


def _claim(working: Path, output: Path, held: ExitStack) -> None:
    """Hold the checkpoints of `output`, so that two trainings do not write them in turn."""
    refusal = ArtifactError(
        f"{output} is being tuned",
        found="another process at work on it",
        expected="one at a time",
        hint="Wait for it, or choose another --output.",
    )
    with storage_errors(working):
        working.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(working, wait=0.0, refusal=refusal))


def _clear(working: Path) -> None:
    if working.exists():
        shutil.rmtree(working)


def find_finished(inputs: StageInputs, output: Path) -> Manifest | None:
    """The manifest of `output` where it holds exactly what `tune_stage` would write, else None."""
    if not _occupied(output):
        return None
    manifest, identity = read_manifest(output, kind=KIND), _identity(inputs)
    changes = differences(manifest, KIND, config=identity.config, parents=identity.parents)
    return None if changes else manifest


def _is_finished(inputs: StageInputs, output: Path) -> bool:
    """Whether `output` is what these inputs make. Raises ArtifactError where it is something else."""
    if not _occupied(output):
        return False
    if is_outdated(read_manifest(output, kind=KIND, verify=False)):
        hint = "Choose another output, or pass --restart to replace it."
        raise ArtifactError(f"{output} exists already", found="a model of an earlier version of recalign", hint=hint)
    identity = _identity(inputs)
    return bool(find_artifact(output, KIND, config=identity.config, parents=identity.parents, option="--restart"))


def _identity(inputs: StageInputs) -> StageIdentity:
    directory, _ = locate(inputs.backbone.name, inputs.backbone.revision)
    backbone = inspect_checkpoint(directory, inputs.backbone.name).fingerprint()
    return stage_identity(inputs, backbone, labels_seen(inputs))


def _occupied(output: Path) -> bool:
    """Whether something is there. An empty directory counts as nothing."""
    return output.exists() and not (output.is_dir() and not any(output.iterdir()))


def _knowledge(inputs: StageInputs) -> TitleKnowledge | None:
    """What the model knows of titles: what its parent knew, or what all training events of this stage say.

    K samples add to what the parent knew; alone they are too few.
    """
    config = inputs.config
    known = None if inputs.parent is None else load_knowledge(inputs.parent)
    if not isinstance(config, RecStage) or not PromptTemplate.load(config.template).states_facts:
        return known
    if config.shots is None:
        return known or count_titles([(data, training_rows(config, data)) for data in inputs.data])
    if known is None:
        return None
    return known.with_counts(count_shots([(data, chosen_shots(config, data)) for data in inputs.data]))


def _domain_prompts(
    data: SampleSet, backbone: Backbone, config: StageConfig, knowledge: TitleKnowledge | None
) -> DomainPrompts:
    encoder = PromptEncoder(
        PromptTemplate.load(config.template),
        data.domain,
        backbone.tokenizer,
        max_length=min(config.max_length, backbone.max_positions),
        train_on_inputs=config.train_on_inputs,
    )
    warn_of_cuts(encoder.shown.cut(data.catalog.frame["text"]), encoder.max_length)
    return DomainPrompts.over(encoder, data.catalog, knowledge)


def _write(
    inputs: StageInputs,
    output: Path,
    model: nn.Module,
    knowledge: TitleKnowledge | None,
    identity: StageIdentity,
    result: LoopResult,
    overwrite: bool,
) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    name = inputs.backbone.name
    # A backbone directory is named relative to the artefact, so that both can move together; a hub id stays.
    location = os.path.relpath(name, output) if Path(name).is_dir() else name
    config = {**identity.config, "location": {"backbone": location}}
    info = {
        "seconds": round(result.seconds, 2),
        "kept_step": result.kept_step,
        "steps_done": result.steps_done,
        "test_reads": [],
    }
    with write_directory(
        output, KIND, config=config, parents=identity.parents, info=info, overwrite=overwrite
    ) as staging:
        save_adapter(model, staging / "adapter")
        template = PromptTemplate.load(inputs.config.template).to_toml()
        (staging / "template.toml").write_text(template, encoding="utf-8")
        inputs.data[-1].catalog.frame.write_parquet(staging / "items.parquet")
        if knowledge is not None:
            knowledge.write(staging / KNOWLEDGE_FILE)
        lines = "".join(json.dumps(entry) + "\n" for entry in result.log)
        (staging / "metrics.jsonl").write_text(lines, encoding="utf-8")
