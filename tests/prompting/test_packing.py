from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import (
    Forest,
    forests,
    grow_tree,
    grow_trees,
    pack,
    split,
)


def prompt(ids: list[int], answer_start: int | None = None, answered: bool = False) -> EncodedPrompt:
    start = len(ids) if answer_start is None else answer_start
    labels = tuple(token if answered and place >= start else IGNORE for place, token in enumerate(ids))
    return EncodedPrompt(ids=tuple(ids), labels=labels, answer_start=start)


FRAME = [1, 2] * 4

Visible = Callable[[Forest], NDArray[np.bool_]]

prompts_of_one_history = st.lists(
    st.tuples(st.lists(st.integers(3, 6), min_size=1, max_size=6), st.booleans()), min_size=1, max_size=5
).map(lambda tails: [prompt([*FRAME, 1, *tail, 9], len(FRAME) + len(tail) + 1, answered) for tail, answered in tails])


def read(forest: Forest, mask: NDArray[np.bool_], place: int) -> list[int]:
    """The ids that a token can see, in order of position: what the model reads up to there."""
    seen = np.flatnonzero(mask[place])
    seen = seen[np.argsort(forest.positions[seen])]
    assert list(forest.positions[seen]) == list(range(len(seen)))
    return [int(token) for token in forest.ids[seen]]


@given(st.lists(prompts_of_one_history, min_size=1, max_size=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_each_prompt_sees_exactly_its_own_tokens(
    visible: Visible, groups: list[list[EncodedPrompt]], share: bool
) -> None:
    trees = [grow_tree(group) for group in groups]
    forest = pack(trees if share else [one for tree in trees for one in split(tree)], share=share)
    for one, place in zip([one for group in groups for one in group], forest.answers, strict=True):
        assert read(forest, visible(forest), place) == list(one.ids[: one.answer_start])
        end = place
        for token in one.ids[one.answer_start :]:
            end = int(np.flatnonzero(forest.previous == end)[0])
            assert forest.ids[end] == token
        assert read(forest, visible(forest), end) == list(one.ids)


@given(st.lists(prompts_of_one_history, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_groups_cover_the_forest_in_order(groups: list[list[EncodedPrompt]]) -> None:
    forest = pack([grow_tree(group) for group in groups])
    assert [group.start for group in forest.groups] == [0, *(group.stop for group in forest.groups[:-1])]
    assert forest.groups[-1].stop == len(forest.ids)
    for group in forest.groups:
        assert sum(group.lengths) == group.stop - group.start
        assert min(group.lengths) > 0
        assert all(stop <= group.start for _, stop in group.prefix)


@given(st.lists(prompts_of_one_history, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_weights_count_every_prompt(groups: list[list[EncodedPrompt]]) -> None:
    forest = pack([grow_tree(group) for group in groups])
    assert forest.weights.sum() == sum(len(one.ids) for group in groups for one in group)
    inner = forest.previous >= 0
    assert (forest.positions[forest.previous[inner]] == forest.positions[inner] - 1).all()
    assert (forest.positions[~inner] == 0).all()
    marked = forest.labels != IGNORE
    wanted = sum(label != IGNORE for group in groups for one in group for label in one.labels)
    assert forest.weights[marked].sum() == wanted


def test_the_frame_of_all_prompts_stands_there_once() -> None:
    first = grow_tree([prompt([*FRAME, 3, 4, 5]), prompt([*FRAME, 3, 4, 6])])
    forest = pack([first, grow_tree([prompt([*FRAME, 7, 8])])])
    assert list(forest.ids) == [*FRAME, 3, 4, 7, 8, 5, 6]
    assert list(forest.weights) == [3.0] * 8 + [2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    assert [group.prefix for group in forest.groups] == [(), ((0, 8),), ((0, 8), (8, 10))]
    assert list(forest.previous[8:]) == [7, 8, 7, 10, 9, 9]


def test_a_short_common_beginning_is_not_worth_a_root() -> None:
    forest = pack([grow_tree([prompt([1, 2, 3])]), grow_tree([prompt([1, 2, 4])])])
    assert list(forest.ids) == [1, 2, 3, 1, 2, 4]


def test_tokens_with_other_labels_are_not_merged() -> None:
    bare = prompt([*FRAME, 3])
    learnt = EncodedPrompt(bare.ids, (*[IGNORE] * 7, *bare.ids[7:]), bare.answer_start)
    assert len(pack([grow_tree([bare]), grow_tree([learnt])]).ids) == 2 * len(bare.ids)


@given(prompts_of_one_history, st.integers(8, 40))
@settings(max_examples=100, deadline=None)
def test_trees_respect_the_budget_and_keep_the_order(group: list[EncodedPrompt], budget: int) -> None:
    trees = grow_trees(group, budget)
    rebuilt = [tree.stem + branch for tree in trees for branch in tree.branches]
    assert rebuilt == [one.ids for one in group]
    assert all(tree.n_tokens <= budget or len(tree.branches) == 1 for tree in trees)


def test_trees_are_filled_by_what_their_prompts_add_to_the_stem() -> None:
    prompts = [prompt([*FRAME, 9, last, 7], len(FRAME) + 2) for last in (3, 4, 5, 6)]
    exactly = len(FRAME) + 1 + 4 * 2
    assert [len(tree.branches) for tree in grow_trees(prompts, exactly)] == [4]
    assert [len(tree.branches) for tree in grow_trees(prompts, exactly - 1)] == [3, 1]
    apart = [prompt([*FRAME, middle, 3, last], len(FRAME) + 2) for middle, last in ((9, 3), (8, 3), (9, 4))]
    assert [tree.n_tokens for tree in grow_trees(apart, 15)] == [14, 11], "the second prompt has shortened the stem"
    alone = [prompt([*FRAME, 9, 3, 7], 2), *prompts[1:]]  # its answer position ends the stem after one token
    assert [tree.n_tokens for tree in grow_trees(alone, 34)] == [1 + 3 * 10, 11]


def test_identical_prompts_keep_their_answers_apart() -> None:
    forest = pack([grow_tree([prompt([1, 2, 3]), prompt([1, 2, 3])])])
    assert list(forest.ids) == [1, 2, 3, 3]
    assert list(forest.answers) == [2, 3]


def test_forests_keep_to_the_budget() -> None:
    trees = [grow_tree([prompt([1] * n)]) for n in (3, 3, 5, 9, 1)]
    assert list(forests(trees, 8)) == [(0, 2), (2, 3), (3, 4), (4, 5)]
    assert list(forests(trees, 6)) == [(0, 2), (2, 3), (3, 4), (4, 5)], "two trees of 3 tokens fill it exactly"
    assert list(forests([], 8)) == []
