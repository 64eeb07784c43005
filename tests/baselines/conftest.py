"""Small data and a tiny text encoder for tests of the sequential baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.models.backbone import quiet_progress
from recalign.seeding import generator
from recalign.testing.data import write_sample_set

TITLES = {f"i{n}": f"Title number {n}" for n in range(20)}
UNSEEN = "i19"  # in the catalogue, in no training sample


def made_samples(name: str, n: int) -> list[Sample]:
    """Users who like all that they are asked about, and users who like nothing."""
    draw = generator(0, "test", name)
    found = []
    for index in range(n):
        likes = bool(index % 2)
        length = int(draw.integers(1, 7))
        history = tuple(
            HistoryEntry(f"i{draw.integers(0, 19)}", likes ^ bool(draw.random() < 0.1)) for _ in range(length)
        )
        item = f"i{draw.integers(0, 19)}"
        found.append(Sample(f"{name}{index}", f"{name}-u{index % 12}", item, int(likes), history))
    return found


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    """Prepared data. Tests must not change it."""
    splits = {name: made_samples(name, n) for name, n in (("train", 120), ("valid", 60), ("test", 40))}
    return write_sample_set(tmp_path_factory.mktemp("baselines") / "data", TITLES, splits)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with a word tokenizer."""
    return make_encoder(tmp_path_factory.mktemp("encoder") / "bert")


def make_encoder(directory: Path, seed: int = 0) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Title", "number", *map(str, range(20))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]), quiet_progress():
        torch.manual_seed(seed)
        BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(directory)
    return directory


def labels_of(samples: list[Sample]) -> np.ndarray:
    return np.array([sample.label for sample in samples])
