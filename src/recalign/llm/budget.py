"""What calls cost: an estimate before the first call, and a budget that no call may overrun."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from recalign.errors import TeacherError
from recalign.llm.base import Usage
from recalign.llm.config import ClientConfig

_BYTES_PER_TOKEN: Final = 4  # of English text; an estimate needs no tokenizer
_OVERHEAD: Final = 64  # tokens of a chat template around the message, generously


def expected_tokens(text: str) -> int:
    """About how many tokens `text` has."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def worst_case(prompt: str, max_tokens: int) -> Usage:
    """The most that a call can be billed for: tokenizers of language models make at most one token of each byte."""
    return Usage(len(prompt.encode("utf-8", "replace")) + _OVERHEAD, max_tokens)


def cost(usage: Usage, config: ClientConfig) -> float | None:
    """Money for `usage`; None where the prices are not given."""
    if config.price_in is None or config.price_out is None:
        return None
    return (usage.prompt_tokens * config.price_in + usage.completion_tokens * config.price_out) / 1_000_000


@dataclass(frozen=True, slots=True)
class CallsEstimate:
    """What is to be expected before the first call: questions about all samples, their tokens, and money.

    `expected` is for usual answers; `at_most` for answers as long as they may be and one token per byte. Costs are
    None without prices.
    """

    samples: int
    calls: int
    expected: Usage
    at_most: Usage
    expected_cost: float | None
    cost_at_most: float | None

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"{self.samples:,} samples, {self.calls:,} calls",
            f"prompts: about {self.expected.prompt_tokens:,} tokens, at most {self.at_most.prompt_tokens:,}",
            f"answers: about {self.expected.completion_tokens:,} tokens, at most {self.at_most.completion_tokens:,}",
        ]
        if self.expected_cost is not None and self.cost_at_most is not None:
            lines.append(f"cost: about {self.expected_cost:,.2f}, at most {self.cost_at_most:,.2f}")
        return lines


class Budget:
    """Keeps what was spent and what calls in flight may still cost below the limits."""

    def __init__(self, config: ClientConfig, spent: Usage) -> None:
        """`spent` is what counts already, from the ledger."""
        self.spent, self._config = spent, config
        self._reserved, self._in_flight = Usage(0, 0), 0
        self._changed = asyncio.Event()

    async def reserve(self, worst: Usage) -> None:
        """Set `worst` aside for a call; waits for calls in flight where they may leave enough.

        Raises:
            TeacherError: The call could overrun the budget, and nothing is in flight that could change that.
        """
        while not self._fits(worst):
            if self._in_flight == 0:
                raise self._reached(worst)
            self._changed.clear()
            await self._changed.wait()
        self._reserved += worst
        self._in_flight += 1

    def settle(self, worst: Usage, actual: Usage) -> None:
        """A call ended: its reservation goes, what it cost is spent."""
        self._reserved += Usage(-worst.prompt_tokens, -worst.completion_tokens)
        self.spent += actual
        self._in_flight -= 1
        self._changed.set()

    def _fits(self, worst: Usage) -> bool:
        total = self.spent + self._reserved + worst
        limit, money = self._config.max_tokens_total, self._config.max_cost
        price = cost(total, self._config)
        return (limit is None or total.total <= limit) and (money is None or price is None or price <= money)

    def _reached(self, worst: Usage) -> TeacherError:
        spent, next_ = cost(self.spent, self._config), cost(worst, self._config)
        found = f"{self.spent.total:,} tokens spent, and the next call may take {worst.total:,}"
        expected = f"at most {self._config.max_tokens_total:,} tokens" if self._config.max_tokens_total else ""
        if self._config.max_cost is not None and spent is not None and next_ is not None:
            found += f" ({spent:.4f} and {next_:.4f} in money)"
            expected = " and ".join(filter(None, (expected, f"a cost of at most {self._config.max_cost}")))
        hint = "All answers are in the ledger: raise --max-tokens-total or --max-cost and run it again."
        return TeacherError("the teacher's budget is used up", found=found, expected=expected, hint=hint)
