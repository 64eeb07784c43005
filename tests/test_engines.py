"""Which engine is meant, and what is told of a cluster, with a stand-in for Ray. `tests/bulk` has Ray itself."""

from __future__ import annotations

import os
import sys
from concurrent.futures import BrokenExecutor, Future
from types import SimpleNamespace
from typing import Any

import pytest

from recalign.engines import Cluster, Engine
from recalign.errors import ConfigError, ModelError


class RayError(Exception):
    """As Ray's own errors are: `cause` is there where the function raised."""


class StandIn(SimpleNamespace):
    """As much of Ray as is used."""

    def __init__(self, address: str = "127.0.0.1", error: Exception | None = None) -> None:
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.address, self.error, self.left = address, error, False
        self.asked: dict[str, Any] = {}
        self.answer: Future[object] = Future()

    def init(self, **options: object) -> object:
        self.asked, self.variables = options, dict(os.environ)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(address_info={"node_ip_address": self.address})

    def shutdown(self) -> None:
        self.left = True

    def nodes(self) -> list[dict[str, Any]]:
        sizes = ({"CPU": 4.0, "GPU": 2.0}, {"CPU": 16.0}, {})
        return [{"Alive": True, "Resources": size} for size in sizes] + [{"Alive": False, "Resources": {"CPU": 99.0}}]

    def remote(self, function: object) -> StandIn:
        return self if callable(function) else SimpleNamespace(future=lambda: self.answer)  # type: ignore[return-value]

    def options(self, **options: object) -> StandIn:
        self.needs = options
        return SimpleNamespace(remote=lambda *_: SimpleNamespace(future=lambda: self.answer))  # type: ignore[return-value]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    return stand_in


def test_a_name_and_an_address() -> None:
    assert Engine.named("local") == Engine()
    assert Engine.named("ray", "auto") == Engine("ray", "auto")
    with pytest.raises(ConfigError, match="--engine; found 'dask'; expected local or ray"):
        Engine.named("dask")
    with pytest.raises(ConfigError, match="--ray-address; found --engine local"):
        Engine.named("local", "auto")
    with Engine().joined() as cluster:
        assert cluster is None


def test_without_ray_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ConfigError, match=r"--engine ray; found no ray. Install it: pip install 'recalign\[ray\]'"),
        Engine("ray").joined(),
    ):
        pass


def test_a_cluster_of_ones_own_is_alone_and_leaves_no_variable(ray: StandIn) -> None:
    before = dict(os.environ)
    with Engine("ray").joined() as cluster:
        assert cluster is not None
        assert (cluster.cores, cluster.widest, cluster.gpus) == (20, 16, 2)
        assert not ray.left
    assert (ray.asked["address"], ray.asked["include_dashboard"]) == ("local", False)
    assert ray.variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not os.path.exists(ray.asked["_temp_dir"])  # noqa: PTH110
    assert ray.left
    assert dict(os.environ) == before


def test_ports_that_others_reach_are_refused(ray: StandIn) -> None:
    ray.address = "192.0.2.7"
    with pytest.raises(ConfigError, match="found ports that other machines reach"), Engine("ray").joined():
        pass
    assert ray.left
    with Engine("ray", "192.0.2.7:6379").joined():  # of somebody else's cluster they are wanted
        assert set(ray.asked) == {"address", "log_to_driver", "logging_level"}


def test_no_cluster_at_an_address_is_one_line(ray: StandIn) -> None:
    ray.error = ConnectionError("Could not find any running Ray instance.\nmore")
    with (
        pytest.raises(ConfigError, match=r"Ray at far:1; found Could not find any running.*ray start --head"),
        Engine("ray", "far:1").joined(),
    ):
        pass


def raised(cause: Exception | None) -> RayError:
    error = RayError("remote\ntraceback")
    if cause is not None:
        error.cause = cause  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised(ModelError("a score")), ModelError),
        (raised(None), BrokenExecutor),
        (raised(KeyError("bug")), RayError),
    ],
)
def test_what_a_function_raised_comes_as_it_was(ray: StandIn, error: Exception, expected: type[Exception]) -> None:
    answer = Cluster(ray).submit(2, 0.5, pow, 2, 3)
    assert ray.needs == {"num_cpus": 2, "num_gpus": 0.5, "max_retries": 3}
    ray.answer.set_exception(error)
    assert type(answer.exception()) is expected


def test_an_answer_is_passed_on(ray: StandIn) -> None:
    answer = Cluster(ray).submit(1, 0, pow, 2, 3)
    ray.answer.set_result(8)
    assert answer.result() == 8
