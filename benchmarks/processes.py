"""Tuning in several processes: steps a second against one process, each of one thread.

Prints the ratio, and exits with 1 where it is below `--at-least`. The figure means something only on a machine with as
many idle cores as processes. The backbone has the shape of nano (and is not pretrained), the data are generated.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

# Before torch is loaded, here and in the processes. Tokenizers would take every core of the machine otherwise.
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

import torch

from recalign import prepare, tune
from recalign.experiment.progress import Progress, Reporter

NANO = {"steps": 1, "instructions": 50, "batch_tokens": 1024}
OPTIM = {"warmup_steps": 1}


class Clock(Reporter):
    """When each step was told of."""

    def __init__(self) -> None:
        self.steps: dict[int, float] = {}

    def task(self, name: str, unit: str = "steps") -> Progress:
        def show(done: int, total: int, facts: str) -> None:
            if not name.startswith("pretraining"):
                self.steps[done] = time.perf_counter()

        return show

    def rate(self) -> float:
        """Steps a second between the first and the last that were told of, without the start of the processes."""
        first, last = min(self.steps), max(self.steps)
        return (last - first) / (self.steps[last] - self.steps[first])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--mode", choices=["lora", "full"], default="full")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=1.6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"max_steps": options.steps, "batch_size": options.batch_size, "mode": options.mode}
    settings |= {"precision": "fp32", "nano": NANO, "optim": OPTIM}
    rates: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RECALIGN_CACHE"] = str(folder / "cache")
        prepare("synthetic", folder / "data", users=200, items=200, ratings_per_user=30, seed=0)
        for repeat in range(options.repeats):  # in turns, so that other work on the machine meets both
            for processes in (1, options.processes):
                clock = Clock()
                model = folder / f"model-{processes}-{repeat}"
                tune([folder / "data"], model, settings=settings, processes=processes, reporter=clock)
                rates[processes] = max(rates.get(processes, 0.0), clock.rate())
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    print(f"{options.mode}, {options.batch_size} prompts a step; the faster of {options.repeats} runs")
    for processes, rate in rates.items():
        print(f"{processes} processes of one thread: {rate:.2f} steps/s, {rate * options.batch_size:.0f} samples/s")
    ratio = rates[options.processes] / rates[1]
    print(f"{options.processes} processes are {ratio:.2f} times as fast as one")
    sys.exit(ratio < options.at_least)


if __name__ == "__main__":
    main()
