"""DROS (Yang et al. 2023): GRU4Rec, with the worst case over a ball of item distributions in the objective.

Popularity shifts between training and use. Over all distributions Q of items within a Kullback-Leibler ball around a
nominal P, the worst expected loss has the dual (Hu & Hong 2013; DROS §3.2)

    sup { E_Q[l] : KL(Q || P) <= eta }  =  min over beta > 0 of  beta log E_P[exp(l / beta)] + beta eta,

and with a fixed beta, as in the authors' code, the training objective is

    L  =  mean_b l_b  +  alpha * beta log E_P[exp(l / beta)].

P is popularity to a power gamma, P(i) ~ (c_i + 1)^gamma for an item that is the target of c_i training samples (gamma =
0.5 in the authors' code with squared error, alpha unpublished): flatter than the training data, so rare items count.
The authors sum over all items, with the target 0 for all but the observed one. Here an item that was not asked about is
not disliked, so the expectation runs over the labelled targets of a batch b, which are drawn from the training data and
therefore weighted w_b = P(i_b) / c_{i_b}:

    E_P[exp(l / beta)]  ~  sum_b w_b exp(l_b / beta) / sum_b w_b.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from recalign.baselines.networks.gru4rec import PLUGIN as GRU4REC

PLUGIN: Final = replace(GRU4REC, title="DROS", robust=True)


def nominal_weights(targets: Sequence[Hashable], power: float) -> Tensor:
    """Weight w of each training sample, by its target; scaled to mean 1. Shape (n,)."""
    counts = Counter(targets)
    weights = torch.tensor([(counts[item] + 1) ** power / counts[item] for item in targets], dtype=torch.float32)
    return weights / weights.mean()


def robust_term(losses: Tensor, weights: Tensor, beta: float) -> Tensor:
    """beta log E_P[exp(l / beta)], between the weighted mean of the losses and their largest.

    Losses and weights (see `nominal_weights`) have shape (n,); `beta` is above 0.
    """
    return beta * (torch.logsumexp(losses / beta + weights.log(), dim=0) - weights.sum().log())
