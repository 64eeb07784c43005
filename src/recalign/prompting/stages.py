"""The three chain-of-thought steps of a template, in one language: rows to tune on, and questions to a teacher."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.data.domain import Domain
from recalign.prompting.prompts import CotFields, Instruction
from recalign.prompting.rendering import Rendering
from recalign.prompting.spec import CotWording
from recalign.prompting.titles import clean_title


class CotStages:
    """Compiled wordings of stages 1, 2 and 3. Every text that is inserted goes through `clean_title` here."""

    def __init__(self, wordings: Sequence[CotWording], where: str) -> None:
        """Compile; `where` names the wordings in errors. Raises ConfigError where a piece is malformed."""
        self._pieces = [
            [Rendering(getattr(wording, piece), f"{where}[{index}].{piece}") for piece in CotWording.model_fields]
            for index, wording in enumerate(wordings)
        ]

    def row(self, domain: Domain, stage: int, fields: CotFields) -> Instruction:
        """The row of `stage`; `output` is the answer of that stage. Raises ValueError for another stage than 1-3."""
        instruction, input_, output, _ = self._of(stage)
        values = _values(domain, fields)
        return Instruction(instruction(values), input_(values), output(values))

    def question(self, domain: Domain, stage: int, fields: CotFields) -> str:
        """What a teacher is asked in `stage`. Raises ValueError for another stage than 1-3."""
        instruction, input_, _, ask = self._of(stage)
        values = _values(domain, fields)
        pieces = (instruction(values), input_(values), ask(values))
        return "\n\n".join(piece for piece in pieces if piece)

    def _of(self, stage: int) -> list[Rendering]:
        if stage not in (1, 2, 3):
            raise ValueError(f"stage must be 1, 2 or 3, found {stage}")
        return self._pieces[stage - 1]


def _values(domain: Domain, fields: CotFields) -> dict[str, object]:
    return domain.model_dump() | {
        "consumed_items": [clean_title(text) for text in fields.consumed_items],
        "candidates": [clean_title(text) for text in fields.candidates],
        "preferences": clean_title(fields.preferences),
        "featured": [clean_title(text) for text in fields.featured],
        "pairs": [(clean_title(item), clean_title(candidate)) for item, candidate in fields.pairs],
        "n_recommend": fields.n_recommend,
        "n_featured": fields.n_featured,
    }
