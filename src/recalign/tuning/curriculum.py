"""The curriculum over chain-of-thought data: which rows are learnt from, and in which order (TLRec §4.2).

TLRec joins the rows of the three chain-of-thought steps into one data set, easy before hard, and tunes on it once,
unshuffled. The step is the difficulty. The variants take one part of that away at a time:

* ``ordered``, as in the paper: steps 1, 2, 3 one after the other, in one tuning stage;
* ``staged``: a tuning stage (with an optimizer of its own) per step;
* ``mixed``: the same rows, shuffled ("w/o curriculum");
* ``stage1-only``, ``stage2-only``, ``stage3-only``: one step's rows (the paper's public code trains on step 3 alone).

"w/o CoT" is an experiment without such a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recalign.artifacts import Manifest, read_manifest
from recalign.cot.teach import KIND, stage_file
from recalign.errors import ConfigError, DataError
from recalign.prompting.prompts import Instruction
from recalign.tuning.config import Curriculum
from recalign.tuning.instructions import read_instructions

STEPS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class CotRow:
    """One row of chain-of-thought data: its step (1, 2 or 3) and its text."""

    step: int
    row: Instruction


def _length(row: CotRow) -> float:
    return float(sum(map(len, (row.row.instruction, row.row.input, row.row.output))))


# What makes a row hard. Rows of equal difficulty stay in the teacher's order.
DIFFICULTIES: Final[dict[str, Callable[[CotRow], float]]] = {
    "stage": lambda row: float(row.step),
    "length": _length,
    "answer-length": lambda row: float(len(row.row.output)),
}


def read_cot(directory: Path) -> tuple[list[CotRow], Manifest]:
    """Rows that ``recalign teach`` wrote, step by step, and their manifest.

    Raises:
        ArtifactError: no chain-of-thought data there, or damaged.
        DataError: a row is no instruction row.
    """
    manifest = read_manifest(directory, kind=KIND)
    rows = [CotRow(step, row) for step in STEPS for row in read_instructions(directory / stage_file(step))]
    if not rows:
        raise DataError(f"chain-of-thought data {directory}", found="no rows", expected="at least one")
    return rows, manifest


def arrange(rows: Sequence[CotRow], curriculum: str, difficulty: str = "stage") -> tuple[list[Instruction], bool]:
    """Rows of one tuning stage in the order of the curriculum, and whether epochs shuffle them.

    Args:
        rows: All rows, step by step in the teacher's order.
        curriculum: ``ordered``, ``mixed`` or ``stageN-only`` (``staged`` is a list of the latter, see `substages`).
        difficulty: Name in `DIFFICULTIES`; only ``ordered`` asks for it. Raises ConfigError where there is none.
    """
    if difficulty not in DIFFICULTIES:
        raise ConfigError(f"difficulty {difficulty!r}", expected=f"one of {', '.join(DIFFICULTIES)}")
    if curriculum == "ordered":
        return [row.row for row in sorted(rows, key=DIFFICULTIES[difficulty])], False
    if curriculum == "mixed":
        return [row.row for row in rows], True
    for step in STEPS:
        if curriculum == f"stage{step}-only":
            return [row.row for row in rows if row.step == step], True
    raise ConfigError(f"curriculum {curriculum!r}", found="several tuning stages", expected="one of them at a time")


def substages(curriculum: Curriculum) -> tuple[Curriculum, ...]:
    """The curricula of the tuning stages that one stage stands for: three where it is ``staged``, else itself."""
    return ("stage1-only", "stage2-only", "stage3-only") if curriculum == "staged" else (curriculum,)
