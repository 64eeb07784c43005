"""What the speed benchmarks share: the model, real prompts, clocks, and the machine's peak."""

from __future__ import annotations

import argparse
import os
import platform
import re
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
# Arithmetic of the linear layers (without the head) for one token, forward.
FLOP = 2 * LAYERS * HIDDEN * (4 * HIDDEN + 3 * INTERMEDIATE)
# Peaks of GPUs in TFLOP/s: bfloat16 (dense) and float32 (without TF32), from their makers' data sheets.
PEAKS = {
    "A100": (312, 19.5),
    "H100 PCIe": (756, 51),
    "H100 NVL": (835, 60),
    "H200 NVL": (835, 60),
    "H100": (989, 67),
    "H200": (989, 67),
    "L40S": (362, 91.6),
    "L4": (121, 30.3),
}


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


def llama(dtype: torch.dtype, device: str = "cpu") -> LlamaForCausalLM:
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
    return LlamaForCausalLM(shape).to(device, dtype).eval()  # type: ignore[no-any-return]


def clock() -> float:
    """Seconds, once a GPU has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def rate(tokens: float, passes: int, seconds: float, options: argparse.Namespace) -> str:
    """Tokens a second, and what share of the GPU's peak that is, where the peak is known.

    Args:
        tokens: Tokens that have to be computed.
        passes: How often the linear layers multiply: once forward, once more for the gradients of their inputs.
        seconds: What that took.
        options: The command line.
    """
    text = f"{tokens / seconds:,.0f} tokens/s of those that have to be computed"
    if options.device == "cpu":
        return text
    name = torch.cuda.get_device_name()
    known = [peaks for gpu, peaks in PEAKS.items() if re.search(rf"\b{gpu}\b", name)]
    if not known:
        return f"{text}; the peak of {name} is not known here"
    peak = known[0][options.dtype == "fp32"]
    return f"{text}: {passes * FLOP * tokens / seconds / (peak * 1e12):.1%} of {peak} TFLOP/s (MFU)"


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The shortest of `repeats` timed runs after one that is not timed."""
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


@dataclass
class Floor:
    """Seconds per token of the model's matrix products alone, one after the other, with the model's own weights.

    Attributes:
        best: With the fastest product there is here (on CPUs oneDNN, weights laid out for it beforehand).
        eager: With `nn.functional.linear`, as eager PyTorch multiplies.
    """

    best: float
    eager: float

    @classmethod
    def measure(cls, model: nn.Module, tokens: int = 2048) -> Floor:
        """Measure over all linear layers of the decoder (without the head)."""
        weights = [m.weight.data for m in model.model.layers.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]
        on_cpu = weights[0].device.type == "cpu"
        inputs = {width: torch.randn(tokens, width).to(weights[0]) for width in (HIDDEN, INTERMEDIATE)}
        operands = [(inputs[weight.shape[1]], weight) for weight in weights]
        laid_out = [(x, torch.ops.mkldnn._reorder_linear_weight(w, tokens)) for x, w in operands] if on_cpu else []

        def eager() -> None:
            for x, weight in operands:
                nn.functional.linear(x, weight)

        def best() -> None:
            for x, weight in laid_out:
                torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")

        with torch.inference_mode():
            times = [seconds(way, 3) / tokens for way in ((eager, best) if on_cpu else (eager,))]
        return cls(min(times), times[0])

    def __str__(self) -> str:
        rates = [1e-9 * FLOP / each for each in (self.best, self.eager)]
        return f"products alone: {rates[0]:.0f} GFLOP/s at best, {rates[1]:.0f} in eager PyTorch"


def arguments(description: str, **more: object) -> argparse.Namespace:
    """The common command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds no GPU here")
    on = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{platform.machine()}, {on}, torch {torch.__version__}, {options.dtype}")
    return options


def largest_gap(found: np.ndarray, expected: np.ndarray) -> float:  # type: ignore[type-arg]
    """Largest absolute difference."""
    return float(np.abs(found - expected).max())
