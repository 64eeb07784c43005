"""Ranking 51 candidates, or all items of a catalogue, for a user: against the usual ways and the floor.

References, in the same process, type and number of threads:

(a) the published way: batches of 16 prompts, left-padded to the longest, `generate` with three new tokens and scores;
(b) what a good engineer would do: the common prefix once into a key-value cache, then the endings in batches of 16;
(c) the floor: the linear layers' matrix products alone, for the tokens that have to be computed, with the fastest
    product there is here; beside it the same with the products of eager PyTorch.

--profile N names the N operations that take most of recalign's time.
"""

from __future__ import annotations

import numpy as np
import torch
from setting import DTYPES, Floor, Movies, arguments, clock, largest_gap, llama, rate, seconds
from torch.profiler import ProfilerActivity, profile
from transformers import DynamicCache, PreTrainedModel

from recalign.models.attention import attention_kernel
from recalign.models.onednn import accelerate_linears
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.tokens import common_prefix
from recalign.scoring.yes_no import YesNoScorer

BATCH = 16


@torch.inference_mode()
def published(model: PreTrainedModel, prompts: list[EncodedPrompt], yes: int, no: int) -> np.ndarray:
    """(a)"""
    scores = []
    for start in range(0, len(prompts), BATCH):
        batch = [prompt.ids for prompt in prompts[start : start + BATCH]]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(one)) + list(one) for one in batch], device=model.device)
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in batch], device=model.device)
        answer = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=3,
            min_new_tokens=3,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        logits = answer.scores[0].float()
        scores.append((logits[:, yes] - logits[:, no]).cpu().numpy())
    return np.concatenate(scores)


@torch.inference_mode()
def cached(model: PreTrainedModel, prompts: list[EncodedPrompt], yes: int, no: int) -> np.ndarray:
    """(b)"""
    device = model.device
    shared = common_prefix([prompt.ids for prompt in prompts])
    shared = min(shared, *(len(prompt.ids) - 1 for prompt in prompts))
    first = model(input_ids=torch.tensor([prompts[0].ids[:shared]], device=device), use_cache=True, logits_to_keep=1)
    layers = [(layer.keys, layer.values) for layer in first.past_key_values.layers]
    scores = []
    for start in range(0, len(prompts), BATCH):
        batch = [prompt.ids[shared:] for prompt in prompts[start : start + BATCH]]
        longest = max(map(len, batch))
        ids = torch.tensor([list(one) + [0] * (longest - len(one)) for one in batch], device=device)
        mask = torch.tensor([[1] * (shared + len(one)) + [0] * (longest - len(one)) for one in batch], device=device)
        cache = DynamicCache([(k.expand(len(batch), -1, -1, -1), v.expand(len(batch), -1, -1, -1)) for k, v in layers])
        hidden = model.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        ends = torch.tensor([len(one) - 1 for one in batch])
        logits = model.lm_head(hidden.last_hidden_state[torch.arange(len(batch)), ends]).float()
        scores.append((logits[:, yes] - logits[:, no]).cpu().numpy())
    return np.concatenate(scores)


def unique_tokens(users: list[list[EncodedPrompt]]) -> int:
    """How many different (prefix, token) pairs the prompts have: what no method of sharing can avoid."""
    return len({prompt.ids[:end] for user in users for prompt in user for end in range(1, len(prompt.ids) + 1)})


def main() -> None:
    options = arguments(__doc__.splitlines()[0], users=8, items=51, extrapolate=0, batch_tokens=2560, profile=0)
    dtype = DTYPES[options.dtype]
    movies = Movies.load("leave-one-out")
    items = options.items
    users = movies.lists(options.users, items)
    yes, no = movies.encoder.yes_id, movies.encoder.no_id
    plain, fast = llama(dtype, options.device), llama(dtype, options.device)
    accelerate_linears(fast)
    scorer = YesNoScorer(fast, movies.encoder, movies.samples.catalog, batch_tokens=options.batch_tokens)
    prompts = [prompt for user in users for prompt in user]
    sizes = [len(user) for user in users]
    mean = np.mean([len(prompt.ids) for prompt in prompts])
    print(f"{len(users)} users, {items} items each, {mean:.0f} tokens a prompt")
    asked = users[0][: options.extrapolate] if options.extrapolate else users[0]
    published(plain, asked[:BATCH], yes, no)
    start = clock()
    expected = published(plain, asked, yes, no)
    slow = (clock() - start) * items / len(asked)
    found = scorer.score_prompts(prompts, sizes)[0]
    ours = seconds(lambda: scorer.score_prompts(prompts, sizes), options.repeats) / len(users)
    tokens = unique_tokens(users) / len(users)
    floor = Floor.measure(plain)
    rows = [("(a) the published way", slow)]
    print(f"largest difference of a score to (a): {largest_gap(found[: len(asked)], expected):.1e}")
    if not options.extrapolate:
        gap = largest_gap(cached(plain, asked, yes, no), expected)
        rows.append(("(b) key-value cache", seconds(lambda: cached(plain, asked, yes, no), options.repeats)))
        print(f"largest difference of (b) to (a):     {gap:.1e}")
    if options.device == "cuda":
        with attention_kernel("groups"):
            grouped = seconds(lambda: scorer.score_prompts(prompts, sizes), options.repeats) / len(users)
        rows.append(("recalign, grouped products", grouped))
    rows += [
        ("recalign", ours),
        ("(c) floor", tokens * floor.best),
        ("    floor, eager products", tokens * floor.eager),
    ]
    print(f"{floor}; {tokens:.0f} tokens a user have to be computed")
    print(f"recalign: {rate(tokens, 1, ours, options)}")
    print(f"{'':28}{'seconds a user':>15}{'speed-up':>10}{'recalign is':>13}")
    for name, value in rows:
        print(f"{name:28}{value:15.3f}{slow / value:9.1f}x{value / ours:12.2f}x")
    if options.profile:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            scorer.score_prompts(prompts, sizes)
        operations = sorted(profiled.key_averages(), key=lambda one: one.self_cpu_time_total, reverse=True)
        whole = sum(one.self_cpu_time_total for one in operations)
        for one in operations[: options.profile]:
            print(f"{one.key:40}{one.self_cpu_time_total / whole:8.1%}")


if __name__ == "__main__":
    main()
