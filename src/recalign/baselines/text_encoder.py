"""Texts of items for GRU-BERT and DROS-BERT: the CLS embedding of any Hugging Face encoder, which stays frozen.

As with backbones, nothing of a checkpoint is executed: safetensors only, architectures that transformers has itself
only, and what is loaded is a local directory or the hub's cache of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoModel, AutoTokenizer

from recalign.baselines.items import Places
from recalign.data.catalog import ItemCatalog
from recalign.errors import ModelError
from recalign.models.backbone import quiet_progress, resolve_device
from recalign.models.hf_checkpoint import WEIGHTS, Checkpoint, locate
from recalign.prompting.control import ControlTokens
from recalign.prompting.titles import clean_title

_LOAD_ERRORS = (OSError, ValueError, RuntimeError, ImportError, KeyError, TypeError, AttributeError, SafetensorError)
_LONGEST = 512  # tokens; longer texts lose their end
_BATCH = 64
_BLOCK: Final = 512  # items
_KEPT_BLOCKS: Final = 128
_KEPT: dict[tuple[str, str, tuple[str, ...]], Tensor] = {}


class TextEncoder:
    """A frozen encoder.

    Attributes:
        name, revision: Local directory or hub id, as asked for, and the commit of a hub model.
        fingerprint: SHA-256 over config, weights and tokenizer.
        width: Width of an embedding.
        device: Where it runs.
        progress: Told, where there is one, how many texts are encoded, of how many.
    """

    def __init__(self, name: str, revision: str | None = None, *, device: str = "auto") -> None:
        """Load it.

        Raises:
            ModelError: No such directory or hub id, remote code or pickled weights, a damaged checkpoint, no device.
        """
        self.name = name
        self.progress: Callable[[int, int], None] | None = None
        directory, self.revision = locate(name, revision)
        self._device = resolve_device(device)
        self.fingerprint = _inspect(directory, name).fingerprint()
        self._model, self._tokenizer = _load(directory, name)
        self._model.to(self._device).eval()
        self._control = ControlTokens(self._tokenizer)
        self.width = int(self._model.config.hidden_size)
        self.device = str(self._device)
        self._longest = min(_LONGEST, int(getattr(self._model.config, "max_position_embeddings", _LONGEST)))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """CLS embedding of each text (the last layer's output at the first token), float32 of shape (n, width).

        Texts of equal length run together, so there is no padding and each comes out as it would alone.
        """
        return self._encoded(texts, lambda states: states[:, 0])

    def mean_vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Mean of the last layer's output over the tokens, shape (n, width): what sentence encoders are trained for."""
        vectors: NDArray[np.float32] = self._encoded(texts, lambda states: states.mean(dim=1)).numpy()
        return vectors

    def _encoded(self, texts: Sequence[str], pooled: Callable[[Tensor], Tensor]) -> Tensor:
        ids = self._tokenizer(
            self._control.inert(texts, clean_title),
            truncation=True,
            max_length=self._longest,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        embeddings = torch.empty(len(texts), self.width)
        by_length: dict[int, list[int]] = {}
        done = 0
        for place, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(place)
        with torch.inference_mode():
            for places in by_length.values():
                for start in range(0, len(places), _BATCH):
                    part = places[start : start + _BATCH]
                    batch = torch.tensor([ids[place] for place in part], device=self._device)
                    embeddings[part] = pooled(self._model(input_ids=batch).last_hidden_state).float().cpu()
                    done += len(part)
                    if self.progress is not None:
                        self.progress(done, len(texts))
        return embeddings


class TextFeatures:
    """CLS embeddings of a catalogue's item texts, in blocks that are computed when first asked for.

    Blocks are fixed by the catalogue, so that an embedding depends on no order of questions.
    """

    def __init__(self, encoder: TextEncoder, catalog: ItemCatalog) -> None:
        self._encoder, self._catalog = encoder, catalog
        # Row 0 is that of no item: the padding of an empty history.
        self._features = torch.zeros(len(catalog) + 1, encoder.width)
        self._known = np.zeros(-(-len(catalog) // _BLOCK), dtype=bool)

    def __call__(self, places: Places) -> Tensor:
        """Features of places in the catalogue (counted from 1), shape (..., width), on the CPU."""
        blocks = np.unique((places[places > 0] - 1) // _BLOCK)
        for block in blocks[~self._known[blocks]]:
            ids = self._catalog.ids[block * _BLOCK : (block + 1) * _BLOCK]
            texts = tuple(self._catalog.text(item) for item in ids)
            start = 1 + int(block) * _BLOCK
            self._features[start : start + len(texts)] = _encoded(self._encoder, texts)
            self._known[block] = True
        return self._features[torch.from_numpy(places)]


def _encoded(encoder: TextEncoder, texts: tuple[str, ...]) -> Tensor:
    """Embeddings of a block, kept for the next baseline of the process with an equal encoder."""
    key = (encoder.fingerprint, encoder.device, texts)
    if key not in _KEPT:
        if len(_KEPT) >= _KEPT_BLOCKS:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = encoder.encode(texts)
    return _KEPT[key]


def _inspect(directory: Path, name: str) -> Checkpoint:
    """Judge the directory by its files, before anything is loaded."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"text encoder {name}", found=f"no readable config.json ({error})") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        hint = "recalign never runs code from a checkpoint: use an encoder that transformers supports natively."
        raise ModelError(f"text encoder {name}", found=f"model_type {model_type!r}", hint=hint)
    if CONFIG_MAPPING[model_type] not in MODEL_MAPPING or config.get("is_encoder_decoder"):
        raise ModelError(f"text encoder {name}", found=f"model_type {model_type!r}", expected="an encoder such as BERT")
    if not (directory / WEIGHTS).is_file():
        raise ModelError(f"text encoder {name}", found=f"no {WEIGHTS} in {directory}", expected="safetensors weights")
    return Checkpoint(directory, name, config, (WEIGHTS,))


def _load(directory: Path, name: str) -> tuple[Any, Any]:
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
        with quiet_progress():
            model, report = AutoModel.from_pretrained(
                directory, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
            )
    except _LOAD_ERRORS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"cannot load the text encoder {name}", found=reason[:300]) from error
    # The pooler is not used, and many checkpoints lack it; anything else would be filled with random numbers.
    lacking = sorted(key for key in report["missing_keys"] if not str(key).startswith("pooler."))
    if lacking or report["mismatched_keys"]:
        found = f"{len(lacking)} missing tensors" + (f", e.g. {lacking[0]}" if lacking else ", others of another shape")
        raise ModelError(f"text encoder {name}: the weights do not fill the model", found=found)
    return model, tokenizer
