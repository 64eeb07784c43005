"""Prepared data for other libraries: prompts and answers for LLaMA-Factory and TRL, tables for RecBole.

::

    llamafactory/   train.jsonl, valid.jsonl, test.jsonl; dataset_info.json, which names them
    trl/            train.jsonl, valid.jsonl, test.jsonl: prompt and completion
    recbole/        see `recalign.tuning.export_recbole`
    manifest.json   in all: what it was made from, its licence, and how many rows a trainer tokenises otherwise
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from recalign.artifacts import Json, already, find_finished, write_directory
from recalign.data.facts import FactFinder
from recalign.data.samples import Sample, SampleSet, to_samples
from recalign.data.schema import SPLITS, HistoryEntry
from recalign.errors import ConfigError
from recalign.models.config import BackboneConfig
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.cuts import warn_of_cuts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.tuning.config import RecStage
from recalign.tuning.export_prompts import LLAMAFACTORY, TRAINERS, PlainRows, TrainerRow, TrainerRows
from recalign.tuning.export_recbole import RECBOLE, write_recbole
from recalign.tuning.learned_titles import count_titles

KIND: Final = "data-export"
DATA_FORMS: Final = (*TRAINERS, RECBOLE)
_CHUNK: Final = 2048  # samples that are rendered at once: bounds memory, changes no result
_INFO_FILE: Final = "dataset_info.json"


def export_data(
    data: str | Path,
    *,
    to: str,
    output: str | Path,
    backbone: str | None = None,
    template: str | None = None,
    max_length: int | None = None,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write prepared data as a directory that another library reads, as `recalign export` does.

    Args:
        data: A prepared directory.
        to: "llamafactory" or "trl": a prompt and its answer per sample. "recbole": interactions and items.
        output: Directory to write.
        backbone: Path or hub id of the language model that will be trained. With it the texts are those that tuning
            encodes: its control tokens broken up, its chat template around the prompt, not longer than `max_length`.
            Without it they are the template's alone.
        template: Prompt template; that of the data if not given.
        max_length: Longest prompt in tokens, answer included; that of `recalign tune` if not given.
        overwrite: Replace an export of data that is there.
        note: Told, in one line, where `output` is what would be written, and is left as it is.

    Returns:
        `output`.

    Raises:
        ConfigError: There is no such form, or a setting that it has no use for; a chat template without a backbone.
        DataError: The data lack what the form needs (see `write_recbole`), or a prompt does not fit.
        ModelError: The backbone's tokenizer cannot be loaded or does not go with the template.
        ArtifactError: `data` is no prepared directory or a damaged one; `output` exists or cannot be written.
    """
    if to not in DATA_FORMS:
        raise ConfigError(f"export to {to!r}", expected=", ".join(DATA_FORMS))
    settings: Json = {"backbone": backbone, "template": template, "max_length": max_length}
    given = [name for name, value in settings.items() if value is not None]
    if given and (to == RECBOLE or (given == ["max_length"] and backbone is None)):
        expected = "none: RecBole reads no prompts" if to == RECBOLE else "a --backbone, whose tokens are counted"
        raise ConfigError(f"option --{given[0].replace('_', '-')} of an export to {to}", expected=expected)
    samples, target = SampleSet.load(Path(data)), Path(output)
    info: Json = {"licence": str(samples.manifest.info["licence"]), "rows": {}}
    config: Json = {"to": to}
    parents = {"data": samples.fingerprint}
    if to == RECBOLE:
        if find_finished(target, KIND, config=config, parents=parents, replace=overwrite):
            note(already("exported", target))
            return target
        with write_directory(target, KIND, config=config, parents=parents, info=info, overwrite=overwrite) as staging:
            info["rows"] = write_recbole(samples, staging, name=target.name)
        return target
    rows = _rows(to, samples, backbone, template, max_length)
    config |= rows.described()
    if find_finished(target, KIND, config=config, parents=parents, replace=overwrite):
        note(already("exported", target))
        return target
    with write_directory(target, KIND, config=config, parents=parents, info=info, overwrite=overwrite) as staging:
        info |= _write(rows, samples, staging, to)
    return target


def _rows(
    to: str, samples: SampleSet, backbone: str | None, template: str | None, max_length: int | None
) -> PlainRows | TrainerRows:
    """What turns samples into rows."""
    prompts = PromptTemplate.load(template or samples.template)
    if backbone is None:
        if prompts.chat:
            raise ConfigError(
                f"prompt template {prompts.name!r} needs the chat template of a tokenizer",
                expected="--backbone",
                hint="Name the model that will be trained, or choose another --template.",
            )
        return PlainRows(prompts, samples.domain, samples.catalog, _finder(samples, prompts))
    from recalign.models.backbone import load_tokenizer  # loads torch

    loaded = load_tokenizer(BackboneConfig(name=backbone))
    longest = min(max_length or RecStage().max_length, loaded.max_positions)
    encoder = PromptEncoder(prompts, samples.domain, loaded.tokenizer, max_length=longest)
    warn_of_cuts(encoder.shown.cut(samples.catalog.frame["text"]), encoder.max_length)
    name = Path(backbone).name if Path(backbone).is_dir() else backbone
    return TrainerRows(to, DomainPrompts(encoder, samples.catalog, _finder(samples, prompts)), name)


def _finder(samples: SampleSet, template: PromptTemplate) -> FactFinder | None:
    """What finds the facts that tuning on all training samples would state."""
    if not template.states_facts:
        return None
    return FactFinder(samples.catalog, count_titles([(samples, samples.frame("train"))]))


def _write(rows: PlainRows | TrainerRows, samples: SampleSet, staging: Path, to: str) -> Json:
    """A file per split that has samples; returns how many rows each has, and how many are tokenised otherwise."""
    counts: Counter[str] = Counter()
    otherwise: Counter[str] = Counter()
    for split in SPLITS:
        part = samples.frame(split)
        if part.is_empty():
            continue
        with (staging / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
            for sample, row in _made(rows, part, samples.earlier(split)):
                line = {"sample_id": sample.sample_id, **row.fields(to)}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                counts[split] += 1
                otherwise[split] += row.otherwise
    if to == LLAMAFACTORY:
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        entries = {f"recalign_{split}": {"file_name": f"{split}.jsonl", "columns": columns} for split in counts}
        (staging / _INFO_FILE).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return {"rows": dict(counts), **({"otherwise": dict(otherwise)} if rows.compares else {})}


def _made(
    rows: PlainRows | TrainerRows, part: pl.DataFrame, earlier: Mapping[str, Sequence[HistoryEntry]]
) -> Iterator[tuple[Sample, TrainerRow]]:
    for start in range(0, len(part), _CHUNK):
        chunk = to_samples(part[start : start + _CHUNK], earlier)
        yield from zip(chunk, rows.of(chunk), strict=True)
