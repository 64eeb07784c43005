"""The training data of a stage: samples, instructions or chain-of-thought rows become prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recalign.data.samples import Sample, SampleSet, choose_shots, to_samples
from recalign.errors import DataError
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import EncodedPrompt
from recalign.tuning.config import CotStage, InstructionStage, RecStage
from recalign.tuning.curriculum import arrange, read_cot
from recalign.tuning.folds import Shots
from recalign.tuning.instructions import generate_instructions, read_instructions
from recalign.tuning.provenance import StageInputs, taught_data
from recalign.tuning.sources import BlockSource, PromptSource, holdout_users, user_sequences


def stage_source(inputs: StageInputs, domains: Sequence[DomainPrompts], seed: int) -> PromptSource | BlockSource:
    """The training data: what each kind of stage makes prompts from, in an order that `seed` draws."""
    config = inputs.config
    pairs = list(zip(inputs.data, domains, strict=True))
    shuffle = True
    match config:
        case InstructionStage():
            prompts = [prompt for data, domain in pairs for prompt in _taught(config, data, domain)]
        case CotStage():
            rows, shuffle = arrange(read_cot(taught_data(inputs))[0], config.curriculum, config.difficulty)
            prompts = domains[-1].encoder.encode_instructions(rows)
        case RecStage() if config.sampling.targets_per_history > 1:
            sequences = [(domain, user_sequences(training_rows(config, data))) for data, domain in pairs]
            return BlockSource(sequences, config.sampling, config.batch_size, seed, config.micro_batch_tokens)
        case RecStage():
            prompts = [prompt for part in shots_of_each(inputs, domains) for prompt in part.prompts()]
    return PromptSource(prompts, config.batch_size, seed, shuffle=shuffle)


def _taught(config: InstructionStage, data: SampleSet, domain: DomainPrompts) -> list[EncodedPrompt]:
    if config.instruction_file:
        rows = read_instructions(Path(config.instruction_file))
    else:
        rows = generate_instructions(data.catalog, data.domain, n=config.instructions, seed=config.seed)
    return domain.encoder.encode_instructions(rows)


def shots_of_each(inputs: StageInputs, domains: Sequence[DomainPrompts]) -> list[Shots]:
    """The samples of each data set of a rec-tuning stage, its K or all, as they are asked about."""
    config, shots = inputs.config, []
    assert isinstance(config, RecStage)
    for data, domain in zip(inputs.data, domains, strict=True):
        shots.append(Shots(domain, chosen_shots(config, data, past=domain.finder is not None)))
    return shots


def chosen_shots(config: RecStage, data: SampleSet, *, past: bool = True) -> list[Sample]:
    """The samples of a K-shot stage, or all; with what is known from before their histories where that is wanted."""
    rows = training_rows(config, data)
    return choose_shots(to_samples(rows, data.earlier("train") if past else None), config.shots, config.seed)


def training_rows(config: RecStage, data: SampleSet) -> pl.DataFrame:
    """Rows of the train split, without the users that selection "source" holds out."""
    rows = data.frame("train")
    if config.selection == "source":
        held_out = holdout_users(rows["user_id"].unique().to_list(), config.holdout, config.seed)
        rows = rows.filter(~pl.col("user_id").is_in(list(held_out)))
    if rows.is_empty():
        raise DataError(f"train split of {data.path}", found="no samples", expected="at least one")
    return rows
