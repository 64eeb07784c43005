"""The one training routine of all sequential baselines: Adam, a search over weight decay, early stopping.

Every weight decay starts from the same weights and sees the same batches. Which round of which weight decay is kept is
decided by AUC on validation (TALLRec §3.1.5), or nothing is selected (`BaselineConfig.selection`). A run is a function
of samples, configuration and seed.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.items import Histories, Places
from recalign.baselines.network import ItemFeatures, Network
from recalign.baselines.networks.dros import nominal_weights, robust_term
from recalign.errors import DataError
from recalign.metrics.classification import auc, undefined_reason
from recalign.models.onednn import computes_in_bf16
from recalign.seeding import derive_seed, generator

Lookup = Callable[[Places], ItemFeatures]
_VALIDATION_BATCH = 1024


@dataclass(frozen=True)
class SampleArrays:
    """Samples as arrays: histories, places of the targets in the catalogue, labels (0 or 1)."""

    histories: Histories
    targets: Places
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Round:
    """One round of training: epochs so far, loss of the last one, and validation AUC (None: nothing is validated)."""

    weight_decay: float
    epoch: int
    loss: float
    valid_auc: float | None


@dataclass(frozen=True)
class Fit:
    """A trained network in evaluation mode, and the whole search with its wall time.

    The weights are those of the round that was `kept`. Its AUC is measured in float32, as the network scores.
    """

    network: Network
    kept: Round
    log: tuple[Round, ...]
    seconds: float


def train(
    network: Network,
    samples: SampleArrays,
    validation: SampleArrays | None,
    config: BaselineConfig,
    lookup: Lookup,
    progress: Callable[[Round], None] | None = None,
) -> Fit:
    """Train `network` (fresh, on its device; in place) once per weight decay, and keep the best.

    `validation` selects; without it the last round of the only weight decay is kept. `progress` is told each round.

    Raises:
        DataError: Validation samples of one class, for which there is no AUC.
    """
    if validation is not None and (reason := undefined_reason(validation.labels)):
        raise DataError("validation samples", found=reason, expected="liked and disliked ones, or selection = 'last'")
    started = time.perf_counter()
    fresh = copy.deepcopy(network.state_dict())
    log: list[Round] = []
    kept: dict[float, tuple[Round, dict[str, Tensor]]] = {}  # of each weight decay its best round
    for weight_decay in config.weight_decays:
        network.load_state_dict(fresh)
        for done, better in _rounds(network, samples, validation, config, lookup, weight_decay):
            log.append(done)
            if progress is not None:
                progress(done)
            if better:
                kept[weight_decay] = done, copy.deepcopy(network.state_dict())
    # the first of equal ones, so that the result does not depend on how the search is written
    chosen, weights = max(kept.values(), key=lambda of_decay: of_decay[0].valid_auc or 0.0)
    network.load_state_dict(weights)
    network.eval()
    value = _validate(network, validation, lookup) if validation is not None else None
    return Fit(network, replace(chosen, valid_auc=value), tuple(log), time.perf_counter() - started)


def _rounds(
    network: Network,
    samples: SampleArrays,
    validation: SampleArrays | None,
    config: BaselineConfig,
    lookup: Lookup,
    weight_decay: float,
) -> Iterator[tuple[Round, bool]]:
    """Train with one weight decay; gives each round, and whether it is the best so far."""
    adam = torch.optim.Adam(network.parameters(), lr=config.lr, weight_decay=weight_decay)
    weights = nominal_weights(samples.targets.tolist(), config.popularity_power) if config.plugin.robust else None
    steps = math.ceil(len(samples) / config.batch_size)
    passes = math.ceil(config.eval_steps / steps)
    highest, since, done = -1.0, 0, 0
    while done * steps < config.max_steps and since < config.patience:
        losses = [_pass(network, samples, config, lookup, adam, weights, done + extra) for extra in range(passes)]
        done += passes
        if validation is None:
            yield Round(weight_decay, done, losses[-1], None), True
            continue
        with _arithmetic(network, config):
            value = _validate(network, validation, lookup)
        highest, since = (value, 0) if value > highest else (highest, since + 1)
        yield Round(weight_decay, done, losses[-1], value), since == 0


def _pass(
    network: Network,
    samples: SampleArrays,
    config: BaselineConfig,
    lookup: Lookup,
    adam: torch.optim.Optimizer,
    weights: Tensor | None,
    epoch: int,
) -> float:
    """One epoch; the mean objective of its batches."""
    device = next(network.parameters()).device
    order = generator(config.seed, "baseline", "order", epoch).permutation(len(samples))
    hide = generator(config.seed, "baseline", "hide", epoch)
    network.train()
    total = 0.0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(config.seed, "baseline", "dropout", epoch))
        for start in range(0, len(order), config.batch_size):
            rows = order[start : start + config.batch_size]
            histories, targets = samples.histories[rows], samples.targets[rows]
            with _arithmetic(network, config):
                states = network.states(_hidden(lookup(histories.items), hide, config), _on(histories.feedback, device))
                logits = network.logits(states, _hidden(lookup(targets), hide, config)).float()
            drawn = None if weights is None else weights[rows].to(device)
            loss = objective(logits, _on(samples.labels[rows], device), config, drawn)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            total += float(loss.detach()) * len(rows)
    network.eval()
    return total / len(order)


def _arithmetic(network: Network, config: BaselineConfig) -> torch.autocast:
    """bfloat16 where `BaselineConfig.precision` says so: nearly four times as fast for GRUs of 1024 units."""
    device = next(network.parameters()).device.type
    wanted = config.precision == "bf16" or (config.precision == "auto" and config.text and computes_in_bf16(device))
    return torch.autocast(device, torch.bfloat16, enabled=wanted)


def objective(logits: Tensor, labels: Tensor, config: BaselineConfig, weights: Tensor | None) -> Tensor:
    """Mean loss of a batch, with the robust term where there are `weights`. All of shape (n,); result a scalar."""
    if config.loss == "mse":
        losses = (torch.sigmoid(logits) - labels).square()
    else:
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    mean = losses.mean()
    return mean if weights is None else mean + config.robust_weight * robust_term(losses, weights, config.temperature)


def _hidden(items: ItemFeatures, draw: np.random.Generator, config: BaselineConfig) -> ItemFeatures:
    """Give a share of the items the row of unknown ones; their text stays."""
    if not config.unknown_share:
        return items
    keep = torch.from_numpy(draw.random(tuple(items.rows.shape)) >= config.unknown_share).to(items.rows.device)
    return ItemFeatures(items.rows * keep, items.text)


def _validate(network: Network, validation: SampleArrays, lookup: Lookup) -> float:
    value = auc(validation.labels, predict(network, validation.histories, validation.targets, lookup))
    assert value is not None, "train saw both classes"
    return value


def predict(network: Network, histories: Histories, targets: Places, lookup: Lookup) -> NDArray[np.float64]:
    """Log-odds of one target per history, shape (n,)."""
    device = next(network.parameters()).device
    logits = []
    with torch.inference_mode():
        for start in range(0, len(targets), _VALIDATION_BATCH):
            part = slice(start, start + _VALIDATION_BATCH)
            states = network.states(lookup(histories.items[part]), _on(histories.feedback[part], device))
            logits.append(network.logits(states, lookup(targets[part])).double().cpu().numpy())
    return np.concatenate(logits) if logits else np.empty(0)


def _on(values: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device)
