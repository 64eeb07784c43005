"""nano as a backbone: a language model of catalogues and unlabelled item sequences, and of nothing else.

Ratings and labels have no way in. The result is cached under a fingerprint of everything it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerFast

from recalign.artifacts import fingerprint, read_manifest, write_directory
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.facts import Facts, ItemFacts, UserFacts
from recalign.data.samples import SampleSet
from recalign.models.backbone import quiet_progress, resolve_device
from recalign.models.cache import cache_directory
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.models.nano import init_model, train_tokenizer
from recalign.models.onednn import accelerate_linears
from recalign.prompting.control import ControlTokens
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.prompts import Instruction
from recalign.prompting.rendering import single_quoted, upper_first
from recalign.prompting.template import PromptTemplate
from recalign.prompting.titles import clean_title
from recalign.seeding import generator
from recalign.tuning.backbones import BackboneData, BackbonePlugin
from recalign.tuning.checkpoint import CheckpointStore
from recalign.tuning.config import OptimConfig, TrainingConfig
from recalign.tuning.instructions import generate_instructions
from recalign.tuning.loop import StepReport, train
from recalign.tuning.sources import PromptSource, user_sequences

KIND = "backbone"
SEQUENCE = 40
TEMPLATES = ("default", "tallrec", "tlrec")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Unlabelled text: what the model is trained on, and what the tokenizer sees besides (quoted titles, wordings)."""

    lines: tuple[str, ...]
    tokenizer_lines: tuple[str, ...]

    @classmethod
    def build(
        cls,
        catalogs: Sequence[tuple[Domain, ItemCatalog]],
        sequences: Sequence[tuple[Domain, ItemCatalog, Sequence[Sequence[str]]]],
        *,
        instructions: int,
        seed: int,
    ) -> Corpus:
        """Assemble the text.

        Args:
            catalogs: Catalogues with their domains.
            sequences: Item ids of users in order of time, per catalogue.
            instructions: Number of catalogue instructions, over all catalogues.
            seed: Root of their choice, and of the shuffled copy of each sequence.
        """
        lines: list[str] = []
        quoted: list[str] = []
        for domain, catalog in catalogs:
            texts = [_quoted(catalog, item_id) for item_id in catalog.ids]
            lines += [f"{upper_first(domain.noun)}: {text}" for text in texts]
            quoted += texts
            rows = generate_instructions(catalog, domain, n=instructions // len(catalogs), seed=seed)
            lines += [_framed(PromptTemplate.load("default"), row) for row in rows]
        rng = generator(seed, "nano", "sequences")
        for domain, catalog, users in sequences:
            for items in users:
                for order in (items, [items[index] for index in rng.permutation(len(items))]):
                    lines += _sequence_lines(domain, catalog, order)
        # Often enough for the prompts' own words, the answers above all, to become whole tokens beside the titles'.
        wording = [
            _framed(template, template.instruction(domain, [], "", label, _some_facts(number)))
            for number in range(max(20, len(quoted) // 20))
            for domain, _ in catalogs
            for template in map(PromptTemplate.load, TEMPLATES)
            if template.speaks(domain)
            for label in (0, 1)
        ]
        return cls(tuple(lines), tuple(quoted + wording))


def _some_facts(number: int) -> Facts:
    """Made-up facts: their numbers become tokens, too."""
    percent, other = number % 101, 37 * number % 101
    user = UserFacts(percent, other, number % 4, 3, other, percent, other - 50)
    return Facts(user, ItemFacts((), percent - 50, other, 1 << number % 10))


def _quoted(catalog: ItemCatalog, item_id: str) -> str:
    """An item as the default template shows it."""
    return f'"{single_quoted(clean_title(catalog.text(item_id)))}"'


def _sequence_lines(domain: Domain, catalog: ItemCatalog, items: Sequence[str]) -> list[str]:
    """Unlabelled sequences of at most `SEQUENCE` items, one item a line."""
    head = f"{upper_first(domain.noun_plural)} a user has {domain.consumed}, in order:"
    return [
        "\n".join([head, *(_quoted(catalog, item) for item in items[start : start + SEQUENCE])])
        for start in range(0, len(items), SEQUENCE)
    ]


def _framed(template: PromptTemplate, row: Instruction) -> str:
    prompt = template.frame(row)
    return prompt.context + prompt.answer


def build_nano(
    config: NanoConfig,
    corpus: Corpus,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    progress: Callable[[StepReport], None] | None = None,
) -> Path:
    """The pretrained backbone as a local checkpoint directory, from the cache where it is there.

    Raises:
        ArtifactError: The cached directory is damaged, or cannot be written.
        Interrupted: See `train`.
    """
    identity, directory = _place(config, corpus, cache or cache_directory(), precision)
    if directory.exists():
        read_manifest(directory, kind=KIND)
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer([*corpus.tokenizer_lines, *corpus.lines], config.vocabulary)
    model = init_model(config, tokenizer).to(torch.device(device))
    accelerate_linears(model)
    training = TrainingConfig(
        optim=OptimConfig(lr=config.lr, weight_decay=0.05, betas=(0.9, 0.98), warmup_steps=50, schedule="cosine"),
        seed=config.seed,
        batch_size=max(1, config.batch_tokens // config.row_tokens),
        precision=precision,
    )
    source = PromptSource(_chunks(corpus.lines, tokenizer, config), training.batch_size, training.seed)
    identity["precision"] = precision
    store = CheckpointStore(directory.parent / f".{directory.name}.checkpoints", identity)
    result = train(
        model, source, training, steps=config.steps, max_length=config.row_tokens, store=store, progress=progress
    )
    info = {"labels_seen": {}, "seconds": round(result.seconds, 1), "log": result.log}
    with write_directory(directory, KIND, config=identity, info=info) as staging:
        with quiet_progress():
            model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
    store.clear()
    return directory


def _place(config: NanoConfig, corpus: Corpus, cache: Path, precision: str) -> tuple[dict[str, object], Path]:
    """What a nano is a function of, and the directory that has its name from that."""
    content = fingerprint([corpus.lines, corpus.tokenizer_lines])
    identity: dict[str, object] = {"nano": config.model_dump(mode="json"), "corpus": content}
    return identity, cache / f"nano-{fingerprint([identity, precision])[:16]}"


def is_built(config: NanoConfig, sources: Sequence[SampleSet]) -> bool:
    """Whether the nano of these data sets is in the cache, so that `resolve` takes no time."""
    return _place(config, build_corpus(config, sources, ()), cache_directory(), "auto")[1].exists()


def _chunks(lines: Sequence[str], tokenizer: PreTrainedTokenizerFast, config: NanoConfig) -> list[EncodedPrompt]:
    """Shuffled lines, joined by the end token, cut into rows of equal length; every token is a target."""
    order = generator(config.seed, "nano", "lines").permutation(len(lines))
    inert = ControlTokens(tokenizer).inert([lines[index] for index in order])
    encoded = tokenizer(inert, add_special_tokens=False)["input_ids"]
    stream = [token for ids in encoded for token in (tokenizer.bos_token_id, *ids, tokenizer.eos_token_id)]
    size = min(config.row_tokens, len(stream))
    chunks = []
    for start in range(0, len(stream) - size + 1, size):
        ids = tuple(stream[start : start + size])
        chunks.append(EncodedPrompt(ids=ids, labels=(IGNORE, *ids[1:]), answer_start=1))
    return chunks


def resolve(config: BackboneConfig, data: BackboneData) -> BackboneConfig:
    """The configuration of the built (or cached) checkpoint directory."""
    corpus = build_corpus(data.settings, data.sources, data.targets)
    device = str(resolve_device(config.device))
    path = build_nano(data.settings, corpus, device=device, progress=data.progress)
    return config.model_copy(update={"name": str(path)})


def build_corpus(nano: NanoConfig, sources: Sequence[SampleSet], targets: Sequence[SampleSet]) -> Corpus:
    """The unlabelled text that nano is built from: of each user's train interactions only the item ids, in order.

    Of `targets` the titles alone are read, and only where `nano.target_titles` allows it.
    """
    titled = [*sources, *(targets if nano.target_titles else ())]
    catalogs = [(data.domain, data.catalog) for data in titled]
    sequences = []
    for data in sources:
        users = user_sequences(data.frame("train"))
        ids = [[entry.item_id for entry in user.entries] for user in users]
        sequences.append((data.domain, data.catalog, ids))
    return Corpus.build(catalogs, sequences, instructions=nano.instructions, seed=nano.seed)


PLUGIN = BackbonePlugin(resolve)
