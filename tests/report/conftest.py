"""A plausible study with everything in it that a report must cope with: made up, seeded, no real title or number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recalign.experiment.results import Results
from recalign.report import Report, write_report

HOSTILE = '<script>alert("x")</script>'
SEQUENTIAL = ("GRU4Rec", "Caser", "SASRec", "DROS", "GRU-BERT")
SHOTS = (16, 64, 256)


def measured(rng: np.random.Generator, mean: float, seeds: int = 5, half: float = 0.06) -> dict[str, Any]:
    sd = None if seeds == 1 else round(float(rng.uniform(0.002, 0.02)), 6)
    low, high = mean - half * float(rng.uniform(0.8, 1.1)), mean + half * float(rng.uniform(0.8, 1.1))
    return {"mean": mean, "sd": sd, "ci": [low, high], "n": seeds}


def metrics(
    rng: np.random.Generator, auc: float, seeds: int = 5, *, gauc: bool = True, ranked: bool = True
) -> dict[str, Any]:
    values = {
        "auc": measured(rng, auc, seeds),
        "gauc": {**measured(rng, 0.5 + (auc - 0.5) * 0.6, seeds), "counts": {"users": 16}} if gauc else None,
        "labelled-ndcg": measured(rng, 0.45 + auc * 0.4, seeds) if gauc else None,
        "logloss": measured(rng, 0.98 - auc * 0.5, seeds, 0.03),
        "ece": measured(rng, float(rng.uniform(0.02, 0.15)), seeds, 0.02),
        "ndcg": measured(rng, 0.05 + (auc - 0.4) * 0.5, seeds, 0.02) if ranked else None,
        "recall": measured(rng, 0.12 + (auc - 0.4) * 0.8, seeds, 0.03) if ranked else None,
        "mrr": measured(rng, 0.06 + (auc - 0.4) * 0.3, seeds, 0.02) if ranked else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def verdict(rng: np.random.Generator, difference: float, prior: str = "prior:like-rate+item-mean") -> dict[str, Any]:
    half = float(rng.uniform(0.01, 0.03))
    span = [difference - half, difference + half]
    p = min(1.0, math.exp(-abs(difference) / half * 3))
    return {"prior": prior, "difference": difference, "interval": span, "p_value": p, "beats": span[0] > 0}


def bins(rng: np.random.Generator, tilt: float) -> list[dict[str, Any]]:
    where = np.linspace(0.05, 0.95, 10)
    share = np.clip(0.5 + (where - 0.5) * tilt + rng.normal(0, 0.04, 10), 0, 1)
    return [
        {"predicted": float(x), "observed": float(y), "count": int(rng.integers(20, 900))}
        for x, y in zip(where, share, strict=True)
    ]


def training(rng: np.random.Generator, stage: str, seeds: int = 3, *, validated: bool = True) -> list[dict[str, Any]]:
    curves = []
    for seed in range(seeds):
        steps = range(20, 401, 20)
        points = [
            {
                "step": step,
                "loss": 0.55 + 0.3 * math.exp(-step / 90) + float(rng.normal(0, 0.012)),
                "validation": 0.72 - 0.2 * math.exp(-step / 120) + float(rng.normal(0, 0.006))
                if validated and step % 60 == 0
                else None,
            }
            for step in steps
        ]
        curves.append({"seed": seed, "stage": stage, "points": points})
    return curves


def row(model: str, kind: str, values: dict[str, Any], **more: Any) -> dict[str, Any]:
    defaults = {
        "backbone": "", "shots": None, "control": "", "seeds": [0, 1, 2, 3, 4], "status": "done", "reason": "",
        "published": {}, "verdicts": {}, "reliability": [], "user_auc": [],
        "training": [],
    }  # fmt: skip
    return {"model": model, "kind": kind, "metrics": values, **defaults, **more}


def users(rng: np.random.Generator, centre: float, count: int) -> list[float]:
    return [float(value) for value in np.clip(rng.normal(centre, 0.16, count), 0, 1)]


def compared(a: str, b: str, metric: str, difference: float, interval: Any, p_value: float | None) -> dict[str, Any]:
    return {"a": a, "b": b, "metric": metric, "difference": difference, "interval": interval, "p_value": p_value}


def panel(rng: np.random.Generator, name: str, title: str, *, gauc: bool, scale: float) -> dict[str, Any]:
    rows = []
    priors = (
        ("prior:like-rate", 0.726),
        ("prior:item-mean", 0.678),
        ("prior:popularity", 0.525),
        ("prior:like-rate+item-mean", 0.7642),
    )
    for prior, auc in priors:
        values = metrics(rng, auc, 1, gauc=gauc)
        rows.append(row(prior, "prior", values, seeds=[], user_auc=users(rng, auc - 0.1, 16) if gauc else []))
    for order, model in enumerate(SEQUENTIAL):
        for shots in SHOTS:
            auc = 0.5 + 0.01 * order + 0.012 * math.log2(shots / 8) + float(rng.normal(0, 0.01))
            if model == "GRU-BERT":
                rows.append(
                    row(model, "baseline", {}, shots=shots, seeds=[], status="not run", reason="text encoder not given")
                )
                continue
            rows.append(
                row(model, "baseline", metrics(rng, auc, gauc=gauc), shots=shots,
                    published={"auc": 0.5 + 0.01 * order, "ndcg": 0.52},
                    verdicts={"auc": verdict(rng, auc - 0.7642), "ndcg": verdict(rng, -0.02, "prior:popularity")},
                    reliability=bins(rng, 0.2), user_auc=users(rng, auc, 16) if gauc else [],
                    training=training(rng, "baseline", validated=False) if shots == 256 else [])
            )  # fmt: skip
    for order, model in enumerate(("TALLRec", "TLRec")):
        for shots in (None, *SHOTS):
            auc = 0.70 + 0.03 * order + scale * math.log2((shots or 8) / 8) + float(rng.normal(0, 0.004))
            values = metrics(rng, auc, gauc=gauc)
            values["unseen-auc"] = measured(rng, auc - 0.03)
            status = "partial" if shots == 256 and order else "done"
            rows.append(
                row(model, "tuned", values, backbone="nano", shots=shots, status=status,
                    verdicts={"auc": verdict(rng, auc - 0.7642), "ndcg": verdict(rng, 0.04, "prior:popularity")},
                    reason="3 of 5 seeds" if status == "partial" else "",
                    published={"auc": 0.6748, "ndcg": 0.5892} if shots else {}, reliability=bins(rng, 0.9),
                    user_auc=users(rng, auc, 16) if gauc else [],
                    training=[*training(rng, "instruction tuning", 1, validated=False),
                              *training(rng, "rec-tuning, source"), *training(rng, f"target, {shots}")])
            )  # fmt: skip
    for control, loss in (("shuffled-history", 0.002), ("foreign-history", 0.17), ("masked-titles", 0.06)):
        rows.append(
            row("TLRec", "tuned", metrics(rng, 0.77 - loss, gauc=gauc), backbone="nano", shots=64, control=control)
        )
    broken = {"auc": measured(rng, 0.55, 1) | {"sd": None, "ci": None}}
    rows.append(
        row(
            f"In-context {HOSTILE} $x^2$",
            "in-context",
            broken,
            backbone="nano",
            seeds=[0],
            reason="few & <b>bold</b>",
        )
    )
    comparisons = [
        compared("TLRec, nano, 64-shot", "TALLRec, nano, 64-shot", "auc", 0.031, [0.01, 0.052], 0.0004),
        compared("TLRec, nano, 16-shot", f"In-context {HOSTILE}", "ndcg", -0.0012, [-0.02, 0.018], 0.81),
        compared("TLRec, nano, 16-shot", "TLRec, nano", "auc", 0.0, None, None),
    ]
    return {
        "name": name, "title": title, "data": name, "split": "test", "n": 1000, "n_users": 16 if gauc else 943,
        "positive_share": 0.528, "rows": rows, "comparisons": comparisons,
        "learned": {"fit": "source", "interactions": [1321]},
        "ranked": {"negatives": 50, "lists": 459, "users": 459, "fingerprints": ["0123456789abcdef"]},
        "unseen": {"count": 212, "data": ["source"]},
    }  # fmt: skip


def backbone_rows(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for order, backbone in enumerate(("nano-llama", "nano-qwen3", "nano-gpt2", "nano-mistral")):
        for shots in (None, 64):
            auc = 0.68 + 0.015 * order + (0.02 if shots else 0)
            rows.append(
                row(
                    "TLRec small",
                    "tuned",
                    metrics(rng, auc),
                    backbone=backbone,
                    shots=shots,
                    verdicts={"auc": verdict(rng, auc - 0.7642)},
                )
            )
    return rows


def fake_results(seed: int = 0) -> dict[str, Any]:
    """The document, as a dictionary."""
    rng = np.random.default_rng(seed)
    movie = panel(rng, "movie", "Movie, published test", gauc=True, scale=0.012)
    movie["rows"] += backbone_rows(rng)
    loo = panel(rng, "movie-loo", "Movie, leave-one-out", gauc=False, scale=0.008)

    def figure(kind: str, title: str, models: list[str], **more: Any) -> dict[str, Any]:
        return {
            "kind": kind,
            "title": title,
            "panel": "movie",
            "metric": "auc",
            "models": models,
            "shots": None,
            **more,
        }

    ours = ["TLRec", "TALLRec"]
    figures = [
        figure("shots", "Fig. 4: few-shot tuning", ours),
        figure("shots", "Fig. 4: with baselines", [*ours, *SEQUENTIAL]),
        figure("bars", "Fig. 2: ablation at 64 shots", [*ours, *SEQUENTIAL, "prior:like-rate", "absent"], shots=64),
        figure("backbones", "Fig. 3: backbones", ["TLRec small"]),
        figure("bars", "Ranking", ours, panel="movie-loo", metric="ndcg"),
        figure("bars", f"Of nothing {HOSTILE}", ours, panel="nowhere"),
    ]
    return {
        "format_version": 2, "name": "fake", "title": f"A made-up study {HOSTILE}", "paper": "tlrec-table1",
        "description": "TLRec and TALLRec on generated numbers, beside baselines and priors. Nothing was measured.",
        "commands": ["recalign run runs/fake.toml --jobs 2", "recalign report runs/fake"],
        "versions": {"recalign": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        "machine": {"cpu": f"made-up {HOSTILE}", "cores": 2, "system": "Linux 6.1"},
        "finished": "2026-01-02T15:00:00+00:00", "cpu_hours": 1.2345,
        "missing": [
            {"job": "stage it, seed 3", "status": "failed", "reason": f"out of memory {HOSTILE}"},
            {"job": "rec-tuning, 256-shot, seed 4", "status": "skipped", "reason": "its parent failed"},
            {"job": "gru-bert", "status": "not run", "reason": "text encoder not given"},
        ],
        "panels": [movie, loo], "figures": figures,
        "audit": {
            "movie": [
                {"check": "user-overlap", "severity": "warning", "text": "2 of 16 test users are in the train split"},
                {"check": "label-words", "severity": "info", "text": f"3 titles hold a label word: {HOSTILE} \u202e"},
            ],
            "book": [],
        },
        "settings": f'name = "fake"\n\n[data.movie]\n  # {HOSTILE}\n  protocol = "tallrec"\n',
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    """The made-up study, to be changed by a test."""
    return fake_results()


@pytest.fixture
def results(document: dict[str, Any]) -> Results:
    """The same, validated."""
    return Results.model_validate(document)


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an experiment with the made-up study."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "results.json").write_text(json.dumps(fake_results()), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def written(experiment: Path) -> Report:
    """Its report."""
    return write_report(experiment)
