"""What a panel says in words. The document holds numbers and names; all sentences about them are made here."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.evaluation.cells import fixed, interval, p_value, plural, prior_name, short_titles
from recalign.evaluation.document import (
    BESIDE,
    Answered,
    Learned,
    Panel,
    PanelFacts,
    Ranked,
    ReferenceFit,
    Row,
    Unseen,
    Verdict,
)
from recalign.evaluation.metric import Metric, deciding, ordered_metrics
from recalign.evaluation.panel import best_prior
from recalign.evaluation.score import NOT_ALLOWED
from recalign.evaluation.verdicts import WIDEST, ModelVerdict, too_few
from recalign.metrics.ranking import CUTOFF, random_ranker
from recalign.terminal import printable

SAMPLED_NEGATIVES = (
    "The negatives are drawn uniformly from the catalogue, most of which few people meet, so popularity alone "
    "separates many of them from something that somebody chose. It is a strong rival here, and the figures compare "
    "models on these lists only."
)

TOO_FEW_SAMPLES = (
    f"Too few samples: the interval of the difference from the best prior holds zero and is wider than {WIDEST:g}, so "
    f"a model that is better by {WIDEST / 2:g} would not be noticed. More test users would tell."
)

Judged = Sequence[tuple[Row, Verdict]]


_PRIORS = {
    "like-rate": "the share of liked titles",
    "item-mean": "what others think of the title",
    "popularity": "how many know the title",
    "like-rate+item-mean": "the share of liked titles, and what others think of the title",
    "recent": "the latest likes and dislikes",
    "recent+item-mean": "the latest likes and dislikes, and what others think of the title",
}


def model_verdict(known: ModelVerdict) -> str:
    """How one model stands to the best prior, for people who have seen no table: one sentence."""
    name = prior_name(known.verdict.prior)
    prior = f"the best prior, {name}" + (f" ({_PRIORS[name]})" if name in _PRIORS else "")
    users, value, best = plural(known.users, "test user"), fixed(known.value, 2), fixed(known.prior_value, 2)
    if too_few(known.verdict):
        enough = "is too few" if known.users == 1 else "are too few"
        return f"{users} {enough} to judge this model: it has {known.metric} {value}, and {prior}, has {best}."
    standing = {"better": "beats", "open": "cannot be told apart from", "worse": "is worse than"}
    stands = standing[known.verdict.standing]
    return f"On {users} this model ({known.metric} {value}) {stands} {prior}, which has {best}."


def headline(panel: Panel) -> str:
    """How many rows beat the best prior."""
    (name, metric), *_ = deciding("samples")
    judged = _judged(panel, name)
    if not judged:
        return "No model was compared with a prior here."
    best = best_prior(panel.rows, name, higher_is_better=metric.higher_is_better)
    prior = judged[0][1].prior
    value = f", {metric.heading} {fixed(best.mean(name), 3)}" if best is not None and best.model == prior else ""
    winners = sum(verdict.beats for _, verdict in judged)
    if len(judged) == 1:
        (row, verdict), title = judged[0], short_titles(panel.plain_rows)
        if too_few(verdict):
            rival = f"the best prior ({prior_name(prior)}{value})"
            return f"Too few samples to judge whether {title(row)} beats {rival}."
        subject = f"{title(row)} {'beats' if winners else 'does not beat'}"
    else:
        count = f"{winners:,}" if winners else "None"
        subject = f"{count} of {plural(len(judged), 'row')} {'beat' if winners > 1 else 'beats'}"
    return f"{subject} the best prior ({prior_name(prior)}{value})."


def outcomes(panel: Panel) -> list[str]:
    """Which rows stand where to the best prior, who ranks better, and what is missing."""
    rows = panel.plain_rows
    (name, _), *_ = deciding("samples")
    judged = _judged(panel, name)
    winners, undecided, below = (
        [pair for pair in judged if pair[1].standing == standing] for standing in ("better", "open", "worse")
    )
    sentences = [f"Above it: {_told(winners, rows, 8)}."] if winners else []
    few = [pair for pair in undecided if too_few(pair[1])]
    alike = [pair for pair in undecided if not too_few(pair[1])]
    if alike:
        sentences.append(f"Not distinguishable from it, {len(alike):,}: {_told(alike, rows, 4)}.")
    if few:
        which = "this row" if len(few) == 1 else f"these {len(few):,} rows"
        sentences.append(f"Too few samples to judge {which}: {_told(few, rows, 4)}.")
    if below:
        sentences.append(f"Below it, {len(below):,}: {_told(below, rows, 4)}.")
    for ranking_name, ranking in deciding("candidates"):
        sentences += _ranking(panel, ranking_name, ranking)
    for status, what in (("partial", "with fewer seeds than planned."), ("not run", "not run; the table says why.")):
        if count := sum(row.status == status for row in rows):
            sentences.append(f"{plural(count, 'row')} {what}")
    return sentences


def terms(panel: Panel, *, columns_only: bool = False) -> list[str]:
    """How to read the metrics that have a column, and those that `remarks` tells unless `columns_only`: one line."""
    rows = panel.plain_rows
    models = [] if columns_only else [row for row in rows if row.kind not in BESIDE]
    known = [
        f"{metric.heading}: {metric.plain}."
        for name, metric in ordered_metrics()
        if metric.plain and any(row.mean(name) is not None for row in (rows if metric.column else models))
    ]
    return [" ".join([*known, "In brackets: the 95 % interval over users."])] if known else []


def about(facts: PanelFacts) -> str:
    """The samples that were scored."""
    return (
        f"{facts.split}: {plural(facts.n, 'sample')} of {plural(facts.n_users, 'user')}, "
        f"{fixed(100 * facts.positive_share, 1)} % liked."
    )


def orders(seeds: Sequence[int]) -> list[str]:
    """That the figures are means over several orders, where they are."""
    if not seeds:
        return []
    return [
        f"Means over {len(seeds)} orders of events at the same time (order seeds {', '.join(map(str, seeds))}); ± is "
        "over these and the training seeds. Numbers of samples and users are those of the first order."
    ]


def counted(panel: Panel) -> list[str]:
    """What metrics are averages over: one sentence for each that counts something."""
    sentences = []
    for name, metric in ordered_metrics():
        estimate = next((row.metrics[name] for row in panel.plain_rows if row.mean(name) is not None), None)
        if metric.counts and estimate is not None and estimate.counts:
            numbers = [f"{estimate.counts[key]:,} {words}" for key, words in metric.counts.items()]
            sentences.append(f"{metric.title}: {'; '.join(numbers)}.")
    return sentences


def learned(facts: Learned) -> str:
    """What the item-based priors learned from, and how the ``recent`` ones weigh."""
    if not facts.interactions:
        return "Item-based priors are left out: the data has no train split, and --fit names no other data."
    where = f"data set {facts.fit}" if facts.fit else "the evaluated data itself"
    counts = list(dict.fromkeys(f"{count:,}" for count in facts.interactions))
    folds = f" ({len(facts.interactions)} parts)" if len(counts) > 1 else ""
    what = f"Item-based priors learned from {', '.join(counts)} interactions in the train split of {where}{folds}."
    return " ".join([what, *_recent(facts)])


def references(fits: Sequence[ReferenceFit]) -> list[str]:
    """What each reference is, and what it learned."""
    sentences = []
    for name in dict.fromkeys(fit.model for fit in fits):
        own = [fit for fit in fits if fit.model == name]
        labels = ", ".join(dict.fromkeys(f"{fit.labels:,}" for fit in own))
        penalties = ", ".join(dict.fromkeys(f"{fit.regularisation:g}" for fit in own))
        reasons = dict.fromkeys(fit.reason for fit in own)
        why = "; ".join(f"by default ({each})" if each else "chosen on its validation split" for each in reasons)
        sentences.append(
            f"{name} is fitted on all {labels} train labels of the evaluated data (regularisation {penalties}, {why}). "
            "It shows what these labels are worth, and no verdict counts it."
        )
    return sentences


def ranked(facts: Ranked) -> list[str]:
    """What was ranked, and what a random order gets."""
    if not facts.lists:
        return ["Nothing is ranked: the candidates could not be drawn."]
    chance = random_ranker(facts.negatives + 1)["ndcg"]
    names = f" Candidates {', '.join(name[:12] for name in facts.fingerprints)}." if facts.fingerprints else ""
    return [
        f"{facts.negatives + 1} candidates: one liked target among {facts.negatives} items that the user never met, "
        f"drawn uniformly; {plural(facts.lists, 'list')} of {plural(facts.users, 'user')}. A random order has "
        f"NDCG@{CUTOFF} {chance:.4f}. Ties count by expectation.{names}",
        SAMPLED_NEGATIVES,
    ]


def unseen(facts: Unseen, n: int) -> str:
    """How many of `n` targets have an unseen title."""
    return f"{facts.count:,} of {n:,} targets have a title that {', '.join(facts.data)} never showed."


def excluded(counts: dict[str, int]) -> str:
    """How many samples were left out, by reason."""
    named = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"excluded: {named}" if named else "none excluded"


def answered(facts: Answered, n: int) -> str:
    """How many samples were asked, answered and left out; and what the scores of the `n` answered ones are."""
    return (
        f"{facts.asked:,} samples asked, {n:,} answered ({facts.right / n:.1%} as the user did), "
        f"{excluded(facts.excluded)}. {_scored(facts, n)} Every row is about the answered samples alone. "
        f"{facts.tokens:,} tokens in the ledger."
    )


def remarks(panel: Panel) -> list[str]:
    """What the tables of a panel have no column for: further metrics of each model, and why figures are missing."""
    models = [row for row in panel.plain_rows if row.kind not in BESIDE and row.metrics]
    lines, missing = list[str](), dict[tuple[str, str], list[str]]()
    for row in models:
        known, reasons = list[str](), dict[str, list[str]]()
        for name, metric in ordered_metrics():
            estimate = row.metrics.get(name)
            if estimate is None or (metric.column and all(other.mean(name) is None for other in panel.plain_rows)):
                continue  # no column: a note of the table says why
            if estimate.reason == NOT_ALLOWED.reason:
                continue  # as it should be, and nothing for a reader to mend
            if estimate.reason:
                what = metric.title if estimate.mean is None else f"interval of {metric.title}"
                reasons.setdefault(estimate.reason, []).append(what)
            elif not metric.column:
                known.append(f"{metric.title} {fixed(estimate.mean, metric.digits)}")
        lines += [f"{row.title}: {', '.join(known)}."] if known else []
        for reason, titles in reasons.items():
            missing.setdefault((", ".join(titles), reason), []).append(row.title)
    for (titles_text, reason), rows in missing.items():
        who = "Every model" if 1 < len(rows) == len(models) else "; ".join(rows)
        lines.append(f"{who}: no {titles_text}, because {reason}.")
    return lines


def _recent(facts: Learned) -> list[str]:
    """How the ``recent`` priors weigh, and what has chosen it."""
    if not facts.recent:
        return []
    decays = ", ".join(dict.fromkeys("∞" if each.decay is None else f"{each.decay:g}" for each in facts.recent))
    weights = ", ".join(dict.fromkeys(f"{each.weight:g}" for each in facts.recent))
    reasons = dict.fromkeys(each.reason for each in facts.recent)
    chosen = ["chosen on the validation split of the same data"] if "" in reasons else []
    chosen += [f"by default ({reason})" for reason in reasons if reason]
    return [
        f"recent: the k-th last event weighs exp(−k/h), and w × the item mean is added, with h = {decays} and "
        f"w = {weights}, {'; '.join(chosen)}."
    ]


def _judged(panel: Panel, metric: str) -> Judged:
    return [(row, row.verdicts[metric]) for row in panel.plain_rows if metric in row.verdicts]


def _told(pairs: Judged, rows: Sequence[Row], most: int) -> str:
    """Rows with their margins, the largest first."""
    title = short_titles(rows)
    ordered = sorted(pairs, key=lambda pair: -pair[1].difference)
    names = [f"{title(row)} ({_margin(verdict)})" for row, verdict in ordered[:most]]
    return "; ".join(names) + (f"; and {len(pairs) - most} more" if len(pairs) > most else "")


def _margin(verdict: Verdict) -> str:
    parts = [fixed(verdict.difference, 3, signed=True)]
    parts += [interval(verdict.interval, signed=True)] if verdict.interval else []
    parts += [f"p {p_value(verdict.p_value)}"] if verdict.p_value is not None else []
    return ", ".join(parts)


def _ranking(panel: Panel, name: str, metric: Metric) -> list[str]:
    judged = _judged(panel, name)
    if not judged:
        return []
    title = short_titles(panel.plain_rows)
    winners = [title(row) for row, verdict in judged if verdict.beats]
    who = f"{len(winners)} of {len(judged)}" if winners else f"none of {len(judged)}"
    more = f"; and {len(winners) - 6} more" if len(winners) > 6 else ""
    names = f": {'; '.join(winners[:6])}{more}" if winners else ""
    return [f"Ranking ({metric.title}): {who} above the best prior ({prior_name(judged[0][1].prior)}){names}."]


def _scored(facts: Answered, n: int) -> str:
    """What the scores are: all of one kind, since log-odds beside signs make no common order."""
    if facts.by_probability:
        bounds = f" (in {facts.bounded:,} of them a bound: one label was not listed)" if facts.bounded else ""
        return f"{n:,} scored by the labels' probabilities{bounds}, 0 by the answer."
    if not facts.requested:
        why = "probabilities were not asked for"
    elif facts.usable:
        without = n - facts.usable
        why = f"{facts.usable:,} came with usable probabilities, {without:,} without, and one AUC takes one kind"
    else:
        why = "no answer came with usable probabilities"
    if facts.refused:
        why += f"; the endpoint refused them: {printable(facts.refused)}"
    return f"0 scored by the labels' probabilities, {n:,} by the answer ({why})."
