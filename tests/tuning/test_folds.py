"""How many steps a K-shot stage takes, decided by folds of its K samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recalign.data.samples import CandidateList, Sample
from recalign.errors import DataError
from recalign.tuning import folds
from recalign.tuning.config import RecStage
from recalign.tuning.folds import Shots, deal, train_by_folds
from recalign.tuning.loop import LoopResult, StepReport, Validation
from recalign.tuning.sources import PromptSource

CONFIG = RecStage(shots=8, selection="k-fold", folds=2, eval_steps=2, max_steps=4)


@given(st.lists(st.integers(0, 1), min_size=4, max_size=60), st.integers(2, 4), st.integers(0, 3))
def test_folds_have_like_numbers_of_likes_and_of_dislikes(labels: list[int], number: int, seed: int) -> None:
    if min(labels.count(0), labels.count(1)) < number:
        with pytest.raises(DataError, match=f"at least one in each of {number} folds"):
            deal(labels, number, seed)
        return
    dealt = deal(labels, number, seed)
    for answer in (0, 1):
        counts = np.bincount(dealt[np.asarray(labels) == answer], minlength=number)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(dealt, deal(labels, number, seed))


class Run:
    """Trainings that add 1 to the weights at each step, with AUCs that were set beforehand."""

    def __init__(self, aucs: Sequence[Sequence[float]], monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self.reports = nn.Linear(1, 1), list[StepReport]()
        self.before = self.model.weight.detach().clone()
        self.calls: list[tuple[str, int, int | None]] = []
        self.starts: list[torch.Tensor] = []
        values = iter(aucs)

        def measured(*_: object) -> Callable[[], float]:
            row = iter(next(values))
            return lambda: next(row)

        monkeypatch.setattr(folds, "_held_out_auc", measured)
        domain: Any = SimpleNamespace(encode=lambda lists, labels: list(labels))
        self.shots = [Shots(domain, [Sample(str(place), "u", "i", place % 2, ()) for place in range(8)])]

    def train(
        self,
        name: str,
        source: PromptSource,
        progress: Callable[[StepReport], None] | None,
        *,
        validation: Validation | None = None,
        until: int | None = None,
    ) -> LoopResult:
        self.calls.append((name, len(source.prompts), until))
        self.starts.append(self.model.weight.detach().clone())
        log: list[dict[str, float]] = []
        steps = 4 if until is None else until
        for step in range(1, steps + 1):
            with torch.no_grad():
                self.model.weight += 1
            if validation and step % validation.every == 0:
                log.append({"step": step, "validation": validation.value()})
            if progress:
                progress(StepReport(step, steps, 0.1, step, 1.0))
        log.append({"step": steps, "loss": 0.5})
        return LoopResult(steps, steps, log, 2.0)


def test_the_number_of_steps_with_the_best_mean_is_taken_by_a_training_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run([[0.5, 0.9, 0.6], [0.5, 0.5, 0.7]], monkeypatch)  # means 0.5, 0.7, 0.65
    result = train_by_folds(run.model, run.shots, CONFIG, run.train, run.reports.append)
    assert run.calls == [("fold-0", 4, None), ("fold-1", 4, None), ("all", 8, 2)]
    assert all(torch.equal(start, run.before) for start in run.starts)
    torch.testing.assert_close(run.model.weight.detach(), run.before + 2)
    assert (result.kept_step, result.steps_done, result.seconds) == (2, 10, 6.0)
    assert [entry["step"] for entry in result.log] == [0, 2, 4, 2]
    assert [entry["validation"] for entry in result.log[:3]] == pytest.approx([0.5, 0.7, 0.65])
    assert result.log[-1] == {"step": 2, "loss": 0.5}
    assert [report.step for report in run.reports] == list(range(1, 11))
    assert [report.steps for report in run.reports] == [12] * 8 + [10] * 2


def test_no_step_is_taken_where_none_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run([[0.7, 0.7, 0.6], [0.7, 0.7, 0.7]], monkeypatch)  # a tie goes to fewer steps
    result = train_by_folds(run.model, run.shots, CONFIG, run.train)
    assert run.calls[-1] == ("all", 8, 0)
    assert torch.equal(run.model.weight, run.before)
    assert result.kept_step == 0


def test_a_fold_asks_about_its_own_samples_also_where_several_share_a_history(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    class Scripted:
        """Scores an item by its place in the alphabet."""

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def score(self, lists: Sequence[CandidateList]) -> SimpleNamespace:
            asked.extend(one.item_ids for one in lists)
            return SimpleNamespace(flat=lambda: np.array([ord(item) for one in lists for item in one.item_ids]))

    monkeypatch.setattr(folds, "YesNoScorer", Scripted)
    domain: Any = SimpleNamespace(encoder=None, catalog=None, finder=None)
    samples = [Sample(item, "u", item, label, ()) for item, label in zip("abcd", (1, 0, 0, 1), strict=True)]
    value = folds._held_out_auc(nn.Linear(1, 1), [Shots(domain, samples)], np.array([False, True, False, True]))
    assert value() == 1.0
    assert asked == [("b", "d")]
