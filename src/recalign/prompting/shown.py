"""What prompts show of texts from outside: without control tokens, and cut where no prompt holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from recalign.data.facts import Facts
from recalign.prompting.control import ControlTokens
from recalign.prompting.cuts import TextCuts
from recalign.prompting.template import with_genre_names
from recalign.prompting.titles import clean_title


class ShownTexts:
    """Texts of items and names of genres as the prompts of one encoder show them."""

    def __init__(self, control: ControlTokens, lengths: Callable[[Sequence[str]], list[int]], max_length: int) -> None:
        """Args:
        control: The tokenizer's control tokens.
        lengths: See `TextCuts`.
        max_length: Longest prompt in tokens.
        """
        self._control, self._max_length = control, max_length
        self._cuts = TextCuts(lengths, lambda text: control.inert([text], clean_title)[0])

    def items(self, texts: Sequence[str]) -> dict[str, str]:
        """What prompts show of each item text."""
        inert = dict(zip(texts, self._control.inert(texts, clean_title), strict=True))
        cut = self._cuts.shown(list(inert.values()), self._max_length)
        return {text: cut[safe] for text, safe in inert.items()}

    def facts(self, facts: Sequence[Facts | None]) -> list[Facts | None]:
        """The facts with harmless names of genres."""
        names = dict.fromkeys(genre.name for found in facts if found for genre in found.item.genres)
        inert = dict(zip(names, self._control.inert(list(names), clean_title), strict=True))
        return [found and with_genre_names(found, inert.__getitem__) for found in facts]

    def cut(self, texts: Iterable[str]) -> dict[str, str]:
        """Those of `texts` that no prompt holds, with the beginning that is shown of each instead."""
        # Harmless texts are at most twice as long: breaking a control token up adds a blank.
        distinct = [text for text in dict.fromkeys(texts) if self._cuts.may_be_cut(text, self._max_length, growth=2)]
        inert = self._control.inert(distinct, clean_title)
        shown = self._cuts.shown(inert, self._max_length)
        return {text: shown[safe] for text, safe in zip(distinct, inert, strict=True) if shown[safe] != safe}
