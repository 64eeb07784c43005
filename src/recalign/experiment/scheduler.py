"""Jobs spread over processes: each as soon as what it needs is there, failures kept apart and listed.

A worker is a process of its own with one job at a time; one that dies (killed, out of memory) fails its job, and
another takes its place. A worker whose parent is gone ends, so that nothing goes on working in the store unseen.
SIGINT and SIGTERM are passed on: training saves a checkpoint, any other job stops where it is and is done again later.
What a worker tells of its progress comes through a pipe of its own, so one that dies disturbs no other.

On a Ray cluster jobs are tasks instead. A task whose process died is begun again; progress inside jobs is not told.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Literal

from recalign.engines import Cluster
from recalign.errors import Interrupted, RecalignError
from recalign.experiment.progress import PipeReader, PipeReporter, Reporter
from recalign.experiment.store import Cost, Job, Store
from recalign.experiment.worker import WATCH_SECONDS, enter_worker, machine_kind

_told: Event | None = None  # in a worker: whether it was told to stop
_reporter: Reporter = Reporter()  # in a worker: how its parent hears of its progress


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job: done before, done now, failed, or skipped because of one that failed."""

    status: Literal["found", "done", "failed", "skipped"]
    reason: str = ""
    cost: Cost | None = None


_Announce = Callable[[Job, JobOutcome, int, int], None]


@dataclass(frozen=True)
class _Answer:
    """What a worker says of its job."""

    cost: Cost
    reason: str = ""
    report: str = ""
    interrupted: int = 0


@dataclass
class _Process:
    """One worker process."""

    threads: int
    stop: Event
    reporter: Reporter
    pool: ProcessPoolExecutor | None = None
    progress: PipeReader | None = None

    def submit(self, job: Job, root: Path) -> Future[_Answer]:
        if self.pool is not None:
            try:
                return self.pool.submit(_work, job, root)
            except BrokenExecutor:  # it died while it had nothing to do
                self.close()
        context = multiprocessing.get_context("spawn")
        reading, writing = context.Pipe(duplex=False)
        self.progress = PipeReader(reading, self.reporter)
        arguments = (self.threads, os.getpid(), self.stop, writing)
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_start, initargs=arguments)
        return self.pool.submit(_work, job, root)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None

    def tell(self, *, ended: bool = False) -> None:
        """Pass on what the worker has told of its progress, the last of it where its job has ended."""
        if self.progress is not None:
            self.progress.read()
            if ended:
                self.progress.end_tasks()


@dataclass(frozen=True)
class _ClusterPlace:
    """A place in a cluster, with so many cores."""

    cluster: Cluster
    cores: int

    def submit(self, job: Job, root: Path) -> Future[_Answer]:
        computes = job.work.kind not in ("prepare", "candidates")
        return self.cluster.submit(self.cores, min(1, self.cluster.gpus) * computes, _attempt, job, root)

    def close(self) -> None:
        self.cluster.cancel()

    def tell(self, *, ended: bool = False) -> None:
        """Nothing is told of its progress."""


_Slot = _Process | _ClusterPlace


def run_jobs(
    jobs: Mapping[str, Job],
    store: Store,
    *,
    workers: int | None = None,
    threads: int | None = None,
    cluster: Cluster | None = None,
    announce: _Announce = lambda job, outcome, done, total: None,
    reporter: Reporter | None = None,
) -> dict[str, JobOutcome]:
    """Do all jobs that are not done.

    Args:
        jobs: By key, each after those that it needs.
        store: Where they are kept.
        workers: How many jobs at a time: by default one, on a cluster one per core.
        threads: Threads of each; by default the cores are shared out.
        cluster: Where they are done instead of in processes of this machine.
        announce: Told of every job that ends: the job, what became of it, how many have ended, of how many.
        reporter: Told of the progress inside jobs.

    Returns:
        The outcome of every job.

    Raises:
        Interrupted: A signal stopped a job; what was finished is kept, and the same call goes on from there.
    """
    from recalign.tuning.guards import collected_signals  # with torch, which a worker loads with its threads set

    store.prepare()
    stop = multiprocessing.get_context("spawn").Event()
    slots: list[_Slot]
    if cluster is None:
        workers = workers or 1
        threads = threads or max(1, (os.cpu_count() or 1) // workers)
        slots = [_Process(threads, stop, reporter or Reporter()) for _ in range(workers)]
    else:
        workers = workers or cluster.cores
        threads = threads or max(1, min(cluster.widest, cluster.cores // workers))
        slots = [_ClusterPlace(cluster, threads) for _ in range(workers)]
    queue = _Queue(jobs, store, slots, announce)
    with collected_signals() as pending, _ending(stop, slots):
        while queue.waiting or queue.busy:
            queue.start()
            queue.collect()
            if pending:
                raise Interrupted(pending[0], f"stopped after {queue.ended} of {queue.total} jobs")
    return queue.outcomes


class _Queue:
    """The jobs of a run: waiting, in a worker, or ended."""

    def __init__(self, jobs: Mapping[str, Job], store: Store, slots: Iterable[_Slot], announce: _Announce) -> None:
        self.store, self.announce = store, announce
        self.outcomes = {key: JobOutcome("found") for key, job in jobs.items() if store.is_done(job)}
        self.waiting = {key: job for key, job in jobs.items() if key not in self.outcomes}
        self.total = len(self.waiting)
        self.idle = list(slots)
        self.busy: dict[Future[_Answer], tuple[_Slot, Job]] = {}

    @property
    def ended(self) -> int:
        return self.total - len(self.waiting) - len(self.busy)

    def start(self) -> None:
        """Skip what cannot be done any more, and give the idle workers what can be done now."""
        for job in list(self.waiting.values()):  # a job comes after those that it needs
            ended = [self.outcomes[need].status for need in job.needs if need in self.outcomes]
            if "failed" in ended or "skipped" in ended:
                del self.waiting[job.key]
                self._end(job, JobOutcome("skipped", "a job that it needs failed"))
            elif len(ended) == len(job.needs) and self.idle:
                slot = self.idle.pop()
                self.busy[slot.submit(self.waiting.pop(job.key), self.store.root)] = slot, job

    def collect(self) -> None:
        """Wait a moment for jobs that end, and pass on what workers told."""
        ended = wait(self.busy, WATCH_SECONDS, FIRST_COMPLETED).done
        for slot, _ in self.busy.values():
            slot.tell()
        for future in ended:
            slot, job = self.busy.pop(future)
            slot.tell(ended=True)
            self.idle.append(slot)
            self._end(job, _outcome(job, slot, future, self.store))

    def _end(self, job: Job, outcome: JobOutcome) -> None:
        self.outcomes[job.key] = outcome
        self.announce(job, outcome, self.ended, self.total)


@contextmanager
def _ending(stop: Event, slots: Iterable[_Slot]) -> Iterator[None]:
    """End the workers with the block; where it fails, their jobs first, which save what they can."""
    try:
        yield
    except BaseException:
        stop.set()
        raise
    finally:
        for slot in slots:
            slot.close()


def _outcome(job: Job, slot: _Slot, future: Future[_Answer], store: Store) -> JobOutcome:
    try:
        answer = future.result()
    except BrokenExecutor:
        slot.close()
        reason = "its process died (killed, or out of memory)"
        store.record_failure(job, reason)
        return JobOutcome("failed", reason)
    if answer.interrupted:
        raise Interrupted(answer.interrupted, f"stopped in {job.name}")
    if answer.reason:
        path = store.record_failure(job, answer.report)
        return JobOutcome("failed", f"{answer.reason} ({path})")
    store.record(job, answer.cost)
    return JobOutcome("done", cost=answer.cost)


def _start(threads: int, parent: int, stop: Event, progress: Connection) -> None:
    """Set up a worker, and its way to tell of progress."""
    global _told, _reporter
    _told, _reporter = stop, PipeReporter(progress)
    enter_worker(threads, parent, stop)


def _work(job: Job, root: Path) -> _Answer:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # training puts its own in its place
    try:
        return _attempt(job, root)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _attempt(job: Job, root: Path) -> _Answer:
    """Do a job. It may be stopped as by Ctrl-C."""
    started, busy = time.perf_counter(), time.process_time()

    def cost() -> Cost:
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - busy
        return Cost(round(seconds, 2), round(cpu_seconds, 2), machine_kind())

    try:
        if _told is not None and _told.is_set():  # before it began
            return _Answer(cost(), interrupted=signal.SIGTERM)
        from recalign.experiment.execute import execute

        execute(job, Store(root), _reporter)
    except KeyboardInterrupt:
        return _Answer(cost(), interrupted=signal.SIGTERM)
    except Interrupted as stop:
        return _Answer(cost(), interrupted=stop.signal_number)
    except RecalignError as error:
        return _Answer(cost(), reason=str(error), report=traceback.format_exc())
    except Exception as error:  # one run's bug must not end the others; it is listed with its traceback
        return _Answer(cost(), reason=f"{type(error).__name__}: {error}", report=traceback.format_exc())
    return _Answer(cost())
