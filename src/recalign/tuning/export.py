"""Exporting a tuned model, so that others can load it without recalign: as ``merged``, as ``peft``, or for ``gguf``.

::

    merged/                       a checkpoint of transformers: config.json, *.safetensors, tokenizer, chat template
    gguf/                         the same as merged, for llama.cpp's converter, whose commands its README has
    peft/                         adapter_config.json, which names the base, and adapter_model.safetensors
    template.toml, README.md      in all: how to ask it as recalign does
    manifest.json                 in all: what it was made from, and the same facts for programs (under ``info``)
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from recalign.artifacts import MANIFEST_NAME, Json, check_free, read_manifest, write_directory
from recalign.errors import ConfigError, ModelError
from recalign.models.adapter import load_adapter, merged, read_record
from recalign.models.backbone import load_backbone, quiet_progress
from recalign.models.hf_checkpoint import inspect_checkpoint, locate
from recalign.models.peft_files import public_name, write_lora
from recalign.prompting.prompts import HistoryText
from recalign.scoring.yes_no import YesNoScorer
from recalign.tuning.backbones.nano import KIND as BUILT
from recalign.tuning.export_card import FORMS, GGUF, PEFT, Base, ExportFacts, Question, render_card
from recalign.tuning.model_artifact import KIND as MODEL
from recalign.tuning.model_artifact import backbone_of, model_directory, scorer_around

KIND: Final = "export"
TOLERANCE: Final = 1e-4  # of scores, relative to the largest of them, or to 1


def export(
    run: str | Path, *, to: str, output: str | Path, backbone: str | None = None, overwrite: bool = False
) -> Path:
    """Write a tuned model as a directory that others can load, as `recalign export` does.

    A merged model is loaded again with plain transformers and asked before it appears under its name. So what is there
    gives recalign's scores.

    Args:
        run: A model directory, or an experiment's run with one model.
        to: "merged": all weights, in float32. "peft": the LoRA alone, for a base that others have. "gguf": as merged,
            with the commands that make a GGUF file of it.
        output: Directory to write.
        backbone: Path or hub id of the backbone, where it is no longer where the model says.
        overwrite: Replace an export that is there.

    Returns:
        `output`.

    Raises:
        ConfigError: There is no such form, or this model cannot have it.
        ArtifactError: `run` holds no model or a damaged one; `output` exists or cannot be written.
        ModelError: The backbone cannot be loaded or is another one; the written model gives other scores.
    """
    directory, target = model_directory(Path(run)), Path(output)
    if to not in FORMS:
        raise ConfigError(f"export to {to!r}", expected=", ".join(FORMS))
    manifest = read_manifest(directory, kind=MODEL)
    check_form(directory, to, backbone)
    check_free(target, KIND, overwrite)
    parents = {"model": manifest.fingerprint, "backbone": manifest.parents["backbone"]}
    info: Json = {}
    with write_directory(target, KIND, config={"to": to}, parents=parents, info=info, overwrite=overwrite) as staging:
        facts, question = write_model(directory, to, staging, backbone=backbone)
        (staging / "README.md").write_text(render_card(facts, question), encoding="utf-8")
        info |= asdict(facts)
    return target


def check_form(directory: Path, to: str, backbone: str | None) -> None:
    """Refuse a form that this model cannot have, before anything is loaded. Raises ConfigError."""
    record, config = read_record(directory / "adapter"), backbone_of(directory)
    if to != PEFT and config.quantization is not None:
        raise ConfigError(
            f"export of {directory} to {to}",
            found=f"a LoRA tuned on a backbone that is quantised to {config.quantization}",
            expected="an unquantised backbone: on that one the same LoRA gives other scores",
            hint="Use --to peft, and load the base with the same quantisation.",
        )
    built = _is_built(backbone or config.name)
    if to == GGUF and built:
        found = "a backbone that recalign built, with a tokenizer of its own, which llama.cpp does not know"
        raise ConfigError(f"export of {directory} to gguf", found=found, hint="Use --to merged.")
    found = ""
    if to == PEFT and record.mode == "full":
        found = "a fully tuned model, which has no adapter"
    elif to == PEFT and record.base_weights is not None:
        found = "a LoRA on fully tuned weights, which no published checkpoint has"
    elif to == PEFT and built:
        found = "a LoRA on a backbone that recalign built from data"
    if found:
        expected = "a LoRA on a hub id or on a checkpoint directory of yours"
        raise ConfigError(f"export of {directory} to peft", found=found, expected=expected, hint="Use --to merged.")


def _is_built(backbone: str) -> bool:
    directory = Path(backbone)
    return (directory / MANIFEST_NAME).is_file() and read_manifest(directory, verify=False).kind == BUILT


def write_model(
    directory: Path, to: str, staging: Path, *, backbone: str | None = None, base: str | None = None
) -> tuple[ExportFacts, Question]:
    """Write a model artefact in one of `FORMS`, all but README and manifest, and check what was merged.

    Args:
        directory, to, backbone: As of `export`; `check_form` has let them pass.
        staging: Folder to write into.
        base: Hub id that others find the backbone under, where it lies in a directory here.

    Returns:
        What the README says, and a question with recalign's score of it.

    Raises:
        ModelError: See `export`.
    """
    facts, questions = _write(directory, to, backbone, base, staging)
    if to != PEFT:
        _check_scores(staging, facts, questions)
    return facts, questions[0]


def _write(
    directory: Path, to: str, backbone: str | None, public: str | None, staging: Path
) -> tuple[ExportFacts, list[Question]]:
    """The files of `write_model`.

    The model is gone from memory afterwards: weights in float32 are large, and merged ones are loaded again.
    """
    config, manifest = backbone_of(directory), read_manifest(directory, kind=MODEL, verify=False)
    # In one type on one device, whatever the run had: a sum in bfloat16 would not be the model that was tuned.
    exact = {"name": backbone or config.name, "device": "cpu", "dtype": "float32", "quantization": None}
    loaded = load_backbone(config.model_copy(update=exact))
    model = load_adapter(loaded, directory / "adapter")
    scorer = scorer_around(model, loaded, directory)
    questions = _questions(scorer)
    checkpoint = inspect_checkpoint(locate(loaded.name, loaded.revision)[0], loaded.name)
    base = Base(public or public_name(loaded), loaded.revision, checkpoint.licence(), config.quantization)
    facts = ExportFacts.of(scorer.encoder, to=to, base=base, model=manifest.fingerprint)
    (staging / "template.toml").write_text(scorer.encoder.template.to_toml(), encoding="utf-8")
    if to == PEFT:
        write_lora(model, loaded, staging, alone=True, base=public)
        return facts, questions
    plain = merged(model)
    # Those of the checkpoint are copied below. transformers would refuse to write some that it reads.
    plain.generation_config = GenerationConfig.from_model_config(plain.config)
    with quiet_progress():
        plain.save_pretrained(staging)
    for path in checkpoint.companions():
        shutil.copyfile(path, staging / path.name)
    return facts, questions


def _questions(scorer: YesNoScorer) -> list[Question]:
    """Made-up questions in the words of the domain, with the scorer's answers."""
    encoder = scorer.encoder
    noun = encoder.domain.noun
    history = (HistoryText(f"{noun} A (2001)", True), HistoryText(f"{noun} B (2002)", False))
    targets = [f"{noun} {letter} ({year})" for letter, year in zip("CDEF", range(2003, 2007), strict=True)]
    scores, _ = scorer.score_prompts(encoder.encode_many([history] * len(targets), targets), [len(targets)])
    rows = [encoder.template.instruction(encoder.domain, history, target, None) for target in targets]
    prompts = [encoder.template.frame(row).context for row in rows]
    return [Question(prompt, float(score)) for prompt, score in zip(prompts, scores, strict=True)]


def _check_scores(directory: Path, facts: ExportFacts, questions: list[Question]) -> None:
    """Load the checkpoint with plain transformers and ask as its README says. Raises ModelError where scores differ."""
    with quiet_progress():
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, use_safetensors=True).eval()
    found = np.array([_plain_score(model, tokenizer, facts, question.prompt) for question in questions])
    expected = np.array([question.score for question in questions])
    difference, scale = float(np.abs(found - expected).max()), max(1.0, float(np.abs(expected).max()))
    if not difference <= TOLERANCE * scale:
        raise ModelError(
            "the merged model, loaded with transformers, does not give recalign's scores",
            found=f"a difference of {difference:.3g} where scores reach {scale:.3g}",
            expected=f"at most {TOLERANCE * scale:.3g}",
            hint="Nothing was written. Please report this with the name of the backbone.",
        )


@torch.inference_mode()
def _plain_score(model: torch.nn.Module, tokenizer: Any, facts: ExportFacts, prompt: str) -> float:
    """The score as the code in README.md computes it."""
    text, special = facts.before + prompt + facts.after, not facts.chat
    yes, no = (tokenizer(text + answer.text, add_special_tokens=special).input_ids for answer in (facts.yes, facts.no))
    start = next(place for place, ids in enumerate(zip(yes, no, strict=False)) if ids[0] != ids[1])
    logits = model(torch.tensor([yes[:start]])).logits[0, -1]
    return float(logits[yes[start]] - logits[no[start]])
