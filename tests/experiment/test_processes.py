"""`recalign tune` in several processes: one model, one voice; whatever ends one ends all, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError, Interrupted, ModelError, ProcessError
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.experiment.processes import _cause, _Died
from recalign.experiment.progress import Progress, Reporter
from recalign.experiment.tune import tune
from recalign.scoring.base import sample_lists
from recalign.testing.tiny import make_tiny
from recalign.tuning.model_artifact import load_scorer

SETTINGS = {"max_steps": 30, "batch_size": 12, "precision": "fp32", "checkpoint_steps": 1}


def test_the_error_that_others_follow_from_is_shown() -> None:
    lost, died, wrong = ProcessError("lost"), _Died("died"), DataError("wrong")
    assert _cause([lost, died], ()) is died
    assert _cause([lost, died, wrong, ModelError("later")], ()) is wrong
    stopped = _cause([lost, Interrupted(signal.SIGTERM, "stopped after step 3 of 9")], [signal.SIGINT])
    assert (stopped.exit_code, stopped.thing) == (130, "stopped after step 3 of 9")
    assert _cause([lost, died], [signal.SIGTERM]).exit_code == 143
    assert _cause([lost, wrong], [signal.SIGTERM]) is wrong


@pytest.mark.parametrize("processes", [0, -2])
def test_a_number_of_processes_below_one_is_refused(tmp_path: Path, processes: int) -> None:
    with pytest.raises(ConfigError, match=f"processes = {processes}"):
        tune([tmp_path], tmp_path / "model", processes=processes)


def test_one_process_divides_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="divided among processes; found one process"):
        tune([tmp_path], tmp_path / "model", shard=True)


def test_torchrun_starts_the_processes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="processes = 2 under torchrun"):
        tune([tmp_path], tmp_path / "model", processes=2)


class Watching(Reporter):
    """Keeps what is told, and looks at the processes while they work."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: list[int] = []
        self.addresses: set[str] = set()
        self.processes: set[int] = set()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def task(self, name: str, unit: str = "steps") -> Progress:
        def show(done: int, total: int, facts: str) -> None:
            self.done.append(done)
            pids = [child.pid for child in multiprocessing.active_children() if child.pid]
            self.processes.update(pids)
            self.addresses.update(address for pid in pids for address in tcp_addresses(pid))

        return show


def tcp_addresses(pid: int) -> Iterator[str]:
    """Local addresses of the TCP sockets of a process, as the kernel writes them."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.update(re.findall(r"socket:\[(\d+)\]", str(descriptor.readlink())))
        except FileNotFoundError:  # closed meanwhile
            continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in sockets:
                yield fields[1].partition(":")[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, a tiny ``backbone`` and ``whole``, a model that two processes tuned."""
    folder = tmp_path_factory.mktemp("shop")
    settings = {"users": 14, "items": 40, "ratings_per_user": 12}
    prepare(PrepareConfig.build(dataset="synthetic", output=folder / "data", max_history=4, **settings))
    make_tiny(folder / "backbone", "llama")
    watching = Watching()
    backbone = {"name": str(folder / "backbone"), "dtype": "float32"}
    tune([folder / "data"], folder / "whole", backbone=backbone, settings=SETTINGS, processes=2, reporter=watching)
    assert watching.done[-1] == 30
    (said,) = watching.notes
    assert said.startswith("about "), "the first process says how long it will take"
    assert len(watching.processes) == 2
    if sys.platform == "linux":
        assert watching.addresses
        assert watching.addresses <= {"0100007F", "00000000000000000000000001000000"}, "127.0.0.1 or ::1"
    return folder


def command(shop: Path, output: Path, *more: str) -> list[str]:
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    inputs = ["--data", str(shop / "data"), "--backbone", str(shop / "backbone"), "--dtype", "float32"]
    return ["tune", *inputs, *settings, "--output", str(output), *more]


RUN = "from recalign.cli.main import run; run()"


def start(*arguments: str) -> subprocess.Popen[str]:
    whole = [sys.executable, "-c", RUN, *arguments]
    return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(process: subprocess.Popen[str], output: Path, step: int) -> None:
    deadline = time.monotonic() + 200
    folder = output.parent / f".{output.name}.checkpoints"
    while not any(int(path.name[-8:]) >= step for path in folder.glob("step-????????")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def members(pid: int) -> list[int]:
    """The tuning processes of a `recalign tune`, by rank."""
    lines = {child: Path(f"/proc/{child}/cmdline").read_text() for child in children(pid)}
    return sorted(child for child, line in lines.items() if "spawn_main" in line)


def adapter(model: Path) -> bytes:
    return (model / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_make_the_model_of_one(tmp_path: Path, shop: Path, shard: bool) -> None:
    backbone = {"name": str(shop / "backbone"), "dtype": "float32", "device": "cpu"}
    still = {**SETTINGS, "lora": {"dropout": 0.0}, "selection": "source", "eval_steps": 10}
    models = [tmp_path / "one", tmp_path / "two"]
    for processes, model in enumerate(models, 1):
        divided = shard and processes > 1
        tune([shop / "data"], model, backbone=backbone, settings=still, processes=processes, shard=divided)
    manifests = [read_manifest(model) for model in models]
    assert (manifests[0].config, manifests[0].parents) == (manifests[1].config, manifests[1].parents)
    assert manifests[0].info["kept_step"] == manifests[1].info["kept_step"]
    assert manifests[0].files.keys() == manifests[1].files.keys()
    data = SampleSet.load(shop / "data")
    lists = sample_lists(data.samples("test"))
    one, two = (load_scorer(model, data, device="cpu").score(lists).flat() for model in models)
    assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
    watching = Watching()
    tune([shop / "data"], models[1], backbone=backbone, settings=still, processes=2, reporter=watching)
    assert watching.notes == [f"already tuned from these inputs and settings: {models[1]}"]


@pytest.mark.slow
def test_an_error_of_all_is_one_error_of_its_kind(tmp_path: Path, shop: Path) -> None:
    with pytest.raises(ConfigError, match="kind 'dance'"):
        tune([shop / "data"], tmp_path / "m", backbone=str(shop / "backbone"), settings={"kind": "dance"}, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_costs_at_most_the_steps_since_the_checkpoint(
    tmp_path: Path, shop: Path, rank: int
) -> None:
    model = tmp_path / "model"
    process = start(*command(shop, model, "--processes", "2"))
    wait_for_step(process, model, 5)
    killed = members(process.pid)
    os.kill(killed[rank], signal.SIGKILL)
    began = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert process.returncode == 2
    last = told.strip().splitlines()[-1]
    assert last.startswith("recalign: process ")
    assert "killed by signal 9" in last
    assert "same command again" in last
    assert not any(Path(f"/proc/{pid}").exists() for pid in killed)
    again = start(*command(shop, model, "--processes", "2"))
    again.communicate(timeout=250)
    assert again.returncode == 0
    assert adapter(model) == adapter(shop / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_after_one_step_and_the_same_command_goes_on(
    tmp_path: Path, shop: Path, number: signal.Signals
) -> None:
    model, long = tmp_path / "model", ("--processes", "2", "--set", "checkpoint_steps=7")
    process = start(*command(shop, model, *long))
    wait_for_step(process, model, 7)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told
    last = told.strip().splitlines()[-1]
    (step,) = re.findall(r"^recalign: stopped after step (\d+) of 30\..* same command again", last)
    saved = sorted(path.name for path in (tmp_path / ".model.checkpoints").iterdir())
    assert saved[-1] == f"step-{int(step):08d}"
    again = start(*command(shop, model, *long))
    again.communicate(timeout=250)
    assert again.returncode == 0
    assert adapter(model) == adapter(shop / "whole")


@pytest.mark.slow
def test_processes_end_with_their_parent(tmp_path: Path, shop: Path) -> None:
    model = tmp_path / "model"
    process = start(*command(shop, model, "--processes", "2"))
    wait_for_step(process, model, 2)
    started = members(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.1)


DYING = """
import os
from recalign.tuning.checkpoint import CheckpointStore
{then}
from recalign.cli.main import run
run()
"""
THEN = {
    "a rank dies": """
from recalign.tuning import trainings
real = trainings.train
def train(*arguments, progress, **options):
    def die(report):
        progress(report)
        if report.step == 3 and os.environ["RANK"] == "1":
            os._exit(1)
    return real(*arguments, progress=die, **options)
trainings.train = train
""",
    "the save fails": """
def save(self, state):
    raise OSError(28, "No space left on device")
CheckpointStore.save = save
""",
    "nothing happens": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(THEN))
def test_under_torchrun_all_end_together(tmp_path: Path, shop: Path, fault: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(DYING.format(then=THEN[fault]))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    began = time.monotonic()
    done = subprocess.run(
        [*torchrun, str(script), *command(shop, tmp_path / "model")], capture_output=True, text=True, check=False
    )
    if fault == "nothing happens":
        assert done.returncode == 0, done.stderr
        assert adapter(tmp_path / "model") == adapter(shop / "whole")
        assert done.stderr.count("next: recalign evaluate") == 1
        return
    assert done.returncode != 0
    assert time.monotonic() - began < 200
    assert not (tmp_path / "model").exists()
    steps = [path.name for path in tmp_path.glob(".model.checkpoints/step-*")]
    assert sorted(steps) == (["step-00000001", "step-00000002"] if fault == "a rank dies" else [])
