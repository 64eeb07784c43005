"""Where the pieces of a large piece of work are done: in processes of recalign's own, or as tasks of a Ray cluster.

Bulk scoring hands a cluster its shards, a run its jobs. Ray decides where and when a task runs, and begins it again
where its process died. It moves no data: tasks work in the directory of the command, which all machines see, and tell
what came of it.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, ParamSpec, TypeVar

from recalign.errors import ConfigError, RecalignError

_RETRIES: Final = 3  # how often a task is begun again after its process died
_STORE_BYTES: Final = 80_000_000  # the least that Ray takes; results are small
_LOOPBACK: Final = "127.0.0.1"
# Read when ray is imported, and by the processes that it starts.
_ALONE: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a node that no other joins: its address is that of the loopback
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task without a GPU sees none
}
_FORWARDED: Final = ("RECALIGN_CACHE",)  # settings of the caller that hold in tasks; credentials are not among them

P = ParamSpec("P")
T = TypeVar("T")


class Cluster:
    """A Ray cluster that has been joined.

    Attributes:
        cores: CPU cores of all its machines, as Ray counts them.
        widest: Cores of the machine with the most.
        gpus: GPUs of all its machines.
    """

    def __init__(self, ray: Any) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._ray = ray
        self.cores = int(sum(node.get("CPU", 0) for node in nodes))
        self.widest = int(max(node.get("CPU", 0) for node in nodes))
        self.gpus = int(sum(node.get("GPU", 0) for node in nodes))
        self._call = ray.remote(_call)
        self._running: dict[Future[Any], Any] = {}

    def submit(
        self, cores: int, gpus: float, function: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> Future[T]:
        """Begin a task as soon as there is a machine for it.

        Args:
            cores: CPU cores that it takes, and threads that it computes with.
            gpus: GPUs that it takes; without one it sees none.
            function: What it calls: a function of a module. Where its process dies it is called again, a few times.
            arguments, options: What it is called with.

        Returns:
            The answer. An error of the function is raised from it as it was; BrokenExecutor where no attempt ended.
        """
        task = self._call.options(num_cpus=cores, num_gpus=gpus, max_retries=_RETRIES)
        reference = task.remote(_Setting.of(cores), function, arguments, options)
        answer: Future[T] = Future()
        self._running[answer] = reference
        reference.future().add_done_callback(lambda ended: self._pass_on(ended, answer))
        return answer

    def cancel(self) -> None:
        """Stop all tasks and wait for them: those that run get a KeyboardInterrupt, the others do not begin."""
        running = dict(self._running)
        for reference in running.values():
            self._ray.cancel(reference)
        wait(running)

    def _pass_on(self, ended: Future[T], answer: Future[T]) -> None:
        error: BaseException | None = ended.exception()
        self._running.pop(answer, None)
        if error is None:
            answer.set_result(ended.result())
            return
        cause = getattr(error, "cause", None)  # what the function raised
        if isinstance(cause, RecalignError):
            error = cause
        elif cause is None and isinstance(error, self._ray.exceptions.RayError):
            error = BrokenExecutor(f"its process died: {type(error).__name__}")
        answer.set_exception(error)


@dataclass(frozen=True)
class _Setting:
    """What a task has from its caller: threads, the working directory, where recalign's own cache is."""

    threads: int
    folder: str
    variables: dict[str, str]

    @classmethod
    def of(cls, threads: int) -> _Setting:
        variables = {name: value for name in _FORWARDED if (value := os.environ.get(name)) is not None}
        return cls(threads, str(Path.cwd()), variables)

    def take(self) -> None:
        try:
            os.chdir(self.folder)
        except OSError as error:
            thing = f"working directory {self.folder} on {platform.node()}"
            hint = "Run the command in a folder that all machines of the cluster see"
            raise ConfigError(thing, found=error.strerror or "none", hint=hint) from None
        os.environ |= self.variables
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(self.threads)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        import torch

        torch.set_num_threads(self.threads)


def _call(setting: _Setting, function: Callable[..., T], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> T:
    try:
        setting.take()
        return function(*arguments, **options)
    except KeyboardInterrupt:  # in an import, maybe: a process with half of a module is no good for the next task
        os._exit(1)


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    Attributes:
        name: "local": in processes of recalign's own. "ray": as tasks of a Ray cluster.
        address: Of a cluster that is there: HOST:PORT, or "auto". None: one on this machine, for this work alone.
    """

    name: Literal["local", "ray"] = "local"
    address: str | None = None

    @classmethod
    def named(cls, name: str, address: str | None = None) -> Engine:
        """From what a command was given. Raises ConfigError for another name, or an address that has no use."""
        if name == "ray":
            return cls("ray", address)
        if name != "local":
            raise ConfigError("--engine", found=repr(name), expected="local or ray")
        if address is not None:
            raise ConfigError("--ray-address", found="--engine local", expected="--engine ray")
        return cls()

    @contextmanager
    def joined(self) -> Iterator[Cluster | None]:
        """The cluster within the context; None for the engine "local".

        Raises:
            ConfigError: Ray is not installed, there is no cluster at the address, or none can be begun.
        """
        if self.name == "local":
            yield None
            return
        with _unchanged_signal(), ExitStack() as stack:
            options = {"address": self.address} if self.address else stack.enter_context(_on_this_machine())
            ray = _imported()
            try:
                context = ray.init(**options, log_to_driver=False, logging_level="ERROR")
            except (OSError, ValueError, RuntimeError) as error:
                found = (str(error).splitlines() or [type(error).__name__])[0][:200]
                hint = "Start one: ray start --head, or leave --ray-address out" if self.address else ""
                raise ConfigError(f"Ray at {self.address or 'this machine'}", found=found, hint=hint) from None
            stack.callback(ray.shutdown)
            if self.address is None and context.address_info["node_ip_address"] != _LOOPBACK:
                hint = "Do not import ray before, or begin a cluster yourself and give its address"
                raise ConfigError("Ray", found="ports that other machines reach", expected="none", hint=hint)
            yield Cluster(ray)


@contextmanager
def _on_this_machine() -> Iterator[dict[str, Any]]:
    """Options of a cluster that no other machine reaches, and which leaves no file."""
    before = {name: os.environ.get(name) for name in _ALONE}
    os.environ |= _ALONE
    try:
        with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            yield {
                "address": "local",
                "num_cpus": os.cpu_count(),
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
                "_temp_dir": folder,
            }
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _unchanged_signal() -> Iterator[None]:
    """Ray takes SIGTERM for itself and does not give it back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread: Ray left it alone too
            signal.signal(signal.SIGTERM, handler)


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray", found="no ray", hint="Install it: pip install 'recalign[ray]'.") from None
    return ray
