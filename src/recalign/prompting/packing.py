"""Packing: prompts are merged where their ids agree, and each prompt still sees only itself.

Prompts of one history become a *tree*: the ids that they have in common (instruction frame and history) and one
*branch* per prompt (its target and answer). Trees become a *forest*: what all its trees begin with (the frame) is its
root and stands there once. A forest is one row without padding; positions restart at every fork, and the segments that
a token may see (those on its way to the root, and its own up to itself) are listed as `Group`s, so every prompt gets
exactly the numbers that it would get alone. Forests depend on the configured token budget alone, so the same inputs
give the same ones on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.tokens import common_prefix

# A shorter common beginning (a begin token, say) costs more to share than to repeat.
_SHORTEST_ROOT = 8
# Segments that run together are padded to the longest: this is the shortest that may run with it, as a share.
_ALIKE = 0.8


@dataclass(frozen=True, slots=True)
class Tree:
    """Prompts of one history: `stem` is shared, `branches[i]` holds the remaining ids of prompt i.

    `answer_offsets[i]` is the place of the answer position of prompt i within its branch.
    """

    stem: tuple[int, ...]
    stem_labels: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    branch_labels: tuple[tuple[int, ...], ...]
    answer_offsets: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        return len(self.stem) + sum(len(branch) for branch in self.branches)


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive segments of a forest that see the same tokens before their own.

    Attributes:
        start, stop: The group's tokens in the forest.
        prefix: Spans (start, stop) that every token of the group sees.
        lengths: Lengths of its segments, in order; within a segment attention is causal.
    """

    start: int
    stop: int
    prefix: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """Packed prompts: T tokens in one row; arrays of shape (T,).

    Attributes:
        ids: Token ids (int64).
        labels: The token itself where a loss is due at this token, `IGNORE` elsewhere.
        positions: Position of the token within its own prompt.
        previous: Index of the token that precedes this one in its prompt, -1 for a first token. The loss at a token is
            computed from there.
        weights: In how many prompts the token stands (float64).
        answers: Index of the answer position of every prompt, in the order given; shape (prompts,).
        groups: Which tokens see which; together they cover the forest in order.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    previous: NDArray[np.int64]
    weights: NDArray[np.float64]
    answers: NDArray[np.int64]
    groups: tuple[Group, ...]


def grow_tree(prompts: Sequence[EncodedPrompt]) -> Tree:
    """Merge prompts where their ids agree. Every branch keeps at least its answer position, so answers stay apart."""
    shared = common_prefix([prompt.ids for prompt in prompts]) if len(prompts) > 1 else 0
    shared = min([shared, *(prompt.answer_start - 1 for prompt in prompts)])
    first = prompts[0]
    return Tree(
        stem=tuple(first.ids[:shared]),
        stem_labels=tuple(first.labels[:shared]),
        branches=tuple(tuple(prompt.ids[shared:]) for prompt in prompts),
        branch_labels=tuple(tuple(prompt.labels[shared:]) for prompt in prompts),
        answer_offsets=tuple(prompt.answer_start - 1 - shared for prompt in prompts),
    )


def grow_trees(prompts: Sequence[EncodedPrompt], budget: int) -> list[Tree]:
    """Trees over consecutive `prompts` of one history, none larger than `budget` tokens (a single prompt may be)."""
    trees: list[Tree] = []
    group: list[EncodedPrompt] = []
    shared = total = 0
    for prompt in prompts:
        joint = 0
        if group:
            first = group[0]
            joint = min(common_prefix([first.ids, prompt.ids]), first.answer_start - 1, prompt.answer_start - 1)
        stem = min(shared, joint) if len(group) > 1 else joint
        size = total + len(prompt.ids) - stem * len(group) if group else len(prompt.ids)
        if group and size > budget:
            trees.append(grow_tree(group))
            group, total, stem = [], 0, 0
        group.append(prompt)
        total, shared = total + len(prompt.ids), stem
    if group:
        trees.append(grow_tree(group))
    return trees


def split(tree: Tree) -> list[Tree]:
    """The tree's prompts, each as a tree of its own."""
    return [
        Tree((), (), (tree.stem + ids,), (tree.stem_labels + labels,), (len(tree.stem) + offset,))
        for ids, labels, offset in zip(tree.branches, tree.branch_labels, tree.answer_offsets, strict=True)
    ]


@dataclass(slots=True)
class _Segment:
    """Tokens between two forks, while trees are packed; `start` is known once the segment has its place."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    position: int
    weight: int
    parents: tuple[_Segment, ...]
    start: int = -1

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.start + len(self.ids)


def pack(trees: Sequence[Tree], *, share: bool = True) -> Forest:
    """Lay trees out as one forest: the root, the stems (those of like length together), then each tree's branches.

    Args:
        trees: The trees, in the order in which `Forest.answers` names their prompts.
        share: Whether what the trees begin with is merged. Without it, and with trees of one prompt each, every
            prompt is one segment, in the order given.
    """
    shared = _shared_root(trees) if share and len(trees) > 1 else 0
    ids = trees[0].stem or trees[0].branches[0]
    labels = trees[0].stem_labels or trees[0].branch_labels[0]
    prompts = sum(len(tree.branches) for tree in trees)
    root = (_Segment(ids[:shared], labels[:shared], 0, prompts, ()),) if shared else ()
    stems, branches, prompt_segments = _segments(trees, shared, root)
    levels = [list(root)] if root else []
    levels += _alike(stems) if share else [stems]
    levels += [level for level in branches if level]
    groups = []
    place = 0
    for level in levels:
        first = place
        for segment in level:
            segment.start = place
            place += len(segment.ids)
        prefix = tuple(parent.span for parent in level[0].parents)
        groups.append(Group(first, place, prefix, tuple(len(segment.ids) for segment in level)))
    segments = [segment for level in levels for segment in level]
    answers = [segment.start + offset for segment, offset in prompt_segments]
    return _forest(segments, groups, answers)


def _segments(
    trees: Sequence[Tree], shared: int, root: tuple[_Segment, ...]
) -> tuple[list[_Segment], list[list[_Segment]], list[tuple[_Segment, int]]]:
    """Segments on the root, each tree's branches on its stem, and per prompt its segment and answer offset."""
    stems: list[_Segment] = []
    all_branches: list[list[_Segment]] = []
    prompts: list[tuple[_Segment, int]] = []
    for tree in trees:
        fork, parents, skipped = len(tree.stem), root, 0 if tree.stem else shared
        if len(tree.stem) > shared:
            stem = _Segment(tree.stem[shared:], tree.stem_labels[shared:], shared, len(tree.branches), root)
            stems.append(stem)
            parents = (*root, stem)
        branches = [
            _Segment(ids[skipped:], labels[skipped:], fork + skipped, 1, parents)
            for ids, labels in zip(tree.branches, tree.branch_labels, strict=True)
        ]
        if parents == root:
            stems += branches
        else:
            all_branches.append(branches)
        prompts += [(branch, offset - skipped) for branch, offset in zip(branches, tree.answer_offsets, strict=True)]
    return stems, all_branches, prompts


def _shared_root(trees: Sequence[Tree]) -> int:
    """How many ids (with equal labels) all trees begin with; every prompt keeps its answer position to itself."""
    ids: list[tuple[int, ...]] = []
    labels: list[tuple[int, ...]] = []
    longest = len(trees[0].stem or trees[0].branches[0])
    for tree in trees:
        ids += [tree.stem] if tree.stem else tree.branches
        labels += [tree.stem_labels] if tree.stem else tree.branch_labels
        longest = min([longest, len(tree.stem)] if tree.stem else [longest, *tree.answer_offsets])
    shared = min(longest, common_prefix(ids), common_prefix(labels))
    return shared if shared >= _SHORTEST_ROOT else 0


def _alike(segments: list[_Segment]) -> list[list[_Segment]]:
    """Segments by length (stable), cut where they become much longer than the first of their group."""
    groups: list[list[_Segment]] = []
    for segment in sorted(segments, key=lambda segment: len(segment.ids)):
        if not groups or len(groups[-1][0].ids) < _ALIKE * len(segment.ids):
            groups.append([])
        groups[-1].append(segment)
    return groups


def _forest(segments: Sequence[_Segment], groups: Sequence[Group], answers: Sequence[int]) -> Forest:
    ids, labels, positions, previous, weights = [], [], [], [], []
    for segment in segments:
        n = len(segment.ids)
        ids.append(np.asarray(segment.ids, dtype=np.int64))
        labels.append(np.asarray(segment.labels, dtype=np.int64))
        positions.append(np.arange(segment.position, segment.position + n))
        before = np.arange(segment.start - 1, segment.start + n - 1)
        before[0] = segment.parents[-1].span[1] - 1 if segment.parents else -1
        previous.append(before)
        weights.append(np.full(n, float(segment.weight)))
    return Forest(
        ids=np.concatenate(ids),
        labels=np.concatenate(labels),
        positions=np.concatenate(positions),
        previous=np.concatenate(previous),
        weights=np.concatenate(weights),
        answers=np.asarray(answers, dtype=np.int64),
        groups=tuple(groups),
    )


def forests(trees: Sequence[Tree], budget: int) -> Iterator[tuple[int, int]]:
    """Cut `trees` into consecutive runs [start, stop) of at most `budget` tokens (at least one tree each).

    A tree counts with all its tokens: what a forest then shares at its root comes on top. Deterministic, one pass.
    """
    start, room = 0, budget
    for index, tree in enumerate(trees):
        if index > start and tree.n_tokens > room:
            yield start, index
            start, room = index, budget
        room -= tree.n_tokens
    if start < len(trees):
        yield start, len(trees)
