"""One stage of tuning, a pure function from artefacts to an artefact: samples, parent and configuration in, model out.

Tuning in several stages is a fold of `tune_stage` (TALLRec §2.2: instruction tuning, then rec-tuning; TLRec §4): each
stage starts from the model artefact of the one before it and writes its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from recalign.artifacts import Manifest, read_manifest, write_directory
from recalign.data.samples import SampleSet, to_samples
from recalign.data.shots import choose_shots
from recalign.errors import ArtifactError, DataError
from recalign.models.adapter import attach, save_adapter
from recalign.models.backbone import Backbone, load_backbone
from recalign.models.checkpoint import inspect, locate
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.tuning.checkpoint import CheckpointStore
from recalign.tuning.config import StageConfig
from recalign.tuning.curriculum import arrange, read_cot
from recalign.tuning.instructions import generate_instructions, read_instructions
from recalign.tuning.loop import LoopConfig, LoopResult, StepReport, train
from recalign.tuning.model_artifact import KIND
from recalign.tuning.provenance import StageInputs, check_data, check_unseen, labels_seen, owner_of
from recalign.tuning.selection import validation
from recalign.tuning.sources import (
    BlockSource,
    DomainPrompts,
    PromptSource,
    holdout_users,
    user_sequences,
)

__all__ = ["StageInputs", "is_done", "tune_stage"]

Progress = Callable[[StepReport], None]


def tune_stage(
    inputs: StageInputs,
    output: Path,
    *,
    restart: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Tune one stage and write its model artefact to `output`.

    Called again with the same inputs, an interrupted stage continues from its newest checkpoint and a finished one is
    left as it is. What other inputs have left in `output` is refused before anything is trained, or with
    ``restart=True`` discarded.

    Raises:
        ConfigError: The inputs contradict each other, or a zero-shot promise.
        DataError: There is nothing to train on.
        ModelError, ArtifactError: See `attach`, `train` and `write_directory`.
    """
    config = inputs.config
    if inputs.parent is not None:
        read_manifest(inputs.parent, kind=KIND)  # a damaged parent is refused before anything is loaded from it
    check_data(config, inputs.data)
    labels = labels_seen(inputs)
    check_unseen(inputs, labels)
    working = output.parent / f".{output.name}.checkpoints"
    if is_done(inputs, output):
        shutil.rmtree(working, ignore_errors=True)  # left by a crash just after the artefact was published
        return output
    if _occupied(output) and not restart:
        raise ArtifactError(
            f"model {output}",
            found="a model made from other inputs",
            expected="none, or the one that these inputs make",
            hint="Choose another --output, or discard it with --restart",
        )
    backbone = load_backbone(inputs.backbone)
    parent = inputs.parent / "adapter" if inputs.parent else None
    model = attach(backbone, config.mode, config.lora, parent, seed=config.seed)
    domains = [_domain_prompts(data, backbone, config) for data in inputs.data]
    source = _source(inputs, domains)
    target = _domain_prompts(inputs.validation, backbone, config) if inputs.validation is not None else None
    validate = validation(inputs, domains, target, model)
    owner = owner_of(inputs, backbone.fingerprint, labels)
    store = CheckpointStore(working, owner)
    if restart:
        store.clear()
    steps = config.max_steps or max(1, round(config.epochs * source.steps_per_epoch))
    loop = _loop_config(config, steps)
    result = train(model, source, loop, validate=validate, store=store, progress=progress)
    _write(inputs, output, model, owner, result, overwrite=restart)
    store.clear()
    return output


def _loop_config(config: StageConfig, steps: int) -> LoopConfig:
    return LoopConfig(
        steps=steps,
        max_length=config.max_length,
        seed=config.seed,
        optim=config.optim,
        micro_batch_tokens=config.micro_batch_tokens,
        precision=config.precision,
        lm_weight=config.lm_weight,
        lm_fraction=config.lm_fraction,
        eval_steps=config.eval_steps,
        patience=config.patience,
        checkpoint_steps=config.checkpoint_steps,
    )


def _domain_prompts(data: SampleSet, backbone: Backbone, config: StageConfig) -> DomainPrompts:
    encoder = PromptEncoder(
        PromptTemplate.load(config.template),
        data.domain,
        backbone.tokenizer,
        max_length=min(config.max_length, backbone.max_positions),
        train_on_inputs=config.train_on_inputs,
    )
    return DomainPrompts(encoder, data.catalog)


def _source(inputs: StageInputs, domains: Sequence[DomainPrompts]) -> PromptSource | BlockSource:
    config = inputs.config
    if config.kind == "instruction":
        prompts = [
            prompt
            for data, domain in zip(inputs.data, domains, strict=True)
            for prompt in _taught(config, data, domain)
        ]
        return PromptSource(prompts, config.batch_size, config.seed)
    if config.kind == "cot" and inputs.cot is not None:
        lessons, shuffled = arrange(read_cot(inputs.cot)[0], config.curriculum, config.difficulty)
        return PromptSource(
            domains[-1].encoder.encode_instructions(lessons), config.batch_size, config.seed, shuffle=shuffled
        )
    parts = [(domain, _training_rows(config, data)) for data, domain in zip(inputs.data, domains, strict=True)]
    if config.sampling.targets_per_history > 1:
        sequences = [(domain, user_sequences(rows)) for domain, rows in parts]
        return BlockSource(sequences, config.sampling, config.batch_size, config.seed, config.micro_batch_tokens)
    prompts = []
    for domain, rows in parts:
        samples = choose_shots(to_samples(rows), config.shots, config.seed)
        prompts += domain.encoder.encode_many(
            [domain.history(sample.history) for sample in samples],
            [domain.catalog.text(sample.item_id) for sample in samples],
            [sample.label for sample in samples],
        )
    return PromptSource(prompts, config.batch_size, config.seed)


def _taught(config: StageConfig, data: SampleSet, domain: DomainPrompts) -> list[Any]:
    if config.instruction_file:
        rows = read_instructions(Path(config.instruction_file))
    else:
        rows = generate_instructions(data.catalog, data.domain, n=config.instructions, seed=config.seed)
    return [domain.encoder.encode_instruction(row) for row in rows]


def _training_rows(config: StageConfig, data: SampleSet) -> pl.DataFrame:
    """Rows of the train split, without the users that selection "source" holds out."""
    rows = data.frame("train")
    if config.selection == "source":
        held_out = holdout_users(rows["user_id"].unique().to_list(), config.holdout, config.seed)
        rows = rows.filter(~pl.col("user_id").is_in(list(held_out)))
    if rows.is_empty():
        raise DataError(f"train split of {data.path}", found="no samples", expected="at least one")
    return rows


def is_done(inputs: StageInputs, output: Path) -> Manifest | None:
    """The manifest of `output` where it holds exactly what `tune_stage` would write, else None."""
    if not _occupied(output):
        return None
    manifest = read_manifest(output, kind=KIND)
    directory, _ = locate(inputs.backbone.name, inputs.backbone.revision)
    backbone = inspect(directory, inputs.backbone.name).fingerprint()
    owner = owner_of(inputs, backbone, labels_seen(inputs))
    same = all(manifest.config.get(key) == json.loads(json.dumps(owner))[key] for key in owner if key != "parents")
    return manifest if same and manifest.parents == owner["parents"] else None


def _occupied(output: Path) -> bool:
    """Whether something is there; an empty directory is as good as none."""
    return output.exists() and not (output.is_dir() and not any(output.iterdir()))


def _write(
    inputs: StageInputs,
    output: Path,
    model: nn.Module,
    owner: dict[str, Any],
    result: LoopResult,
    *,
    overwrite: bool,
) -> None:
    """Publish the model artefact: adapter, template, catalogue, log, manifest."""
    output.parent.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in owner.items() if key != "parents"}
    config["location"] = {"backbone": _relative(inputs.backbone.name, output)}
    info = {
        "seconds": round(result.seconds, 2),
        "kept_step": result.kept_step,
        "steps_done": result.steps_done,
        "test_reads": [],
    }
    with write_directory(
        output, KIND, config=config, parents=owner["parents"], info=info, overwrite=overwrite
    ) as stage:
        save_adapter(model, stage / "adapter")
        (stage / "template.toml").write_text(PromptTemplate.load(inputs.config.template).to_toml(), encoding="utf-8")
        inputs.data[-1].catalog.frame.write_parquet(stage / "items.parquet")
        lines = "".join(json.dumps(entry) + "\n" for entry in result.log)
        (stage / "metrics.jsonl").write_text(lines, encoding="utf-8")


def _relative(name: str, output: Path) -> str:
    """A backbone directory is named relative to the artefact, so that both can move together; a hub id stays."""
    return os.path.relpath(name, output) if Path(name).is_dir() else name
