"""What the loop runs inside leaves no trace behind."""

from __future__ import annotations

import signal
import threading

import pytest
import torch

from recalign.tuning.guards import collected_signals, deterministic


def test_deterministic_on_a_cpu_and_as_before_afterwards() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def fail_inside() -> None:
    with deterministic(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("inside")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_handlers_come_back(number: signal.Signals) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with collected_signals() as pending:
        assert pending == []
        signal.raise_signal(number)
        assert pending == [number]
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers, "the next acts at once"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_other_threads_leave_signals_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with collected_signals() as pending:
            seen.extend((list(pending), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[], before]
