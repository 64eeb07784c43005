"""LoRA tuning: samples a second, peak memory and gradients against the usual ways.

References, in the same process, type and number of threads; LoRA (r = 8 on queries and values) in all:

(a) the published way: micro-batches of 32 samples, padded, loss from the full logits of the full sequence;
(b) what a good engineer would do: samples of like length together, the head at the answers only;
(c) the floor: the linear layers' matrix products alone, for the tokens that have to be computed, forward and again for
    the gradient of the input, with the fastest product there is here; beside it with the products of eager PyTorch.

With `--device cuda` all of them run on the GPU; recalign then also with the attention that it uses on CPUs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from setting import DTYPES, Floor, Movies, arguments, clock, llama, rate, seconds
from torch import Tensor, nn

from recalign.models.attention import attention_kernel
from recalign.models.onednn import accelerate_linears
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import Tree, grow_tree, grow_trees
from recalign.tuning.config import TrainingConfig
from recalign.tuning.optim import StepForests

MICRO_BATCH = 32


def tuned(dtype: torch.dtype, device: str, *, fast: bool) -> nn.Module:
    """The model with LoRA that does something: freshly attached ones have no gradient on A."""
    model = llama(dtype, device)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.02)
    if fast:
        accelerate_linears(model)
    return model.train()  # type: ignore[no-any-return]


def padded(model: nn.Module, batch: Sequence[EncodedPrompt]) -> tuple[Tensor, Tensor, Tensor]:
    longest = max(len(one.ids) for one in batch)
    ids = torch.tensor([[*one.ids, *[0] * (longest - len(one.ids))] for one in batch])
    mask = torch.tensor([[*[1] * len(one.ids), *[0] * (longest - len(one.ids))] for one in batch])
    labels = torch.tensor([[*one.labels, *[IGNORE] * (longest - len(one.ids))] for one in batch])
    device = next(model.parameters()).device
    return ids.to(device), mask.to(device), labels.to(device)


def published(model: nn.Module, prompts: Sequence[EncodedPrompt]) -> None:
    """(a): one optimizer step's gradients."""
    model.zero_grad()
    for start in range(0, len(prompts), MICRO_BATCH):
        ids, mask, labels = padded(model, prompts[start : start + MICRO_BATCH])
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        (loss * len(ids) / len(prompts)).backward()


def bucketed(model: nn.Module, prompts: Sequence[EncodedPrompt]) -> None:
    """(b)"""
    model.zero_grad()
    ordered = sorted(prompts, key=lambda one: len(one.ids))
    total = sum(label != IGNORE for one in prompts for label in one.labels)
    bare = model.base_model.model  # type: ignore[union-attr]
    for start in range(0, len(ordered), MICRO_BATCH):
        ids, mask, labels = padded(model, ordered[start : start + MICRO_BATCH])
        hidden = bare.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state  # type: ignore[union-attr, operator]
        rows, columns = (labels != IGNORE).nonzero(as_tuple=True)
        logits = bare.lm_head(hidden[rows, columns - 1])  # type: ignore[union-attr, operator]
        (nn.functional.cross_entropy(logits.float(), labels[rows, columns], reduction="sum") / total).backward()


def packed(model: nn.Module, trees: Sequence[Tree], budget: int) -> None:
    """What the training loop does between two steps of the optimizer."""
    model.zero_grad()
    step = StepForests.build(trees, budget, np.random.default_rng(0), 0.0)
    for losses in step.losses(model):
        losses.answers.backward()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.float().clone() for n, p in model.named_parameters() if p.grad is not None}


def relative_gap(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest difference within a gradient, relative to the largest value of that gradient."""
    return max(float((found[name] - one).abs().max() / one.abs().max()) for name, one in expected.items())


def peak_memory(way: str, options: list[str]) -> float:
    """Peak memory in GB that one step of a way adds to a process with the model loaded."""
    command = [sys.executable, __file__, *options, "--only", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak(device: str) -> int:
    """The most memory that was in use so far, in bytes: of the GPU, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def blocks(movies: Movies, targets: int, samples: int) -> Iterator[list[EncodedPrompt]]:
    """Per user one history and the next `targets` interactions as its targets."""
    by_user: dict[str, list] = {}  # type: ignore[type-arg]
    for sample in movies.samples.samples("train"):
        by_user.setdefault(sample.user_id, []).append(sample)
    made = 0
    for asked in by_user.values():
        for start in range(0, len(asked) - targets + 1, targets):
            if made >= samples:
                return
            first = asked[start]
            chosen = [
                type(one)(one.sample_id, one.user_id, one.item_id, one.label, first.history)
                for one in asked[start : start + targets]
            ]
            yield movies.prompts(chosen)
            made += targets


def main() -> None:
    options = arguments(__doc__.splitlines()[0], samples=64, targets=10, budget=0, only="")
    dtype = DTYPES[options.dtype]
    movies = Movies.load()
    groups = list(blocks(movies, options.targets, options.samples)) if options.targets > 1 else []
    chosen = np.random.default_rng(0).permutation(8000)[: options.samples]
    train = movies.samples.samples("train")
    single = movies.prompts([train[index] for index in chosen])
    budget = options.budget or TrainingConfig.model_fields["micro_batch_tokens"].default
    if options.only:
        model = tuned(dtype, options.device, fast=options.only == "recalign")
        before = peak(options.device)
        {
            "published": lambda: published(model, single[:MICRO_BATCH]),
            "recalign": lambda: packed(model, [grow_tree([one]) for one in single], budget),
        }[options.only]()
        print((peak(options.device) - before) / 2**30)
        return
    flags = ["--dtype", options.dtype, "--device", options.device, "--threads", str(options.threads), "--targets", "1"]
    theirs, ours = peak_memory("published", flags), peak_memory("recalign", flags)
    print(f"memory of a step beyond the model: (a) {theirs:.2f} GB, recalign {ours:.2f} GB: {ours / theirs:.2f} of it")
    plain, fast = (tuned(dtype, options.device, fast=fast) for fast in (False, True))
    floor = Floor.measure(llama(dtype, options.device))
    print(floor)
    sets: list[tuple[str, list[list[EncodedPrompt]]]] = [("single-target samples", [[one] for one in single])]
    sets += [(f"{options.targets} targets per history", groups)] if groups else []
    for name, asked in sets:
        report(name, asked, plain, fast, budget, options, floor)


def report(
    name: str, groups: list[list[EncodedPrompt]], plain: nn.Module, fast: nn.Module, budget: int,
    options: argparse.Namespace, floor: Floor,
) -> None:  # fmt: skip
    prompts = [one for group in groups for one in group]
    trees = [tree for group in groups for tree in grow_trees(group, budget)]
    unique = len({one.ids[:end] for one in prompts for end in range(1, len(one.ids) + 1)})
    published(plain, prompts[:MICRO_BATCH])
    slow = once(lambda: published(plain, prompts))
    expected = gradients(plain)
    buckets = once(lambda: bucketed(plain, prompts))
    ours = seconds(lambda: packed(fast, trees, budget), options.repeats)
    print(f"{name}: {len(prompts)} samples, {sum(len(one.ids) for one in prompts)} tokens, {unique} different")
    print(f"largest relative difference of a gradient to (a): {relative_gap(gradients(fast), expected):.1e}")
    print(f"recalign: {rate(unique, 2, ours, options)}")
    rows = [("(a) the published way", slow), ("(b) buckets, answers only", buckets)]
    if options.device == "cuda":
        with attention_kernel("groups"):
            grouped = seconds(lambda: packed(fast, trees, budget), options.repeats)
        rows.append(("recalign, grouped products", grouped))
    rows.append(("recalign", ours))
    rows += [("(c) floor", 2 * unique * floor.best), ("    floor, eager products", 2 * unique * floor.eager)]
    print(f"{'':28}{'samples/s':>10}{'speed-up':>10}{'recalign is':>13}")
    for way, value in rows:
        print(f"{way:28}{len(prompts) / value:10.2f}{slow / value:9.1f}x{value / ours:12.2f}x")


def once(run: Callable[[], None]) -> float:
    """Seconds of one run."""
    start = clock()
    run()
    return clock() - start


if __name__ == "__main__":
    main()
