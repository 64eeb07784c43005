"""Caser (Tang & Wang 2018): the history as an image, read by horizontal and vertical convolutions.

A horizontal filter spans h consecutive entries and all of their width; its largest answer over time is kept (eq. 4-6).
A vertical filter is one weighted sum over time (eq. 7-9). A dense layer joins both (eq. 10). Caser's user embedding is
left out: the users who are scored were not trained on.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BaselinePlugin


class Caser(nn.Module):
    """Convolutions over histories of `length` entries of width `inputs`, with a state of `width`.

    There are `filters` horizontal filters of each of the `heights`; a height above `length` is cut to it.
    """

    def __init__(
        self, inputs: int, length: int, width: int, filters: int, heights: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        # a filter over all of an entry's width is a one-dimensional convolution with `inputs` channels
        self.horizontal = nn.ModuleList(nn.Conv1d(inputs, filters, min(height, length)) for height in heights)
        self.vertical = nn.Linear(length, 1)
        self.dense = nn.Linear(filters * len(heights) + inputs, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, entries: Tensor) -> Tensor:
        """(n, length, inputs) to (n, width)."""
        image = entries.transpose(1, 2).contiguous()
        answers = [torch.relu(convolution(image)).amax(dim=-1) for convolution in self.horizontal]
        answers.append(self.vertical(image).squeeze(-1))
        return torch.relu(self.dense(self.dropout(torch.cat(answers, dim=-1))))


def _encoder(config: BaselineConfig, inputs: int) -> Caser:
    return Caser(inputs, config.max_history, config.state_width, config.filters, config.heights, config.dropout)


PLUGIN: Final = BaselinePlugin(title="Caser", encoder=_encoder)
