"""Packing: prompts that share a history become one tree, trees become rows, and each prompt still sees only itself.

A *tree* is the ids that a group of prompts have in common (instruction frame and history) followed by one *branch* per
prompt (its target and answer). Position ids restart at the fork, and the mask lets a token see its own branch and the
stem it grew from, so every prompt gets exactly the numbers that it would get alone. Shared prefixes are found in the
ids of jointly tokenised prompts, never by tokenising pieces (DESIGN, decision 3). Rows depend on the configured token
budget alone, so the same inputs give the same rows on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recalign.prompting.encoding import EncodedPrompt

IGNORE = -100


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
class Row:
    """One packed row of L tokens; int64 arrays of shape (L,).

    Attributes:
        ids: Token ids.
        labels: The token itself where a loss is due at this token, `IGNORE` elsewhere.
        positions: Position of the token within its own prompt.
        tree: Index of the token's tree within the row.
        branch: 0 in a stem, 1.. in the branches of its tree.
        previous: Index (in the row) of the token that precedes this one in its prompt, -1 for a first token: the end of
            the stem for the first token of a branch. The loss at a token is computed from there.
        weights: In how many prompts the token stands: the number of branches in a stem, 1 in a branch (float64).
        answers: Index (in the row) of the answer position of every prompt, in the order given: the last token before
            its answer (the last token of a prompt without an answer).
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    tree: NDArray[np.int64]
    branch: NDArray[np.int64]
    previous: NDArray[np.int64]
    weights: NDArray[np.float64]
    answers: NDArray[np.int64]


def common_prefix(sequences: Sequence[tuple[int, ...]]) -> int:
    """Length of the longest common prefix of all `sequences` (compares the two extremes in sorted order)."""
    low, high = min(sequences), max(sequences)
    length = 0
    for a, b in zip(low, high, strict=False):
        if a != b:
            break
        length += 1
    return length


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


def grow_trees(prompts: Sequence[EncodedPrompt], row_tokens: int) -> list[Tree]:
    """Trees over consecutive `prompts` of one history, none larger than `row_tokens` (a single prompt may be)."""
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
        if group and size > row_tokens:
            trees.append(grow_tree(group))
            group, total, shared = [], 0, 0
            stem = 0
        group.append(prompt)
        total += len(prompt.ids)
        shared = stem
    if group:
        trees.append(grow_tree(group))
    return trees


def build_row(trees: Sequence[Tree]) -> Row:
    """Lay trees one behind the other."""
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    tree_index: list[int] = []
    branch_index: list[int] = []
    previous: list[int] = []
    weights: list[float] = []
    answers: list[int] = []
    for number, tree in enumerate(trees):
        root, stem = len(ids), len(tree.stem)
        fork = root + stem - 1 if stem else -1
        parts = zip((tree.stem, *tree.branches), (tree.stem_labels, *tree.branch_labels), strict=True)
        for index, (part, marks) in enumerate(parts):
            start, first = len(ids), 0 if index == 0 else stem
            if index:
                answers.append(start + tree.answer_offsets[index - 1])
            ids += part
            labels += marks
            positions += range(first, first + len(part))
            branch_index += [index] * len(part)
            previous += [-1 if index == 0 else fork, *range(start, start + len(part) - 1)][: len(part)]
            weights += [float(len(tree.branches)) if index == 0 else 1.0] * len(part)
        tree_index += [number] * (len(ids) - root)
    integers: tuple[list[int], ...] = (ids, labels, positions, tree_index, branch_index, previous)
    first_six = [np.asarray(values, dtype=np.int64) for values in integers]
    return Row(*first_six, np.asarray(weights), np.asarray(answers, dtype=np.int64))  # type: ignore[arg-type, call-arg]


def pack(trees: Iterable[Tree], row_tokens: int) -> list[list[int]]:
    """Assign trees to rows of at most `row_tokens` tokens in the order given (next-fit: deterministic, one pass).

    Returns the tree indices of each row. A tree larger than the budget gets a row of its own.
    """
    rows: list[list[int]] = []
    room = 0
    for index, tree in enumerate(trees):
        if not rows or tree.n_tokens > room:
            rows.append([])
            room = row_tokens
        rows[-1].append(index)
        room -= tree.n_tokens
    return rows


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to one length, as arrays ready to become tensors.

    Attributes:
        ids, labels, positions: int64, shape (rows, length); padding has label `IGNORE`.
        mask: bool, shape (rows, 1, length, length); True where the query (third axis) may see the key (fourth).
        previous, weights: As in `Row`; -1 and 0 in the padding.
        answers: int64, shape (prompts, 2): row and column of each answer position, prompts in order of the rows.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]
    previous: NDArray[np.int64]
    weights: NDArray[np.float64]
    answers: NDArray[np.int64]


def collate(rows: Sequence[Row], pad_id: int) -> Batch:
    """Pad rows on the right. A padding token sees only itself, so no softmax is over an empty set."""
    length = max(len(row.ids) for row in rows)
    shape = (len(rows), length)
    ids = np.full(shape, pad_id, dtype=np.int64)
    labels = np.full(shape, IGNORE, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    tree = np.full(shape, -1, dtype=np.int64)
    branch = np.zeros(shape, dtype=np.int64)
    previous = np.full(shape, -1, dtype=np.int64)
    weights = np.zeros(shape)
    for index, row in enumerate(rows):
        n = len(row.ids)
        ids[index, :n], labels[index, :n], positions[index, :n] = row.ids, row.labels, row.positions
        tree[index, :n], branch[index, :n] = row.tree, row.branch
        previous[index, :n], weights[index, :n] = row.previous, row.weights
    same_tree = (tree[:, :, None] == tree[:, None, :]) & (tree[:, :, None] >= 0)
    visible = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    causal = np.tril(np.ones((length, length), dtype=np.bool_))
    mask = (same_tree & visible & causal) | np.eye(length, dtype=np.bool_)
    answers = np.concatenate(
        [np.stack([np.full(len(row.answers), index), row.answers], axis=1) for index, row in enumerate(rows)]
    ).astype(np.int64)
    return Batch(ids, labels, positions, mask[:, None], previous, weights, answers)
