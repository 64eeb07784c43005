"""Small prepared data directories, for tests of scorers and of what is built on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from recalign.artifacts import write_directory
from recalign.data.catalog import ItemCatalog
from recalign.data.sample_table import SampleTable, check_samples, write_samples
from recalign.data.samples import ITEMS_FILE, KIND, Sample, SampleSet
from recalign.data.schema import ITEMS, SAMPLES


def write_sample_set(
    directory: Path,
    titles: Mapping[str, str],
    samples: Mapping[str, Iterable[Sample]],
    *,
    config: Mapping[str, Any] | None = None,
) -> SampleSet:
    """Write and load a prepared directory from Python objects.

    Args:
        directory: Where; it must not exist yet.
        titles: Title by item id; the item text is the title.
        samples: Samples by split ("train", "valid", "test").
        config: Entries of the manifest's config beside ``domain`` and ``template``.

    Raises:
        ArtifactError: `directory` exists or cannot be written.
        DataError: The samples break a rule of `recalign.data.sample_table.check_samples`.
    """
    listed = [(split, sample) for split, part in samples.items() for sample in part]
    whole = [{**asdict(replace(sample, history=sample.past, earlier=())), "split": split} for split, sample in listed]
    for row in whole:
        del row["earlier"]
    items = pl.DataFrame([{"item_id": item, "title": title} for item, title in titles.items()], schema=ITEMS)
    rows = pl.DataFrame(whole, schema=SAMPLES)
    check_samples(rows)
    table = SampleTable.from_frame(rows)
    lengths = pl.Series("history_length", [len(sample.history) for _, sample in listed], dtype=pl.Int32)
    full = {"domain": {}, "template": "default", **(config or {})}
    with write_directory(directory, KIND, config=full) as staging:
        write_samples(staging, replace(table, samples=table.samples.with_columns(lengths)))
        ItemCatalog.from_items(items, "{title}").write(staging / ITEMS_FILE)
    return SampleSet.load(directory)
