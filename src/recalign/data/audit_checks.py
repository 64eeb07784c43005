"""The checks of the data audit: functions from tables to findings.

`samples` are those of a `SampleTable`. What runs over all of them sorts or counts whole numbers, a column at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recalign.data.codes import pair_keys
from recalign.data.domain import Domain
from recalign.data.parsing.fields import PLACEHOLDERS
from recalign.data.schema import SPLITS


class Finding(BaseModel):
    """One thing to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(description="Stable name of the check.")
    severity: Severity = Field(description="Worth knowing, or changes what a metric means.")
    message: str = Field(description="One line with the numbers.")
    count: int = Field(description="How many rows, items or users it concerns.")
    examples: tuple[str, ...] = Field((), max_length=3, description="Escaped, safe to print.")


Findings = Iterator[Finding]
Severity = Literal["info", "warning"]

_BY_DESIGN: Final = frozenset({"temporal", "leave-one-out", "leave-n-out"})  # protocols whose splits share users
_FEW_USERS: Final = 100
_SHIFT: Final = 0.05
_NAMED: Final = 20  # items that a message names

# Text that looks like part of a prompt, or speaks to the reader instead of naming a thing. Matched case-insensitively
# after NFKC normalisation, which maps full-width look-alikes to ASCII.
_INJECTIONS: Final = (
    r"#{2,}\s*\w+\s*:",
    r"<\|[^|<>]{1,40}\|>",
    r"\[/?inst\]|<</?sys>>|</?s>|<(?:start|end)_of_turn>",
    r"\b(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|above|previous)",
    r"^\s*(?:system|assistant|user)\s*:",
)
_HIDDEN: Final = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
# What shows nothing: controls, formats, blanks, and letters without a glyph (Hangul fillers, blank Braille).
_INVISIBLE: Final = r"[\p{C}\p{Z}\x{115f}\x{1160}\x{3164}\x{ffa0}\x{2800}]"
_ANSWER_VERBS: Final = r"\b(?:answer|respond|reply|output)\b\W{0,3}(?:with|only|just)?\W{0,3}"


def finding(code: str, severity: Severity, count: int, message: str, examples: Sequence[str] = ()) -> Finding:
    """A `Finding`. The first three examples are cut at 100 characters and escaped."""
    shown = tuple(repr(text[:100])[1:-1] for text in examples[:3])
    return Finding(code=code, severity=severity, count=count, message=message, examples=shown)


def users_in_several_splits(samples: pl.DataFrame, protocol: str) -> Findings:
    """Users with targets in more than one split; by design in protocols that split each user's time line."""
    in_splits = samples.select("user_id", "split").unique().group_by("user_id").len()
    spread = in_splits.filter(pl.col("len") > 1)
    if len(spread):
        design = protocol in _BY_DESIGN
        note = f"{len(spread)} of {len(in_splits)} users have targets in more than one split"
        note += ", as the protocol intends" if design else ": the splits are not independent"
        users = spread["user_id"].sort().head(3).cast(pl.String).to_list()
        yield finding("user-overlap", "info" if design else "warning", len(spread), note, users)
    if protocol == "published":
        note = "the file names no users: every row counts as a user of its own, so overlap cannot be seen"
        yield finding("users-unknown", "info", len(samples), note)


def targets_out_of_time(samples: pl.DataFrame, protocol: str) -> Findings:
    """Targets of an earlier split that are as late as, or later than, the first target of a later one."""
    intended = dict.fromkeys(("leave-one-out", "leave-n-out"), "in order within each user")
    intended["tallrec-book"] = "users are split, not time"
    intended["explicit-only"] = intended["tallrec-book"]
    times = {name: samples["timestamp"].filter(samples["split"] == name).drop_nulls() for name in SPLITS}
    for earlier, later in pairwise(name for name in SPLITS if len(times[name])):
        late = int((times[earlier] >= times[later].min()).sum())
        if late:
            note = f"{late} of {len(times[earlier])} {earlier} targets are not older than the oldest {later} target"
            note += f" ({intended[protocol]})" if protocol in intended else ": time runs across the splits"
            severity: Severity = "info" if protocol in intended else "warning"
            yield finding(f"time-overlap-{earlier}-{later}", severity, late, note)


def tied_targets(ties: Mapping[str, int], samples: pl.DataFrame) -> Findings:
    """Targets of validation and test at the same time as a neighbour of the same user (`SampleTable.ties`)."""
    for name in SPLITS[1:]:
        total = int((samples["split"] == name).sum())
        if tied := ties.get(name, 0):
            share = tied / total
            note = f"{tied} of {total} {name} targets ({share:.0%}) have the time of the user's event just before or"
            note += " after: the order seed decides which comes last; prepare and evaluate several (--order-seed)"
            yield finding(f"{name}-ties", "warning" if share > _SHIFT else "info", tied, note)


def repeated_targets(samples: pl.DataFrame) -> Findings:
    """A user's targets that name the same item."""
    keys = np.sort(pair_keys(samples["user_id"], samples["item_id"]))
    count = int(np.count_nonzero(keys[1:] == keys[:-1]))
    if count:
        yield finding("duplicate-targets", "warning", count, f"{count} targets repeat a user and an item")


def prevalence(samples: pl.DataFrame) -> Findings:
    """Share of positive labels: a shift between splits, or a split without both labels."""
    labels = {name: samples["label"].filter(samples["split"] == name) for name in SPLITS}
    shares = {name: labels[name].cast(pl.Float64).mean() for name in SPLITS}
    known = {name: float(share) for name, share in shares.items() if isinstance(share, float)}
    spread = max(known.values(), default=0.0) - min(known.values(), default=0.0)
    if spread > _SHIFT:
        told = ", ".join(f"{share:.1%} {name}" for name, share in known.items())
        note = f"the share of positive labels differs between splits: {told}"
        yield finding("prevalence-shift", "warning", round(100 * spread), note)
    for name, share in known.items():
        if share in (0.0, 1.0):
            note = f"every {name} label is {'positive' if share else 'negative'}: AUC is undefined there"
            yield finding(f"one-class-{name}", "warning", len(labels[name]), note)


def few_users(samples: pl.DataFrame) -> Findings:
    """Splits whose users are too few for a narrow interval, and splits without a sample."""
    counts = {name: samples["user_id"].filter(samples["split"] == name).n_unique() for name in SPLITS}
    small = {name: users for name, users in counts.items() if 0 < users < _FEW_USERS}
    if small:
        told = ", ".join(f"{users} in {name}" for name, users in small.items())
        note = f"few users, so intervals over users will be wide: {told}"
        yield finding("few-users", "warning", min(small.values()), note)
    empty = [name for name, users in counts.items() if not users]
    if empty:
        yield finding("empty-split", "info", len(empty), f"no sample in {', '.join(empty)}")


def zero_ratings(samples: pl.DataFrame, feedback: Mapping[str, object]) -> Findings:
    """Ratings of 0 or -1 that an explicit threshold turns into dislikes, where they may mean "not rated".

    BookCrossing has such zeros. A -1 is told where no other rating is negative.
    """
    rating, threshold = samples["rating"], feedback.get("like_above") or 0
    if feedback["kind"] != "explicit" or not isinstance(threshold, (int, float)):
        return
    zeros, ones = int((rating == 0).sum()), int((rating == -1).sum())
    if zeros and threshold >= 0:
        note = f"{zeros} of {len(samples)} targets have the rating 0, which counts as a dislike"
        yield finding("zero-as-dislike", "warning", zeros, f"{note}; protocol explicit-only drops them")
    if ones and threshold >= -1 and ones == int((rating < 0).sum()):
        note = f"{ones} of {len(samples)} targets have the rating -1, which counts as a dislike"
        yield finding("minus-one-as-dislike", "warning", ones, f"{note}; leave them out if it means 'not rated'")


def duplicate_texts(items: pl.DataFrame) -> Findings:
    """Different items with the same text, which a language model cannot tell apart."""
    groups = items.group_by("text").len().filter(pl.col("len") > 1).sort("len", "text", descending=[True, False])
    if len(groups):
        note = f"{len(groups)} item texts stand for {groups['len'].sum()} different items"
        yield finding("duplicate-titles", "info", len(groups), note, groups["text"].head(3).to_list())


def missing_titles(items: pl.DataFrame) -> Findings:
    """Items whose title shows nothing, or says that there is none ("nan", "NULL")."""
    title = items["title"].fill_null("")
    bare = title.str.replace_all(_INVISIBLE, "")
    untitled = title.filter(bare == "")
    if len(untitled):
        shown = untitled.filter(untitled != "").head(3).to_list()
        yield finding("untitled-items", "warning", len(untitled), f"{len(untitled)} items have no visible title", shown)
    placeholders = title.filter(bare.str.to_lowercase().is_in(PLACEHOLDERS))
    if len(placeholders):
        note = f"{len(placeholders)} titles are words for a missing value"
        yield finding("placeholder-titles", "warning", len(placeholders), note, placeholders.unique().sort().to_list())


def label_words(items: pl.DataFrame, domain: Domain) -> Findings:
    """Item texts that contain a label word as a word of its own ("No.1")."""
    words = _label_words(domain)
    pattern = rf"(?i)\b(?:{'|'.join(map(re.escape, words))})\b"
    hits = items.filter(pl.col("text").str.contains(pattern) & bool(words))["text"]
    if len(hits):
        note = f"{len(hits)} item texts contain a label word ({', '.join(words)})"
        yield finding("label-words", "info", len(hits), note, hits.head(3).to_list())


def _label_words(domain: Domain) -> list[str]:
    words = (re.sub(r"^\W+|\W+$", "", answer) for answer in (domain.yes, domain.no))
    return [word for word in words if word]


def suspicious_texts(items: pl.DataFrame, domain: Domain) -> Findings:
    """Item texts that look like an injection (prompt markers, orders to the reader) or hide characters."""
    answers = "|".join(re.escape(word) for word in _label_words(domain)) or "(?:yes|no)"
    patterns = [*_INJECTIONS, rf"{_ANSWER_VERBS}\b(?:{answers})\b"]
    text = pl.col("text")
    plain = text.str.normalize("NFKC").str.replace_all(_HIDDEN, "")
    hits = items.filter(plain.str.contains(f"(?i){'|'.join(patterns)}"))["text"]
    if len(hits):
        note = f"{len(hits)} item texts look like an injection (prompt markers or orders to the model)"
        yield finding("injection-titles", "warning", len(hits), note, hits.head(3).to_list())
    hidden = items.filter(text.str.contains(_HIDDEN))["text"]
    if len(hidden):
        note = f"{len(hidden)} item texts contain control or invisible characters (templates make them inert)"
        yield finding("hidden-characters", "warning", len(hidden), note, hidden.head(3).to_list())


def deciding_words(samples: pl.DataFrame, items: pl.DataFrame) -> Findings:
    """Words of several items' texts whose train targets all have one label: what a planted trigger would look like.

    A word is reported if its targets (20 or more, over 3 or more items and users) would all share one label by chance
    with a probability below one in a million, were labels drawn at the split's own rate.
    """
    train = samples.select("split", "user_id", "item_id", "label").filter(pl.col("split") == SPLITS[0])
    share = float(np.mean(train["label"].to_numpy())) if len(train) else 0.0
    if not 0 < share < 1:
        return
    words = items.select(
        "item_id", pl.col("text").str.to_lowercase().str.extract_all(r"\w+").list.unique().alias("word")
    ).explode("word", empty_as_null=False)
    targets = train.group_by("item_id").agg(pl.len().alias("targets"), pl.col("label").cast(pl.Int64).sum())
    table = words.join(targets.with_columns(pl.col("item_id").cast(pl.String)), on="item_id")
    per_word = table.group_by("word").agg(pl.col("targets", "label").sum(), pl.len().alias("items"))
    chance = pl.when(pl.col("label") == 0).then(math.log(1 - share)).otherwise(math.log(share)) * pl.col("targets")
    decided = per_word.filter(
        (pl.col("label") == 0) | (pl.col("label") == pl.col("targets")),
        pl.col("targets") >= 20,
        pl.col("items") >= 3,
        chance < math.log(1e-6),
    )
    decided = _of_several_users(decided, words, train).sort("targets", "word", descending=[True, False])
    if len(decided):
        note = f"{len(decided)} words occur in train targets of one label only (a planted trigger looks like this)"
        yield finding("deciding-words", "warning", len(decided), note, decided["word"].head(3).to_list())


def _of_several_users(decided: pl.DataFrame, words: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """The words whose targets come from 3 or more users; looks at the targets of these words alone."""
    theirs = words.join(decided.select("word"), on="word")
    asked = train.filter(pl.col("item_id").cast(pl.String).is_in(theirs["item_id"].unique().implode()))
    pairs = asked.select("user_id", pl.col("item_id").cast(pl.String)).unique()
    users = theirs.join(pairs, on="item_id").group_by("word").agg(pl.col("user_id").n_unique())
    return decided.join(users.filter(pl.col("user_id") >= 3), on="word", how="semi")


def cut_texts(items: pl.DataFrame, cut: Mapping[str, str], max_length: int) -> Findings:
    """Items whose text fits into no prompt of `max_length` tokens; `cut` has the beginning that is shown of each."""
    long = items.filter(pl.col("text").is_in(list(cut)))
    if len(long):
        named = ", ".join(map(repr, long["item_id"].head(_NAMED)))
        more = f" and {len(long) - _NAMED} more" if len(long) > _NAMED else ""
        note = f"{len(long)} item texts fit into no prompt of {max_length} tokens and are cut at a word: items {named}"
        yield finding("cut-texts", "warning", len(long), note + more, [cut[text] for text in long["text"].head(3)])


def truncated_prompts(lengths: Sequence[int], max_length: int) -> Findings:
    """Prompts that lose history entries at `max_length` tokens."""
    long = sum(length > max_length for length in lengths)
    if long:
        note = f"{long} of {len(lengths)} measured prompts exceed {max_length} tokens and lose their oldest history"
        yield finding("truncated-prompts", "warning", long, f"{note} (longest: {max(lengths)})")
