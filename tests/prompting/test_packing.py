from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import IGNORE, build_row, collate, common_prefix, grow_tree, grow_trees, pack


def prompt(ids: list[int], answer_start: int | None = None, answered: bool = False) -> EncodedPrompt:
    start = len(ids) if answer_start is None else answer_start
    labels = tuple(token if answered and place >= start else IGNORE for place, token in enumerate(ids))
    return EncodedPrompt(ids=tuple(ids), labels=labels, answer_start=start)


prompts_of_one_history = st.lists(
    st.tuples(st.lists(st.integers(3, 6), min_size=1, max_size=6), st.booleans()), min_size=1, max_size=5
).map(lambda tails: [prompt([1, 2, 1, *tail, 9], len(tail) + 3, answered) for tail, answered in tails])


def visible_prompts(row, mask) -> list[list[int]]:  # type: ignore[no-untyped-def]
    """The ids that the last token of each branch can see, in order of position: what the model reads as one prompt."""
    ends = [
        place
        for place in range(len(row.ids))
        if row.branch[place] > 0
        and (
            place + 1 == len(row.ids)
            or row.positions[place + 1] != row.positions[place] + 1
            or row.branch[place + 1] != row.branch[place]
            or row.tree[place + 1] != row.tree[place]
        )
    ]
    found = []
    for end in ends:
        seen = np.flatnonzero(mask[end])
        assert list(row.positions[seen]) == list(range(len(seen)))
        found.append([int(token) for token in row.ids[seen]])
    return found


@given(st.lists(prompts_of_one_history, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_each_prompt_sees_exactly_its_own_tokens(groups: list[list[EncodedPrompt]]) -> None:
    row = build_row([grow_tree(group) for group in groups])
    batch = collate([row], pad_id=0)
    expected = [list(one.ids) for group in groups for one in group]
    assert visible_prompts(row, batch.mask[0, 0]) == expected
    flat = [one for group in groups for one in group]
    for one, place in zip(flat, row.answers, strict=True):
        assert row.ids[place] == one.ids[one.answer_start - 1]
        assert row.positions[place] == one.answer_start - 1


@given(prompts_of_one_history)
@settings(max_examples=100, deadline=None)
def test_weighted_labels_count_every_prompt(group: list[EncodedPrompt]) -> None:
    row = build_row([grow_tree(group)])
    assert row.weights.sum() == sum(len(one.ids) for one in group)
    for place in np.flatnonzero(row.labels != IGNORE):
        previous = row.previous[place]
        assert row.positions[previous] == row.positions[place] - 1


@given(prompts_of_one_history, st.integers(8, 40))
@settings(max_examples=100, deadline=None)
def test_trees_respect_the_budget_and_keep_the_order(group: list[EncodedPrompt], budget: int) -> None:
    trees = grow_trees(group, budget)
    rebuilt = [tree.stem + branch for tree in trees for branch in tree.branches]
    assert rebuilt == [one.ids for one in group]
    assert all(tree.n_tokens <= budget or len(tree.branches) == 1 for tree in trees)


def test_common_prefix() -> None:
    assert common_prefix([(1, 2, 3), (1, 2, 4), (1, 2, 3, 5)]) == 2
    assert common_prefix([(1,), (2,)]) == 0
    assert common_prefix([(1, 2), (1, 2)]) == 2


def test_identical_prompts_keep_their_answers_apart() -> None:
    row = build_row([grow_tree([prompt([1, 2, 3]), prompt([1, 2, 3])])])
    assert list(row.ids) == [1, 2, 3, 3]
    assert list(row.answers) == [2, 3]


def test_pack_is_next_fit() -> None:
    trees = [grow_tree([prompt([1] * n)]) for n in (3, 3, 5, 9, 1)]
    assert pack(trees, 8) == [[0, 1], [2], [3], [4]]


def test_padding_sees_only_itself() -> None:
    rows = [build_row([grow_tree([prompt([1, 2, 3])])]), build_row([grow_tree([prompt([4])])])]
    batch = collate(rows, pad_id=0)
    assert batch.mask[1, 0, 2].tolist() == [False, False, True]
    assert batch.answers.tolist() == [[0, 2], [1, 0]]
    assert batch.weights[1].tolist() == [1.0, 0.0, 0.0]
