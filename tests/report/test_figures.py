"""Figures: which rows they show, what they say in words, and that odd data still draws."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.evaluation import document as documents
from recalign.evaluation.document import Curve, Panel
from recalign.evaluation.panel import best_prior
from recalign.experiment.results import Figure, Results
from recalign.report import canvas
from recalign.report.canvas import DARK, LIGHT, SAVED
from recalign.report.charts import Bar, Reference, Series, draw_bars, draw_shots, spread, wrapped
from recalign.report.diagnostics import draw_reliability, draw_training, draw_users
from recalign.report.figures import Plot, _stage, bar_rows, plots, shot_lines


def by_title(results: Results) -> dict[str, Plot]:
    return {plot.title: plot for plot in plots(results)}


def test_bars_are_the_rows_at_their_shots(results: Results) -> None:
    figure, panel = results.figures[2], results.panels[0]
    rows = bar_rows(panel, figure)
    assert [(row.model, row.shots) for row in rows][:2] == [("TLRec", 64), ("TALLRec", 64)]
    assert rows[-1].kind == "prior"
    assert not any(row.control for row in rows)
    plot = by_title(results)[figure.title]
    assert "GRU-BERT –" in plot.alt
    assert "absent –" in plot.alt
    assert "Dashed: best prior: like-rate+item-mean (0.7642)." in plot.caption


def test_lines_are_in_the_order_of_k_with_what_has_none_apart(results: Results) -> None:
    panel = results.panels[0]
    lines = shot_lines(panel, results.figures[0])
    assert [[k for k, _, _ in line.points] for line in lines] == [[16, 64, 256]] * 2
    without = {row.model: row.mean("auc") for row in panel.plain_rows if row.shots is None}
    assert [line.level for line in lines] == [without[line.label] for line in lines]
    alt = by_title(results)["Fig. 4: few-shot tuning"].alt
    assert re.search(r"TLRec: K=16 0\.\d+, K=64 0\.\d+, K=256 0\.\d+, without K 0\.\d+", alt)


def test_backbones_are_groups(results: Results) -> None:
    alt = by_title(results)["Fig. 3: backbones"].alt
    assert len(re.findall("TLRec small, no K", alt)) == len(re.findall("TLRec small, 64-shot", alt)) == 4


def test_what_cannot_be_drawn_says_why(results: Results) -> None:
    plot = next(plot for plot in plots(results) if plot.title.startswith("Of nothing"))
    assert plot.draw is None
    assert "no panel nowhere" in plot.caption
    figure = Figure(kind="shots", title="none", panel="movie", models=("nobody",))
    (empty, *_) = plots(results.model_copy(update={"figures": (figure,)}))
    assert empty.draw is None
    assert "none of its models has a result" in empty.caption


def test_the_best_prior_is_that_of_the_metric(results: Results) -> None:
    panel: Panel = results.panels[0]
    found = best_prior(panel.rows, "auc")
    assert found is not None
    assert found.model == "prior:like-rate+item-mean"
    assert best_prior((), "auc") is None


def test_training_is_shown_once_though_the_model_stands_in_two_panels(results: Results) -> None:
    plot = next(plot for plot in plots(results) if plot.place == "training")
    assert plot.alt.count("TLRec, 256-shot: rec-tuning, source") == 1


@pytest.mark.parametrize(
    ("stage", "seed", "name"),
    [
        ("few-8shot-seed1 fold 0", 1, "few-8shot fold 0"),
        ("few-seed12", 1, "few-seed12"),
        ("source", 0, "source"),
        ("seed0", 0, "stage"),
    ],
)
def test_seeds_of_a_stage_share_a_plot(stage: str, seed: int, name: str) -> None:
    assert _stage(Curve(seed=seed, stage=stage, points=())) == name


def test_undefined_values_are_not_drawn(document: dict[str, Any]) -> None:
    for row in document["panels"][0]["rows"]:
        if row["metrics"].get("auc"):
            row["metrics"]["auc"] = {"mean": math.nan, "sd": None, "ci": [math.nan, 1.0], "n": 1}
    found = by_title(Results.model_validate(document))
    assert found["Fig. 4: few-shot tuning"].draw is None
    bars = found["Fig. 2: ablation at 64 shots"]
    assert bars.draw is not None
    canvas.render(bars.draw, "x")


ODD = ["$x^2$", "_hidden", "<b>&amp;", 'id="x" url(#y) #010101', "映画", "a" * 200, ""]


@pytest.mark.parametrize("label", ODD)
def test_labels_are_text_whatever_they_are(label: str) -> None:
    drawing = canvas.render(lambda theme: draw_bars([Bar(label, 0.6)], theme, axis="AUC", start=0.5), "fig-x")
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", drawing.inline)
    escaped = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert not label or any(wrapped(escaped, 34).startswith(text[:20]) for text in shown if text)
    assert "<b>" not in drawing.inline


@pytest.mark.parametrize("values", [[0.5], [0.5] * 8, [0.2, 0.8]])
def test_a_figure_of_one_point_or_of_equal_values_draws(values: list[float]) -> None:
    series = [Series(f"m{n}", ((16, value, None),)) for n, value in enumerate(values)]
    canvas.render(lambda theme: draw_shots(series, theme, axis="AUC"), "a")
    levels = [Series("m", (), 0.5)]
    canvas.render(lambda theme: draw_shots(levels, theme, axis="AUC", reference=Reference("p", 0.5)), "b")


def test_ticks_of_a_narrow_range_are_told_apart() -> None:
    series = [Series("m", ((16, 0.76391, None), (64, 0.76402, None)))]
    shown = re.findall(
        r"<text[^>]*>(0\.\d+)</text>", canvas.render(lambda t: draw_shots(series, t, axis="AUC"), "a").inline
    )
    assert len(shown) >= 2
    assert len(shown) == len(set(shown))


def test_curves_without_points_draw() -> None:
    canvas.render(lambda theme: draw_training([("m", ())], theme), "a")
    canvas.render(lambda theme: draw_users([("m", (math.nan,)), ("n", (0.5,))], theme), "b")


def test_nothing_of_a_drawing_stays_behind() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    canvas.render(lambda theme: draw_bars([Bar("m", 0.6)], theme, axis="AUC", start=0.5), "x")
    assert dict(matplotlib.rcParams) == before


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.2)), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_labels_do_not_overlap(wanted: list[tuple[float, float]]) -> None:
    ordered = np.array(sorted(wanted))
    places = spread(ordered[:, 0], ordered[:, 1], 0.0, 1.0)
    edges = [(place - height / 2, place + height / 2) for place, height in zip(places, ordered[:, 1], strict=True)]
    assert all(upper <= lower + 1e-9 for (_, upper), (lower, _) in itertools.pairwise(edges))
    if ordered[:, 1].sum() <= 1:
        assert edges[0][0] >= -1e-9
        assert edges[-1][1] <= 1 + 1e-9


def test_labels_with_room_stay_where_they_want_to_be() -> None:
    places = spread(np.array([0.2, 0.5, 0.8]), np.full(3, 0.1), 0.0, 1.0)
    np.testing.assert_allclose(places, [0.2, 0.5, 0.8])


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast_4_5_and_lines_3(palette: dict[str, str]) -> None:
    assert list(palette) == list(LIGHT)
    for background in ("paper", "raised"):
        for role in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(palette[role], palette[background]) >= 4.5, role
    for role in palette:
        if role.startswith("series-"):
            assert contrast(palette[role], palette["paper"]) >= 3.0, role


def test_saved_figures_are_light() -> None:
    assert SAVED.background == "#ffffff"


def test_a_legend_stands_where_there_is_more_than_one_k() -> None:
    bins = (documents.Bin(predicted=0.4, observed=0.5, count=9),)
    for curves, names in (([(None, bins)], []), ([(None, bins), (64, bins)], ["no K", "K = 64"])):
        figure = draw_reliability([("m", curves)], SAVED)
        assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == names


def test_a_stage_that_is_called_like_its_model_is_named_once(document: dict[str, Any]) -> None:
    row = document["panels"][0]["rows"][-1]
    row["training"] = [{"seed": 0, "stage": row["model"], "points": [{"step": 1, "loss": 0.5}]}]
    document["panels"] = [{**document["panels"][0], "rows": [row]}]
    document["figures"] = []
    plot = next(plot for plot in plots(Results.model_validate(document)) if plot.place == "training")
    assert f"{row['model']}: {row['model']}" not in plot.alt
