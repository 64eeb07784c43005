"""What the speed benchmarks share: the model, real prompts, clocks, and the machine's peak."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from recalign.data.samples import Sample, SampleSet
from recalign.experiment.prepare import prepare
from recalign.experiment.prepare_config import PrepareConfig
from recalign.models.nano import train_tokenizer
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.prompts import HistoryText
from recalign.prompting.template import PromptTemplate
from recalign.seeding import generator

# A vocabulary of this size makes the published prompts about as long as LLaMA's tokenizer does (212 tokens on average).
TOKENIZER = 1024
LAYERS, HIDDEN, INTERMEDIATE, VOCABULARY = 12, 768, 2048, 32_000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Movies:
    """The published Movie data as prompts."""

    samples: SampleSet
    encoder: PromptEncoder
    folder: TemporaryDirectory[str]  # samples are read from it when they are asked for

    @classmethod
    def load(
        cls, protocol: str = "tallrec", template: str = "tallrec", tokenizer: PreTrainedTokenizerBase | None = None
    ) -> Movies:
        """With the tokenizer of a backbone, or with one that makes prompts about as long as LLaMA's does."""
        root = os.environ.get("RECALIGN_DATA")
        if not root:
            sys.exit("RECALIGN_DATA is not set: the speed benchmarks need ml-100k/ in that folder (see docs/data.md)")
        folder = TemporaryDirectory()
        config = PrepareConfig(
            dataset="movielens-100k",
            input=Path(root) / "ml-100k",
            output=Path(folder.name) / "movies",
            protocol=protocol,
            template=template,
            max_rendered=100,
        )
        samples = SampleSet.load(prepare(config))
        words, domain = PromptTemplate.load(template), samples.domain
        if tokenizer is None:
            texts = [samples.catalog.text(item) for item in samples.catalog.ids]
            wording = [words.frame(words.instruction(domain, [HistoryText("x", True)], "x", 1)).context] * 100
            tokenizer = train_tokenizer([*texts, *wording], TOKENIZER)
        return cls(samples, PromptEncoder(words, domain, tokenizer, max_length=1024), folder)

    def prompts(self, samples: Sequence[Sample]) -> list[EncodedPrompt]:
        """One prompt with its answer per sample."""
        text = self.samples.catalog.text
        histories = [self.samples.catalog.with_texts(sample.history) for sample in samples]
        return self.encoder.encode_many(
            histories, [text(sample.item_id) for sample in samples], [sample.label for sample in samples]
        )

    def lists(self, users: int, items: int, seed: int = 0) -> list[list[EncodedPrompt]]:
        """Per user the prompts (without answers) that ask about `items` random items after the user's history."""
        draw = generator(seed, "benchmark", "candidates")
        text = self.samples.catalog.text
        found = []
        for sample in self.samples.samples("test")[:users]:
            history = self.samples.catalog.with_texts(sample.history)
            chosen = draw.permutation(self.samples.catalog.ids)[:items]
            found.append(self.encoder.encode_many([history] * len(chosen), [text(str(item)) for item in chosen]))
        return found


def llama(dtype: torch.dtype) -> LlamaForCausalLM:
    """A random Llama of 134 million parameters, as transformers makes it."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(shape).to(dtype).eval()  # type: ignore[no-any-return]


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The shortest of `repeats` timed runs after one that is not timed."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@dataclass
class Floor:
    """Seconds per token of the model's matrix products alone, one after the other, with the model's own weights.

    Attributes:
        best: With the fastest product there is here (oneDNN, weights laid out for it beforehand).
        eager: With `nn.functional.linear`, as eager PyTorch multiplies.
    """

    best: float
    eager: float

    @classmethod
    def measure(cls, model: nn.Module, tokens: int = 2048) -> Floor:
        """Measure over all linear layers of the decoder (without the head)."""
        weights = [m.weight.data for m in model.model.layers.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]
        laid_out = [torch.ops.mkldnn._reorder_linear_weight(weight, tokens) for weight in weights]
        inputs = {width: torch.randn(tokens, width).to(weights[0].dtype) for width in (HIDDEN, INTERMEDIATE)}
        operands = list(zip([inputs[weight.shape[1]] for weight in weights], weights, laid_out, strict=True))

        def best() -> None:
            for x, _, weight in operands:
                torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")

        def eager() -> None:
            for x, weight, _ in operands:
                nn.functional.linear(x, weight)

        with torch.inference_mode():
            times = [seconds(way, 3) / tokens for way in (best, eager)]
        return cls(min(times), times[1])

    def __str__(self) -> str:
        rates = [2e-9 * LAYERS * HIDDEN * (4 * HIDDEN + 3 * INTERMEDIATE) / each for each in (self.best, self.eager)]
        return f"products alone: {rates[0]:.0f} GFLOP/s at best, {rates[1]:.0f} in eager PyTorch"


def arguments(description: str, **more: object) -> argparse.Namespace:
    """The common command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.dtype}")
    return options


def largest_gap(found: np.ndarray, expected: np.ndarray) -> float:  # type: ignore[type-arg]
    """Largest absolute difference."""
    return float(np.abs(found - expected).max())
