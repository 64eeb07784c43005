"""`prepare`: from a source to a prepared directory (samples, catalogue, renderings, rejects, audit, manifest).

The samples are the artefact; ``train/valid/test.jsonl`` are renderings of it for people and other tools. Tuning and
evaluating never read them: they render the history with the adapter's own template.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import polars as pl

from recalign.artifacts import Json, already, hash_file, write_directory, write_file_atomic
from recalign.data.audit import audit
from recalign.data.audit_checks import tied_targets
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.feedback import FeedbackConfig
from recalign.data.parsing.accounting import FileAccount, NothingLeft, RejectLedger
from recalign.data.parsing.lines import watched_reading
from recalign.data.protocols import cut_users, fold_users
from recalign.data.published import PublishedSamples
from recalign.data.reader import RatingsGenerator, SamplesReader
from recalign.data.sample_ids import with_sample_ids
from recalign.data.sample_table import SampleTable, write_samples
from recalign.data.samples import ITEMS_FILE, KIND, split_counts
from recalign.data.schema import SAMPLES, SPLITS
from recalign.data.source import SourceData, read_source
from recalign.data.splitting import make_table, plan, resolve_protocol
from recalign.errors import ConfigError, DataError
from recalign.experiment.inputs import is_prepared, reading_progress, request_of
from recalign.experiment.prepare_config import PrepareConfig
from recalign.experiment.progress import Reporter, told
from recalign.prompting.prompts import HistoryText
from recalign.prompting.template import PromptTemplate
from recalign.seeding import generator

__all__ = ["PrepareConfig", "prepare"]

AUDIT_FILE: Final = "audit.json"
REJECTS_FILE: Final = "rejects.jsonl"
RENDERED: Final = 100_000  # rows of the .jsonl files where --max-rendered does not say otherwise


def prepare(
    config: PrepareConfig, *, note: Callable[[str], None] = lambda text: None, reporter: Reporter | None = None
) -> Path:
    """Prepare a dataset and return the directory written (`SampleSet.load` reads it).

    What the same settings have made of the same files is kept as it is, and `note` is told. `reporter` is told how much
    is read and written.

    Raises:
        ConfigError: settings that are missing or do not fit the dataset, protocol or template.
        DataError: an input file is missing or unusable, or lacks what the protocol or feedback needs.
            Where rows were rejected before, OUTPUT.rejects.jsonl has them.
        ArtifactError: the output exists or cannot be written. Nothing half-written is left in any case.
    """
    if config.output is None:
        raise ConfigError("prepare needs an output directory", hint="Pass --output DIR.")
    request, tell = request_of(config), reporter or Reporter()
    if is_prepared(config, request):  # before the reading, not only after it
        note(already("prepared", config.output))
        return config.output
    template = PromptTemplate.load(config.template_name)
    try:
        if isinstance(config.reader, SamplesReader):
            _from_published(config, config.reader, template, request, tell)
        else:
            _from_ratings(config, template, request, tell)
    except NothingLeft as error:
        _raise_with_rejects(error, error.rejects, 0, config)
    return config.output


def _from_ratings(config: PrepareConfig, template: PromptTemplate, request: Json, tell: Reporter) -> None:
    domain = config.domain_words()
    template.instruction(domain, (), "title", 1)  # a template without the language fails before any reading
    with watched_reading(reading_progress(tell)):
        source = read_source(config.dataset, config.input, config.source_options())
    tell.task(f"preparing {config.dataset}")
    item_text = config.item_text or config.defaults.item_text
    catalog = ItemCatalog.from_items(source.items, item_text)
    protocol = resolve_protocol(config.protocol, source.interactions)
    feedback = config.feedback_config()
    _check_scale(source.interactions["rating"].drop_nulls(), feedback)
    steps = plan(protocol, config, feedback)
    try:
        samples = make_table(source.interactions, protocol, steps, feedback, item_ids=catalog.ids)
    except DataError as error:
        _raise_with_rejects(error, source.rejects, len(source.interactions), config)
    settings = {
        "protocol": {"name": protocol.name, "version": protocol.version, **steps.described()},
        "feedback": feedback.model_dump(),
        "item_text": item_text,
    }
    users = source.interactions["user_id"].n_unique()
    facts = {
        "interactions": len(source.interactions),
        "users": users,
        "users_without_sample": users - samples.samples["user_id"].n_unique(),
        "licence": source.licence,
        "times": _times(source),
    }
    _write(config, template, source, samples, catalog, domain, settings, {**facts, **request}, tell)


def _raise_with_rejects(error: DataError, rejects: RejectLedger, left: int, config: PrepareConfig) -> NoReturn:
    """Raise the error again, and first tell the rows that were rejected before it; they are written beside the output.

    `left` rows were not rejected. Where they are many more, the others are not why; where they are fewer, the hint is
    about the others.
    """
    if 10 * len(rejects) <= left:  # also where there are none
        raise error
    assert config.output is not None
    path = config.output.with_name(f"{config.output.name}.{REJECTS_FILE}")
    content = BytesIO()
    rejects.write(content)
    write_file_atomic(path, content.getvalue())
    found = f"{rejects.told()}; all are listed in {path}"
    if not isinstance(error, NothingLeft):
        found += f"; of the {left:,} rows left: {error.found}"
    hint = config.reader.hints.get(next(iter(rejects.counts()))) if len(rejects) >= left else None
    raise DataError(error.thing, found=found, expected=error.expected, hint=hint or error.hint) from error


def _check_scale(rating: pl.Series, feedback: FeedbackConfig) -> None:
    """Refuse a threshold for flags: above 3.5 nobody would like anything."""
    if feedback.kind != "explicit" or rating.is_empty() or not rating.is_in([0.0, 1.0]).all():
        return
    is_flag = 0.0 in rating
    raise DataError(
        f"like_above {feedback.like_above:g} is for ratings on a scale",
        found=f"nothing but {'0 and 1' if is_flag else '1'}",
        hint=f"Use --feedback {'binary' if is_flag else 'implicit'} instead of --like-above.",
    )


def _times(source: SourceData) -> Json | None:
    """The form of the times and the first and last of them (UTC), which show a unit that was misread; or None."""
    times = source.interactions["timestamp"].drop_nulls()
    if times.is_empty():
        return None
    ends = pl.Series([times.min(), times.max()]).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S")
    return {"form": source.time_form, "first": ends[0], "last": ends[1]}


def _from_published(
    config: PrepareConfig, reader: SamplesReader, template: PromptTemplate, request: Json, tell: Reporter
) -> None:
    assert config.input is not None
    words = config.domain_words() if config.words() else None
    data = reader.read(config.input, template, words, config.source_options())
    rows = [
        {
            "user_id": str(row.row),  # every row is a user of its own
            "item_id": row.item_id,
            "label": row.label,
            "position": row.row,
            "history": [{"item_id": item, "liked": liked} for item, liked in row.history],
        }
        for row in data.samples
    ]
    columns = {name: kind for name, kind in SAMPLES.items() if name not in ("sample_id", "split")}
    samples = with_sample_ids(pl.DataFrame(rows, schema={**columns, "position": pl.Int64()}), "published")
    ratios = config.split or (8, 1, 1)
    cut: Json = {"ratios": ratios}
    if config.folds is None:
        samples = cut_users(samples, ratios, config.seed)
    else:
        cut = {"folds": config.folds, "fold": config.fold}
        samples = fold_users(samples, config.folds, config.fold, config.seed)
    settings = {
        "protocol": {"name": "published", "version": 1, **cut, "seed": config.seed},
        "feedback": {"kind": "binary", "like_above": None},
        "item_text": "{text}",
        **({"bare_answers": True} if config.bare_answers else {}),
    }
    facts: Json = {"users": len(samples), "users_without_sample": 0, "licence": reader.licence, "times": None}
    table = SampleTable.from_frame(samples.select(*SAMPLES))
    _write(config, template, data, table, ItemCatalog(data.items), data.domain, settings, {**facts, **request}, tell)


def _describe(config: PrepareConfig, domain: Domain, template: PromptTemplate, settings: Json) -> Json:
    """The manifest's config: what decides the content, and no path but a template's."""
    made: Json = {}
    if isinstance(config.reader, RatingsGenerator):
        sizes = {"users": config.users, "items": config.items, "ratings_per_user": config.ratings_per_user}
        made = {config.dataset: {"domain": config.catalogue or next(iter(config.reader.catalogues), None), **sizes}}
    return {
        "dataset": config.dataset,
        **made,
        **settings,
        "domain": domain.model_dump(),
        "template": config.template_name,
        "template_version": template.version,
        "seed": config.seed,
        "max_samples": config.max_rendered,
    }


def _write(
    config: PrepareConfig,
    template: PromptTemplate,
    source: SourceData | PublishedSamples,
    table: SampleTable,
    catalog: ItemCatalog,
    domain: Domain,
    settings: Json,
    facts: Json,
    tell: Reporter,
) -> None:
    assert config.output is not None
    described = _describe(config, domain, template, settings)
    report = audit(table, catalog, described, tied_targets(table.ties, table.samples))
    rendered = _to_render(table.samples, config.max_rendered or RENDERED, config.seed)
    info = {
        "splits": split_counts(table.samples),
        "rendered": {split: int((rendered["split"] == split).sum()) for split in SPLITS},
        "ties": dict(table.ties),
        "items": len(catalog),
        **facts,
        "accounts": [_counts(account) for account in source.accounts],
        "sources": {
            account.name: account.sha256 or hash_file(Path(account.path)).sha256 for account in source.accounts
        },
        "rejects": source.rejects.counts(),
        "audit": report.summary(),
    }
    with write_directory(config.output, KIND, config=described, info=info, overwrite=config.overwrite) as staging:
        write_samples(staging, table)
        catalog.write(staging / ITEMS_FILE)
        written = tell.task("prompts to look at", "rows")
        for split in SPLITS:
            part = table.frame(rendered.filter(pl.col("split") == split))
            with (staging / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(told(_render(part, catalog, domain, template), written, len(part)))
        source.rejects.write(staging / REJECTS_FILE)
        (staging / AUDIT_FILE).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _counts(account: FileAccount) -> Json:
    counts = asdict(account)
    return {"path": counts.pop("name"), **{name: counts[name] for name in ("lines", "parsed", "rejected", "header")}}


def _to_render(samples: pl.DataFrame, limit: int, seed: int) -> pl.DataFrame:
    """All samples, or a seeded subset in their order that gives every split its share (and at least one row)."""
    if len(samples) <= limit:
        return samples
    drawn = generator(seed, "prepare", "rendered").permutation(len(samples))
    first = samples["split"].is_first_distinct().to_numpy()  # of each split, which come as they are
    drawn[first] = -1
    chosen = np.flatnonzero(drawn < limit)  # at least as many as wanted, and not many more
    return samples[np.sort(chosen[np.argsort(drawn[chosen], kind="stable")][:limit])]


def _render(samples: pl.DataFrame, catalog: ItemCatalog, domain: Domain, template: PromptTemplate) -> Iterator[str]:
    text = dict(zip(catalog.ids, catalog.frame["text"], strict=True))
    encode = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` would make one per row
    fields = ("sample_id", "user_id", "item_id", "label", "history")
    for sample_id, user_id, item_id, label, entries in samples.select(fields).iter_rows():
        history = [HistoryText(text[entry["item_id"]], entry["liked"], entry["rating"]) for entry in entries]
        prompt = template.instruction(domain, history, text[item_id], label)
        row = {
            "sample_id": sample_id,
            "instruction": prompt.instruction,
            "input": prompt.input,
            "output": prompt.output,
            "user_id": user_id,
            "item_id": item_id,
            "label": label,
            "history": entries,
        }
        yield encode(row) + "\n"
