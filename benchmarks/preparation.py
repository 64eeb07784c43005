"""`prepare` from files on disk to the finished directory, on ratings in Netflix's shape: seconds, growth, peak memory.

The ratings are drawn: 480,000 users and 17,700 movies (whatever the number of ratings), a few of which have most of
the ratings, dates over six years, no pair twice. They are written as ``combined_data_*.txt`` and ``movie_titles.txt``
and read by the Netflix reader; every size is prepared in a process of its own, which reports its largest resident set.
Few rows are rendered (``max_rendered``), as their number does not grow and would make the growth look smaller than it
is.

    python benchmarks/preparation.py [--sizes 1e6,1e7,1e8] [--protocol leave-one-out] [--ml100k PATH] [--folder DIR]

With ``--ml100k`` (or RECALIGN_DATA) MovieLens-100K is prepared by protocol `tallrec`, in process, all rows rendered.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.seeding import generator

USERS, MOVIES = 480_000, 17_700
DAYS = 2_243  # from 1999-11-11 on, as in the Netflix Prize
BAR = 1.2


def write_ratings(folder: Path, ratings: int, seed: int = 0) -> int:
    """Write the files of a Netflix folder; return how many ratings they hold."""
    rng = generator(seed, "benchmark", "preparation")
    ids = np.sort(rng.choice(2_649_429, USERS, replace=False) + 1)
    activity = np.cumsum(rng.lognormal(0, 1.3, USERS))
    popularity = rng.lognormal(0, 1.9, MOVIES)
    counts = np.clip(ratings * popularity / popularity.sum(), 1, USERS // 2).astype(np.int64)
    # What the limit takes from the most popular movies goes to the others.
    while (missing := ratings - counts.sum()) > MOVIES:
        free = counts < USERS // 2
        counts[free] += (missing * popularity[free] / popularity[free].sum()).astype(np.int64) + 1
        counts = np.minimum(counts, USERS // 2)
    titles = "".join(f"{movie + 1},{1950 + movie % 56},Film {movie + 1}\n" for movie in range(MOVIES))
    (folder / "movie_titles.txt").write_text(titles, encoding="latin-1")
    for part, movies in enumerate(np.array_split(np.arange(MOVIES), 4), start=1):
        with (folder / f"combined_data_{part}.txt").open("w", encoding="ascii") as stream:
            stream.writelines(_lines(movies, counts, ids, activity, rng))
    return int(counts.sum())


def _lines(
    movies: np.ndarray, counts: np.ndarray, ids: np.ndarray, activity: np.ndarray, rng: np.random.Generator
) -> Iterator[str]:
    for group in np.array_split(movies, max(1, int(counts[movies].sum()) // 500_000)):
        users = [_audience(int(counts[movie]), activity, rng) for movie in group]
        rows = pl.DataFrame({"user": ids[np.concatenate(users)], "movie": np.repeat(group + 1, counts[group])})
        stars = rng.choice(5, len(rows), p=[0.05, 0.10, 0.29, 0.33, 0.23]) + 1
        days = pl.Series(rng.integers(0, DAYS, len(rows)), dtype=pl.Int32) + 10_906
        text = pl.concat_str("user", pl.Series("stars", stars), days.cast(pl.Date).alias("day"), separator=",")
        of_movie = rows.select("movie", text.alias("text")).group_by("movie", maintain_order=True)
        for movie, lines in of_movie.agg(pl.col("text").str.join("\n")).iter_rows():
            yield f"{movie}:\n{lines}\n"


def _audience(count: int, activity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`count` different users, active ones more often."""
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        drawn = np.searchsorted(activity, rng.random(count) * activity[-1], side="right")
        found = np.union1d(found, drawn)
    return rng.permutation(found)[:count]


def run(source: Path, output: Path, protocol: str) -> dict[str, Any]:
    """Prepare once, in this process."""
    config = PrepareConfig.build(dataset="netflix", input=source, output=output, protocol=protocol, max_rendered=1000)
    start, cpu = time.perf_counter(), time.process_time()
    prepare(config)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # KiB on Linux
        "bytes": sum(file.stat().st_size for file in output.iterdir()),
        "samples": json.loads((output / "manifest.json").read_bytes())["info"]["splits"]["train"]["samples"],
    }


def netflix_table(sizes: list[int], protocol: str, folder: Path | None) -> None:
    """Print a row per size."""
    print(f"\nNetflix's shape, protocol {protocol}, {pl.thread_pool_size()} threads")
    print(f"{'ratings':>12} {'seconds':>9} {'s per million':>14} {'growth':>7} {'peak GB':>8} {'output MB':>10}")
    first = 0.0
    for size in sizes:
        with TemporaryDirectory(dir=folder) as name:
            ratings = write_ratings(Path(name), size)
            command = [sys.executable, __file__, "--one", name, "--protocol", protocol]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        each = found["seconds"] / ratings * 1e6
        first = first or each
        growth = f"{each / first:.2f}" + ("" if each <= BAR * first else " !")
        print(
            f"{ratings:>12,} {found['seconds']:>9.1f} {each:>14.2f} {growth:>7} {found['memory'] / 1e9:>8.2f} "
            f"{found['bytes'] / 1e6:>10.0f}",
            flush=True,
        )
    print(f"growth: seconds per million against those of the first row; bar {BAR}")


def movielens_row(path: Path) -> None:
    """Print how long MovieLens-100K takes: the first time in this process, and the best of five after it."""
    seconds = []
    with TemporaryDirectory() as name:
        for turn in range(6):
            config = PrepareConfig.build(
                dataset="movielens-100k", input=path, output=Path(name) / str(turn), protocol="tallrec"
            )
            start = time.perf_counter()
            prepare(config)
            seconds.append(time.perf_counter() - start)
    print(f"MovieLens-100K, tallrec, 10,000 samples: first {seconds[0]:.2f} s, best of five {min(seconds[1:]):.2f} s")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1e6,1e7,1e8")
    parser.add_argument("--protocol", default="leave-one-out")
    parser.add_argument("--folder", type=Path, help="where the files are written; 6 GB for 1e8")
    parser.add_argument("--ml100k", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(run(given.one, given.one / "prepared", given.protocol)))
        return
    print(f"{platform.machine()}, polars {pl.__version__}, Python {platform.python_version()}")
    data = given.ml100k or (Path(os.environ["RECALIGN_DATA"]) / "ml-100k" if "RECALIGN_DATA" in os.environ else None)
    if data is not None:
        movielens_row(data)
    if sizes := [int(float(size)) for size in given.sizes.split(",") if size]:
        netflix_table(sizes, given.protocol, given.folder)


if __name__ == "__main__":
    main()
