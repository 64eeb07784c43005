"""What came out, in sentences computed from the data: which models beat the priors, and which cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recalign.experiment.study import Panel, Row, Verdict
from recalign.report.formats import METRIC_NAMES, fixed, interval, p_value, plural, prior_name, short_title
from recalign.report.selection import best_prior, plain_rows, several_backbones


@dataclass(frozen=True)
class Summary:
    """A panel in words: a headline, then sentences about what beats the priors, what is open, and what is missing."""

    panel: str
    title: str
    headline: str
    sentences: tuple[str, ...]


def summarise(panel: Panel) -> Summary:
    """The verdicts of one panel in words."""
    rows = plain_rows(panel)
    judged = [(row, row.verdict) for row in rows if row.verdict is not None]
    headline = _headline(judged, panel)
    sentences = [*_sentences(judged, rows), *_ranking(rows), *_incomplete(rows)]
    return Summary(panel.name, panel.title, headline, tuple(sentences))


def _headline(judged: Sequence[tuple[Row, Verdict]], panel: Panel) -> str:
    if not judged:
        return "No model was compared with a prior here."
    best = best_prior(panel, "auc")
    prior = prior_name(judged[0][1].prior)
    value = f", AUC {fixed(best[1], 3)}" if best is not None and best[0].model == judged[0][1].prior else ""
    winners = sum(verdict.beats for _, verdict in judged)
    if len(judged) == 1:
        subject = "The only row beats" if winners else "The only row does not beat"
    else:
        count = f"{winners:,}" if winners else "None"
        subject = f"{count} of {plural(len(judged), 'row')} {'beat' if winners > 1 else 'beats'}"
    return f"{subject} the best prior ({prior}{value})."


def _sentences(judged: Sequence[tuple[Row, Verdict]], rows: Sequence[Row]) -> list[str]:
    """Winners with their margins, then what is undecided, then what is below."""
    several = several_backbones(rows)

    def told(found: Sequence[tuple[Row, Verdict]], most: int) -> str:
        ordered = sorted(found, key=lambda pair: -pair[1].difference)
        names = [f"{short_title(row, backbone=several)} ({_margin(verdict)})" for row, verdict in ordered[:most]]
        return "; ".join(names) + (f"; and {len(found) - most} more" if len(found) > most else "")

    winners = [pair for pair in judged if pair[1].beats]
    below = [pair for pair in judged if not pair[1].beats and pair[1].interval and pair[1].interval[1] < 0]
    opened = [pair for pair in judged if not pair[1].beats and pair not in below]
    sentences = [f"Above it: {told(winners, 8)}."] if winners else []
    if opened:
        sentences.append(f"Not to be told apart from it, {len(opened):,}: {told(opened, 4)}.")
    if below:
        sentences.append(f"Below it, {len(below):,}: {told(below, 4)}.")
    return sentences


def _margin(verdict: Verdict) -> str:
    parts = [fixed(verdict.difference, 3, signed=True)]
    parts += [interval(verdict.interval, signed=True)] if verdict.interval else []
    parts += [f"p {p_value(verdict.p_value)}"] if verdict.p_value is not None and verdict.beats else []
    return ", ".join(parts)


def _ranking(rows: Sequence[Row]) -> list[str]:
    judged = [(row, row.ranking_verdict) for row in rows if row.ranking_verdict is not None]
    if not judged:
        return []
    several = several_backbones(rows)
    winners = [short_title(row, backbone=several) for row, verdict in judged if verdict.beats]
    rival = prior_name(judged[0][1].prior)
    who = f"{len(winners)} of {len(judged)}" if winners else f"none of {len(judged)}"
    more = f"; and {len(winners) - 6} more" if len(winners) > 6 else ""
    names = f": {'; '.join(winners[:6])}{more}" if winners else ""
    return [f"Ranking ({METRIC_NAMES['ndcg']}): {who} above the best rival ({rival}){names}."]


def _incomplete(rows: Sequence[Row]) -> list[str]:
    def named(status: str, tell: Callable[[int], str]) -> list[str]:
        count = sum(row.status == status for row in rows)
        return [tell(count)] if count else []

    return [
        *named("partial", lambda count: f"{plural(count, 'row')} with fewer seeds than planned."),
        *named("not run", lambda count: f"{plural(count, 'row')} not run; the table says why."),
    ]
