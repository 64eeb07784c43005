"""Bulk scoring on a cluster: its tasks are the workers, and each makes some shards.

What a task does is what a worker does that was started by hand: the same claims, manifests and renames. So tasks that
are begun again, two clusters, and workers beside a cluster end with the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from dataclasses import dataclass
from typing import Final

from recalign.bulk.output import Job, Output
from recalign.bulk.places import Place, at_hand
from recalign.bulk.request import Request, Share
from recalign.bulk.score import Scored, Worker, job_of
from recalign.engines import Cluster
from recalign.errors import ArtifactError, Interrupted
from recalign.recommender import Progress, Recommender

_ROUNDS: Final = 4  # tasks of each worker: enough that all end at about the same time, and the input is read as often
_WATCH_SECONDS: Final = 0.5


@dataclass(frozen=True)
class ShardWork:
    """What a task has to know.

    Attributes:
        load: Makes the recommender; called once in a process.
        request, output: See `recalign.bulk.score.score_users`.
        job: What decides the scores, as it was when the work was begun.
    """

    load: Callable[[], Recommender]
    request: Request
    output: Place
    job: Job


_loaded: tuple[str, Recommender] | None = None  # in a process of a cluster: of the job that it works on


def make_shards(work: ShardWork, shards: Sequence[int]) -> None:
    """Make those shards that are not there: the body of a task. Raises what `score_users` raises."""
    global _loaded
    if _loaded is None or _loaded[0] != work.job.fingerprint:
        _loaded = work.job.fingerprint, work.load()
    output = Output.open(work.output, work.job, work.request.shards)
    if missing := output.missing(shards):
        with at_hand(work.request.users, work.request.pairs) as tables:
            Worker(_loaded[1], work.request, tables, output, shards).make(missing)


def spread_users(
    cluster: Cluster,
    load: Callable[[], Recommender],
    request: Request,
    output: Place,
    *,
    model: dict[str, str],
    indexed: bool,
    gpus: int = 0,
    share: Share = Share(),
    restart: bool = False,
    signals: Sequence[int] = (),
    progress: Progress | None = None,
) -> Scored:
    """Score all users of a table by tasks of one core each, or go on with it.

    Args:
        cluster: Where the tasks run.
        load: Makes the recommender in the process of a task.
        indexed: Whether that recommender has an index.
        gpus: How many of them a task takes.
        request, output, model, share, restart: See `recalign.bulk.score.score_users`.
        signals: Numbers of the signals that came; then the tasks are stopped.
        progress: Told of shards done, of all that have to be made.

    Raises what `score_users` raises, and ArtifactError where the processes of a task die again and again.
    """
    with at_hand(request.users, request.pairs) as tables:
        job = job_of(request, tables, model, indexed=indexed)
    result = Output.open(output, job, request.shards, restart=restart)
    own = share.of_all(request.shards)
    missing = result.missing(own)
    work = ShardWork(load, request, output, job)
    size = max(1, len(missing) // (_ROUNDS * (cluster.gpus // gpus if gpus else cluster.cores)))
    groups = [tuple(missing[start : start + size]) for start in range(0, len(missing), size)]
    running = {cluster.submit(1, gpus, make_shards, work, shards): shards for shards in groups}
    try:
        while running:
            for ended in wait(running, _WATCH_SECONDS, FIRST_COMPLETED).done:
                del running[ended]
                ended.result()
            left = sum(map(len, running.values()))
            if progress is not None:
                progress(len(missing) - left, len(missing))
            if signals:
                cluster.cancel()
                there = len(own) - len(result.missing(own))
                where = f"scoring into {output} stopped with {there} of {len(own)} shards made"
                raise Interrupted(signals[0], where)
    except BrokenExecutor as error:
        hint = "Where memory ran out, more --shards need less of it"
        raise ArtifactError(f"{output} is not whole", found=f"a task without end: {error}", hint=hint) from None
    finally:
        cluster.cancel()
    return Scored.of(result, own)
