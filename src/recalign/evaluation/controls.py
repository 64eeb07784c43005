"""Controls: does a model use the history, or does it know titles by heart?

Three changes to what is asked, made in memory, of which every model is scored like on the unchanged samples:

* ``shuffled-history``: each history's entries in another order, with their ratings and likes. What is lost is order.
  What the user did before the history stays before it.
* ``foreign-history``: each sample has the history of another user's sample of its split. What is lost is the user; the
  histories of a split are the same ones, each used once, with what came before them. A foreign history may contain
  the target or a candidate.
* ``masked-titles``: every item is called "Movie 17", in histories and as target. What is lost is the text; which items
  are the same one, which were liked, and in which order remain. Facts that a prompt states know no title either.

`unseen_titles` is the fourth: the targets whose titles no training data has shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.catalog import HIDDEN_TITLES, ItemCatalog
from recalign.data.domain import Domain
from recalign.data.samples import SampleSet
from recalign.data.schema import ITEMS
from recalign.data.title_names import main_name, other_names, split_year, without_article
from recalign.errors import ConfigError, DataError
from recalign.prompting.rendering import upper_first
from recalign.seeding import generator

SHUFFLED: Final = "shuffled-history"
FOREIGN: Final = "foreign-history"
MASKED: Final = "masked-titles"
CONTROLS: Final = (SHUFFLED, FOREIGN, MASKED)

ASKED: Final = ("valid", "test")  # the splits that models are asked about
_MIXES: Final = 32  # rounds of random exchanges of histories


def controlled(sample_set: SampleSet, control: str, seed: int, *, splits: Sequence[str] = ASKED) -> SampleSet:
    """The same prepared data under a control, for scoring only: it must not be trained on, nor candidates drawn of it.

    Samples keep their ids, users, targets and labels, and their order within the split. Only `splits` get other
    histories; train stays as it is, so priors and in-context examples learn what they always learn. Masked are all
    items of the catalogue, in ``text`` (all that a language model or a text encoder is given of an item) and in the
    columns that texts are made of; ``title`` alone stays, as the key by which priors and baselines recognise items
    across data sets. Models of ids and flags therefore give the same scores under masked titles.

    Path, manifest and fingerprint are those of the data, so candidates fit; a score file does not tell the control.

    `seed` seeds orders (with the sample's id), exchanges and numbers.

    Raises:
        ConfigError: There is no such control.
        DataError: ``foreign-history``, and one user has more than half of the samples of one of the `splits`.
    """
    if control not in CONTROLS:
        raise ConfigError(f"control {control!r}", expected=", ".join(CONTROLS))
    samples, catalog = sample_set.frame().with_columns(past_of=pl.col("sample_id")), sample_set.catalog
    if control == MASKED:
        catalog = _masked(catalog, sample_set.domain, seed)
    else:
        change = _shuffled if control == SHUFFLED else _foreign
        parts = samples.partition_by("split", maintain_order=True)
        changed = [change(part, seed) if part["split"][0] in splits else part for part in parts]
        samples = pl.concat(changed or [samples])
    before = sample_set.earlier()
    earlier = {to: before[of] for to, of in samples.select("sample_id", "past_of").iter_rows() if of in before}
    return SampleSet(sample_set.path, sample_set.manifest, samples.drop("past_of"), catalog, earlier)


def _shuffled(part: pl.DataFrame, seed: int) -> pl.DataFrame:
    lengths = part["history"].list.len()
    orders = [
        generator(seed, "control", SHUFFLED, sample_id).permutation(length).tolist()
        for sample_id, length in zip(part["sample_id"], lengths, strict=True)
    ]
    places = pl.Series(orders, dtype=pl.List(pl.UInt32))
    return part.with_columns(pl.col("history").list.gather(places))


def _foreign(part: pl.DataFrame, seed: int) -> pl.DataFrame:
    split = part["split"][0]
    _, users, counts = np.unique(part["user_id"].to_numpy(), return_inverse=True, return_counts=True)
    if 2 * counts.max() > len(part):
        raise DataError(
            f"control {FOREIGN}, split {split!r}",
            found=f"one user with {counts.max()} of {len(part)} samples",
            expected="at most half of them, so that each sample can have a history of another user",
        )
    donors = derangement(users, generator(seed, "control", FOREIGN, split))
    return part.with_columns(pl.col("history", "past_of").gather(donors))


def derangement(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random permutation, shape (n,), that sends every place to a place of another group.

    `groups` has the group of each place, counted from 0; none has more than half of the places.
    """
    n, counts = len(groups), np.bincount(groups)
    # Groups stand in blocks; a shift by the longest block leads out of every block, also round the end.
    order = np.lexsort((rng.random(n), rng.permutation(len(counts))[groups]))
    donors = np.empty(n, dtype=np.int64)
    donors[order] = np.roll(order, -int(counts.max()))
    for _ in range(_MIXES):  # blocks still meet blocks: exchange between random pairs where both stay among others
        left, right = rng.permutation(n)[: n // 2 * 2].reshape(2, -1)
        allowed = (groups[donors[left]] != groups[right]) & (groups[donors[right]] != groups[left])
        left, right = left[allowed], right[allowed]
        donors[left], donors[right] = donors[right], donors[left]
    return donors


def _masked(catalog: ItemCatalog, domain: Domain, seed: int) -> ItemCatalog:
    """Items by number. The numbers are drawn, because ids and rows may run by year or popularity."""
    numbers = generator(seed, "control", MASKED).permutation(len(catalog)) + 1
    noun = upper_first(domain.noun)
    empty = [pl.lit(None, kind).alias(name) for name, kind in ITEMS.items() if name not in ("item_id", "title")]
    texts = pl.Series("text", [f"{noun} {number}" for number in numbers], dtype=pl.String)
    hidden = pl.lit(True).alias(HIDDEN_TITLES)
    return ItemCatalog(catalog.frame.select("item_id", "title", *empty, texts, hidden))


def unseen_titles(target: SampleSet, split: str, trained_on: Sequence[SampleSet | ItemCatalog]) -> set[str]:
    """Ids of the samples whose target's title the training data never showed.

    Prepared data shows a title if an item of that title occurs in an interaction of its train split, as a target or in
    a history; that it stands in the catalogue is not enough. For a model that has read a whole catalogue (nano is
    pretrained on titles), pass the catalogue: it shows all its titles.

    Titles are the same as in `recalign.data.matching`, regardless of case, diacritics, punctuation, spacing, article
    and year, and if they share an alternative name in parentheses. So the doubtful ones count as seen: a remake, or
    two books that are both called "Poems".

    `trained_on` is what the model was tuned on, all stages together. Raises ConfigError where there is no such split.
    """
    seen: set[str] = set()
    for source in trained_on:
        catalog = source if isinstance(source, ItemCatalog) else source.catalog
        shown = None if isinstance(source, ItemCatalog) else _shown(source.frame("train"))
        seen.update(*_names(catalog, shown).values())
    asked = target.frame(split)
    names = _names(target.catalog, set(asked["item_id"]))
    return {
        sample_id
        for sample_id, item_id in asked.select("sample_id", "item_id").iter_rows()
        if seen.isdisjoint(names[item_id])
    }


def _shown(train: pl.DataFrame) -> set[str]:
    entries = train["history"].explode(empty_as_null=False).struct.field("item_id")
    return {*train["item_id"].unique(), *entries.unique()}


def _names(catalog: ItemCatalog, items: set[str] | None) -> dict[str, set[str]]:
    """What each of these items (None: every item) may be called; the text stands in for a missing title."""
    names: dict[str, set[str]] = {}
    for item_id, title, text in catalog.frame.select("item_id", "title", "text").iter_rows():
        if items is None or item_id in items:
            whole = title if title and title.strip() else text
            base = split_year(whole)[0]
            called = {without_article(name).replace(" ", "") for name in (main_name(base), *other_names(base)) if name}
            names[item_id] = called or {whole}  # a title without a letter or digit is itself only
    return names
