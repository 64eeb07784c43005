"""Batches made ahead are those of the source."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

import pytest
import torch

from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import Tree, grow_tree
from recalign.tuning.ahead import made_ahead
from recalign.tuning.sources import Share, everything

CPU, GPU = torch.device("cpu"), torch.device("meta")  # any other device than a CPU


class Source:
    """Trees that tell the step; notes which thread asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def batch(self, step: int, share: Share = everything) -> Sequence[Tree]:
        self.asked.append((step, threading.current_thread() is threading.main_thread()))
        if step == 3:
            raise ValueError("no third step")
        prompts = [EncodedPrompt((step, place, 9), (-100,) * 3, 3) for place in range(4)]
        return [grow_tree([prompts[place]]) for place in share([3] * 4)]


def odd(sizes: Sequence[int]) -> Sequence[int]:
    return range(1, len(sizes), 2)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_batches_are_those_of_the_source_in_any_order(device: torch.device) -> None:
    plain, source = Source(), Source()
    with made_ahead(source, device) as ahead:
        for step, share in ((0, odd), (1, odd), (7, everything), (2, odd), (2, everything)):
            assert ahead.batch(step, share) == plain.batch(step, share)
            ahead.begin(step + 1 if step != 2 else 5, share)
            ahead.settle()


def test_on_a_gpu_each_is_made_once_and_by_another_thread() -> None:
    source = Source()
    before = sys.getswitchinterval()
    with made_ahead(source, GPU) as ahead:
        for step in range(3):
            ahead.batch(step)
            if step < 2:
                ahead.begin(step + 1, everything)
    assert source.asked == [(0, True), (1, False), (2, False)]
    assert sys.getswitchinterval() == before


def test_on_a_cpu_nothing_is_made_before_it_is_asked_for() -> None:
    source = Source()
    with made_ahead(source, CPU) as ahead:
        ahead.batch(0)
        ahead.begin(1, everything)
        ahead.settle()
    assert source.asked == [(0, True)]


def test_an_error_is_raised_where_the_batch_is_taken() -> None:
    with made_ahead(Source(), GPU) as ahead:
        ahead.begin(3, everything)
        ahead.settle()
        with pytest.raises(ValueError, match="no third step"):
            ahead.batch(3)
