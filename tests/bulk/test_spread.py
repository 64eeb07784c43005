"""Bulk scoring as tasks of a Ray cluster: the bytes of plain scoring, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from recalign.bulk.request import Request, Share
from recalign.bulk.score import Scored
from recalign.bulk.spread import spread_users
from recalign.data.samples import CandidateList
from recalign.engines import Cluster, Engine
from recalign.errors import ArtifactError, Interrupted, ModelError
from recalign.recommender import Recommender
from recalign.scoring.base import Scores

from . import conftest
from .conftest import MODEL, Hashed, Score, contents, small_catalogue

pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(find_spec("ray") is None, reason="no Ray: pip install 'recalign[ray]'"),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]

Spread = Callable[..., Scored]


class Trouble(Hashed):
    """Dies, waits, or gives what is no number, as a file says."""

    def __init__(self, file: Path, times: int) -> None:
        super().__init__()
        self.file, self.times = file, times

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        scores = super().score(lists)
        with self.file.open("a+") as log:
            log.seek(0)
            what, *deaths = log.read().split()
            if what == "die" and len(deaths) < self.times:
                log.write(f" {os.getpid()}")
                log.flush()
                os._exit(1)
            if what == "wait":
                (self.file.parent / "waiting").touch()
                for _ in range(600):
                    time.sleep(0.1)
            if what == "nan":
                return Scores(tuple(values * np.nan for values in scores.values))
        return scores


def plain() -> Recommender:
    return Recommender(Hashed(), small_catalogue())


def troubled(file: Path, times: int = 1) -> Recommender:
    return Recommender(Trouble(file, times), small_catalogue())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 2)
        with Engine("ray").joined() as joined:
            assert joined is not None
            for module in (conftest, sys.modules[__name__]):  # workers cannot import them
                sys.modules["ray"].cloudpickle.register_pickle_by_value(module)
            yield joined


@pytest.fixture
def spread(cluster: Cluster, table: Path) -> Spread:
    def call(output: Path, load: Callable[[], Recommender] = plain, **options: object) -> Scored:
        # a model of its own, for a process keeps that of a job which it has seen
        model = MODEL if load is plain else {"model": f"{hash(load):064x}"[-64:]}
        request = Request(table, shards=options.pop("shards", 5))  # type: ignore[arg-type]
        return spread_users(cluster, load, request, output, model=model, indexed=False, **options)  # type: ignore[arg-type]

    return call


def tables(output: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(output).items() if name.endswith((".parquet", ".jsonl"))}


def test_a_cluster_leaves_the_bytes_of_plain_scoring(spread: Spread, score: Score, table: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = spread(tmp_path / "out", progress=lambda *progress: told.append(progress))
    assert told[-1] == (5, 5)
    assert replace(score(table, tmp_path / "plain"), place=tmp_path / "out") == done
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    assert spread(tmp_path / "out") == done  # nothing is left to do


def test_shares_and_plain_workers_go_on_with_each_other(
    spread: Spread, score: Score, table: Path, tmp_path: Path
) -> None:
    assert spread(tmp_path / "out", share=Share(1, 2)).missing == (0, 2, 4)
    score(table, tmp_path / "out", share=Share(0, 3))
    assert spread(tmp_path / "out").missing == ()
    score(table, tmp_path / "plain")
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_no_process_of_the_cluster_listens_to_other_machines(cluster: Cluster) -> None:
    psutil = pytest.importorskip("psutil")
    this = psutil.Process()
    sockets = [
        socket.laddr.ip
        for process in (this, *this.children(recursive=True))
        for socket in process.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN or not socket.raddr
    ]
    assert len(sockets) > 4
    assert {address.removeprefix("::ffff:") for address in sockets} == {"127.0.0.1"}
    servers = [process.environ() for process in this.children()]
    assert {process["RAY_USAGE_STATS_ENABLED"] for process in servers} == {"0"}


def test_the_shard_of_a_worker_that_died_is_made_again(
    spread: Spread, score: Score, table: Path, tmp_path: Path
) -> None:
    trouble = tmp_path / "trouble"
    trouble.write_text("die")
    assert spread(tmp_path / "out", partial(troubled, trouble)).missing == ()
    assert len(trouble.read_text().split()) == 2
    score(table, tmp_path / "plain")
    assert tables(tmp_path / "out") == tables(tmp_path / "plain")


def test_workers_that_die_always_are_given_up(spread: Spread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recalign.engines._RETRIES", 1)
    trouble = tmp_path / "trouble"
    trouble.write_text("die")
    with pytest.raises(ArtifactError, match="is not whole; found a task without end: its process died") as error:
        spread(tmp_path / "out", partial(troubled, trouble, 1000), shards=1)
    assert "\n" not in str(error.value)


def test_an_error_in_a_task_is_that_of_plain_scoring(spread: Spread, tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    trouble.write_text("nan")
    with pytest.raises(ModelError, match="a finite number") as error:
        spread(tmp_path / "out", partial(troubled, trouble))
    assert type(error.value) is ModelError
    assert "\n" not in str(error.value)


def test_a_signal_stops_the_tasks(spread: Spread, score: Score, table: Path, tmp_path: Path) -> None:
    trouble, signals = tmp_path / "trouble", list[int]()
    trouble.write_text("wait")

    def told(done: int, total: int) -> None:
        if (tmp_path / "waiting").exists():
            signals.append(signal.SIGTERM)

    load, began = partial(troubled, trouble), time.monotonic()
    with pytest.raises(Interrupted, match="stopped with 0 of 5 shards made"):
        spread(tmp_path / "out", load, signals=signals, progress=told)
    assert time.monotonic() - began < 30
    trouble.write_text("go")
    assert spread(tmp_path / "out", load).missing == ()
    score(table, tmp_path / "plain")
    assert tables(tmp_path / "out") == tables(tmp_path / "plain")


def holding(folder: Path) -> list[int]:
    """What a training does: it notes a signal, ends its step and saves."""
    from recalign.tuning.guards import collected_signals

    with collected_signals() as signals:
        (folder / "begun").touch()
        while not signals:
            time.sleep(0.05)
    return signals


def test_a_task_may_save_what_it_has_before_it_stops(cluster: Cluster, tmp_path: Path) -> None:
    answer = cluster.submit(1, 0, holding, tmp_path)
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    cluster.cancel()
    assert answer.result() == [signal.SIGINT]


def test_a_cluster_that_is_there_is_joined_and_left(cluster: Cluster, tmp_path: Path) -> None:
    """By a process of its own, as the command is; what it was started with is still there afterwards."""
    address = sys.modules["ray"].get_runtime_context().gcs_address
    code = (
        "import signal, sys\n"
        "from recalign.engines import Engine\n"
        "before = signal.getsignal(signal.SIGTERM)\n"
        "with Engine('ray', sys.argv[1]).joined() as cluster:\n"
        "    print(cluster.cores, cluster.submit(1, 0, pow, 2, 5).result())\n"
        "assert signal.getsignal(signal.SIGTERM) == before\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, address], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["2", "32"], done.stderr
    assert cluster.submit(1, 0, pow, 2, 6).result() == 64


KILLED = """
import os, sys, time
from pathlib import Path
from recalign.engines import Engine

def hold(file):
    Path(file).write_text(str(os.getpid()))
    while True:
        time.sleep(0.1)

with Engine("ray").joined() as cluster:
    cluster.submit(1, 0, hold, sys.argv[1]).result()
"""


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A folder of few characters: names of sockets are short."""
    with TemporaryDirectory(prefix="k-", ignore_cleanup_errors=True) as folder:
        yield folder


def test_nothing_goes_on_where_the_command_was_killed(tmp_path: Path, short_folder: str) -> None:
    file = tmp_path / "process"
    command, variables = [sys.executable, "-c", KILLED, str(file)], {**os.environ, "TMPDIR": short_folder}
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.DEVNULL) as driver:
        while not (file.exists() and file.read_text()):
            assert driver.poll() is None
            time.sleep(0.1)
        driver.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{file.read_text()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
