"""What came out, in sentences computed from the data: which models beat the best prior, and for which it is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recalign.evaluation.comparisons import best_prior
from recalign.evaluation.document import Panel, Row, Verdict
from recalign.evaluation.formats import fixed, interval, p_value, plural, prior_name, several_backbones, short_title
from recalign.evaluation.metric import Metric, deciding

Judged = list[tuple[Row, Verdict]]


@dataclass(frozen=True)
class Summary:
    """A panel in words: a headline, then sentences about what beats the priors, what is open, and what is missing."""

    panel: str
    title: str
    headline: str
    sentences: tuple[str, ...]


def summarise_panel(panel: Panel) -> Summary:
    """The verdicts of one panel in words."""
    rows = panel.plain_rows
    (name, metric), *_ = deciding("samples")
    judged = _judged(rows, name)
    sentences = [*_outcomes(judged, rows)]
    for name_of_ranking, ranking in deciding("candidates"):
        sentences += _ranking(rows, name_of_ranking, ranking)
    headline = _headline(judged, panel, name, metric)
    return Summary(panel.name, panel.title, headline, (*sentences, *_incomplete(rows)))


def _judged(rows: Sequence[Row], metric: str) -> Judged:
    return [(row, row.verdicts[metric]) for row in rows if metric in row.verdicts]


def _headline(judged: Judged, panel: Panel, name: str, metric: Metric) -> str:
    if not judged:
        return "No model was compared with a prior here."
    best = best_prior(panel.rows, name, higher_is_better=metric.higher_is_better)
    prior = prior_name(judged[0][1].prior)
    known = best is not None and best.model == judged[0][1].prior
    value = f", {metric.heading} {fixed(best.mean(name), 3)}" if best is not None and known else ""
    winners = sum(verdict.beats for _, verdict in judged)
    if len(judged) == 1:
        subject = "The only row beats" if winners else "The only row does not beat"
    else:
        count = f"{winners:,}" if winners else "None"
        subject = f"{count} of {plural(len(judged), 'row')} {'beat' if winners > 1 else 'beats'}"
    return f"{subject} the best prior ({prior}{value})."


def _outcomes(judged: Judged, rows: Sequence[Row]) -> list[str]:
    """Winners with their margins, then what is undecided, then what is below."""
    several = several_backbones(rows)

    def told(pairs: Judged, most: int) -> str:
        ordered = sorted(pairs, key=lambda pair: -pair[1].difference)
        names = [f"{short_title(row, backbone=several)} ({_margin(verdict)})" for row, verdict in ordered[:most]]
        return "; ".join(names) + (f"; and {len(pairs) - most} more" if len(pairs) > most else "")

    standing = {name: [pair for pair in judged if pair[1].standing == name] for name in ("better", "open", "worse")}
    winners, undecided, below = standing.values()
    sentences = [f"Above it: {told(winners, 8)}."] if winners else []
    if undecided:
        sentences.append(f"Not distinguishable from it, {len(undecided):,}: {told(undecided, 4)}.")
    if below:
        sentences.append(f"Below it, {len(below):,}: {told(below, 4)}.")
    return sentences


def _margin(verdict: Verdict) -> str:
    parts = [fixed(verdict.difference, 3, signed=True)]
    parts += [interval(verdict.interval, signed=True)] if verdict.interval else []
    parts += [f"p {p_value(verdict.p_value)}"] if verdict.p_value is not None else []
    return ", ".join(parts)


def _ranking(rows: Sequence[Row], name: str, metric: Metric) -> list[str]:
    judged = _judged(rows, name)
    if not judged:
        return []
    several = several_backbones(rows)
    winners = [short_title(row, backbone=several) for row, verdict in judged if verdict.beats]
    rival = prior_name(judged[0][1].prior)
    who = f"{len(winners)} of {len(judged)}" if winners else f"none of {len(judged)}"
    more = f"; and {len(winners) - 6} more" if len(winners) > 6 else ""
    names = f": {'; '.join(winners[:6])}{more}" if winners else ""
    return [f"Ranking ({metric.title}): {who} above the best prior ({rival}){names}."]


def _incomplete(rows: Sequence[Row]) -> list[str]:
    def named(status: str, tell: Callable[[int], str]) -> list[str]:
        count = sum(row.status == status for row in rows)
        return [tell(count)] if count else []

    return [
        *named("partial", lambda count: f"{plural(count, 'row')} with fewer seeds than planned."),
        *named("not run", lambda count: f"{plural(count, 'row')} not run; the table says why."),
    ]
