"""The numbers that the papers print: TALLRec's Table 2 and TLRec's Table 1. Their figures print none.

The keys are (panel, model, shots). TALLRec's AUCs are printed times 100.
"""

from __future__ import annotations

from typing import Final

SHOTS: Final = (16, 64, 256)
PAPERS: Final = (
    "",
    "tallrec-table2",
    "tallrec-fig3",
    "tallrec-fig4",
    "tallrec-fig5",
    "tlrec-table1",
    "tlrec-fig2",
    "tlrec-fig3",
)

_TALLREC: Final[dict[str, dict[str, tuple[float, float, float]]]] = {
    "movie": {
        "GRU4Rec": (49.07, 49.87, 52.89),
        "Caser": (49.68, 51.06, 54.20),
        "SASRec": (50.43, 50.48, 52.25),
        "DROS": (50.76, 51.54, 54.07),
        "GRU-BERT": (50.85, 51.65, 53.44),
        "DROS-BERT": (50.21, 51.71, 53.94),
        "TALLRec": (67.24, 67.48, 71.98),
    },
    "book": {
        "GRU4Rec": (48.95, 49.64, 49.86),
        "Caser": (49.84, 49.72, 49.57),
        "SASRec": (49.48, 50.06, 50.20),
        "DROS": (49.28, 49.13, 49.13),
        "GRU-BERT": (50.07, 49.64, 49.79),
        "DROS-BERT": (50.07, 48.98, 50.20),
        "TALLRec": (56.36, 60.39, 64.38),
    },
}

# AUC and NDCG@10, as printed. What lists its NDCG@10 ranks is not said; over 51 candidates a random ranker has 0.089.
_TLREC: Final[dict[str, dict[str, tuple[tuple[float, float], ...]]]] = {
    "movie": {
        "SASRec": ((0.5043, 0.5235), (0.5048, 0.5302), (0.5225, 0.5519)),
        "DROS": ((0.5076, 0.5336), (0.5154, 0.5225), (0.5407, 0.5660)),
        "DROS-BERT": ((0.5021, 0.5327), (0.5171, 0.5348), (0.5394, 0.5663)),
        "TALLRec": ((0.6724, 0.5760), (0.6748, 0.5892), (0.7198, 0.6002)),
        "TLRec": ((0.7262, 0.6038), (0.7304, 0.6229), (0.7411, 0.6567)),
    },
    "book": {
        "SASRec": ((0.4948, 0.4756), (0.5006, 0.4883), (0.5020, 0.4961)),
        "DROS": ((0.4928, 0.4801), (0.4913, 0.4889), (0.4913, 0.4921)),
        "DROS-BERT": ((0.5007, 0.4824), (0.4898, 0.4991), (0.5020, 0.5116)),
        "TALLRec": ((0.5636, 0.5118), (0.6039, 0.5220), (0.6438, 0.5545)),
        "TLRec": ((0.6414, 0.5431), (0.6426, 0.5780), (0.6592, 0.5997)),
    },
}


def published(paper: str, panel: str, model: str, shots: int | None) -> dict[str, float]:
    """The paper's "auc" (and "ndcg") for a cell of its table; empty where it prints none.

    Args:
        paper: One of `PAPERS`.
        panel: "movie" or "book", the papers' test sets; others have no published numbers.
        model: Name of the row, as in the paper's table.
        shots: K.
    """
    if shots not in SHOTS:
        return {}
    place = SHOTS.index(shots)
    if paper == "tallrec-table2" and model in _TALLREC.get(panel, {}):
        return {"auc": round(_TALLREC[panel][model][place] / 100, 4)}
    if paper == "tlrec-table1" and model in _TLREC.get(panel, {}):
        auc, ndcg = _TLREC[panel][model][place]
        return {"auc": auc, "ndcg": ndcg}
    return {}
