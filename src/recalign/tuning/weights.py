"""The weights that a training changes, by name: to copy them, and to put values back into them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def copy_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values that stay as they are now, whatever becomes of `weights`."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


@torch.no_grad()
def load_weights(trained: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Put values into weights in place."""
    for name, tensor in trained.items():
        tensor.copy_(values[name])


@torch.no_grad()
def add_to_mean(mean: Mapping[str, Tensor], weights: Mapping[str, Tensor], count: int) -> None:
    """Make the mean of ``count - 1`` models that of `count`, in place, with the weights of one more."""
    for name, average in mean.items():
        average.lerp_(weights[name], 1 / count)
