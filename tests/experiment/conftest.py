"""A whole recipe, small enough for seconds: synthetic data, a minimal nano, a few steps per stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RECIPE = """
name = "small"

[data.source]
dataset = "synthetic"
catalogue = "movies"
seed = 1
users = 14
items = 40
ratings_per_user = 12
max_history = 4

[data.target]
dataset = "synthetic"
catalogue = "books"
seed = 2
users = 14
items = 40
ratings_per_user = 12
max_history = 4

[backbone]
name = "nano"
device = "cpu"
sources = ["source"]
targets = ["target"]

[backbone.nano]
hidden = 32
layers = 1
heads = 2
intermediate = 32
vocabulary = 400
steps = 2
batch_tokens = 512
row_tokens = 64
instructions = 20

[[stages]]
name = "it"
kind = "instruction"
mode = "full"
data = ["source"]
zero_shot_for = ["target"]
instructions = 20
batch_size = 4
max_steps = 2
precision = "fp32"

[[stages]]
name = "zero-shot"
parent = "it"
mode = "full"
data = ["source"]
zero_shot_for = ["target"]
selection = "source"
holdout = 0.3
batch_size = 8
max_steps = 2
eval_steps = 1
precision = "fp32"
optim = { lr = 1e-3 }
sampling = { targets_per_history = 4 }

[[stages]]
name = "few"
parent = "zero-shot"
data = ["target"]
validation = "target"
shots_grid = [4]
seeds = [0, 1]
selections = ["strict-k", "paper"]
batch_size = 4
max_steps = 1
precision = "fp32"

[[evaluations]]
data = "target"
stages = ["zero-shot", "few"]
fit = "source"
resamples = 100
"""


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where nano is cached while tests of this package run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RECALIGN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="package")
def write_recipe() -> Callable[..., Path]:
    """Write the recipe with some of its text replaced; the path of the file."""

    def write(folder: Path, *changes: tuple[str, str]) -> Path:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = folder / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
