"""Exports: loaded with plain transformers or PEFT and asked by hand, they give recalign's scores."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from recalign.artifacts import read_manifest
from recalign.baselines.artifact import train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.data.facts import FactFinder
from recalign.data.samples import Sample, SampleSet
from recalign.errors import ArtifactError, ConfigError, ModelError, RecalignError
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.prompting.template import PromptTemplate
from recalign.scoring.base import sample_lists
from recalign.testing.tiny import make_tiny
from recalign.tuning import export as module
from recalign.tuning.backbones import resolve_backbone
from recalign.tuning.export import export
from recalign.tuning.model_artifact import backbone_of, load_knowledge, load_scorer
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_stage

Build = Callable[..., StageInputs]
Chain = Callable[[str, bool, str], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHAINS = [(True, modes) for modes in ("lora", "full", "full lora", "lora lora", "lora full")]
CHAINS += [(False, modes) for modes in ("lora", "full")]  # embeddings are tied, or not
# PEFT 0.21 reads a property of transformers under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def tuned(
    folder: Path, inputs: Build, backbone: BackboneConfig, chain: str, *, template: str = "default", **settings: Any
) -> Path:
    """The last model of a chain of stages, given by their modes."""
    parent = None
    for place, mode in enumerate(chain.split()):
        # Steps that move the scores, but not so far that the caps of Gemma's logits make them all the same.
        optim = {"lr": 1e-2 if mode == "lora" else 1e-3, "warmup_steps": 1}
        changes = {"mode": mode, "parent": parent, "seed": place, "optim": optim, "template": template, **settings}
        parent = tune_stage(replace(inputs(**changes), backbone=backbone), folder / f"model-{place}")
    assert parent is not None
    return parent


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, inputs: Build) -> Chain:
    """The model of an architecture, with tied embeddings or not, and a chain of modes; each is made once."""
    folder = tmp_path_factory.mktemp("export")
    made: dict[tuple[str, bool, str], Path] = {}

    def build(architecture: str, tied: bool, modes: str) -> Path:
        key = (architecture, tied, modes)
        if key not in made:
            place = folder / f"{architecture}-{tied}"
            if not place.exists():
                make_tiny(place / architecture, architecture, tie_word_embeddings=tied)
            backbone = BackboneConfig(name=str(place / architecture), dtype="float32", device="cpu")
            made[key] = tuned(place / modes.replace(" ", "-"), inputs, backbone, modes)
        return made[key]

    return build


@pytest.fixture
def lora(chain: Chain) -> Path:
    return chain("llama", False, "lora")


def recaligns(model: Path, samples: list[Sample]) -> NDArray[np.float64]:
    return load_scorer(model, device="cpu").score(sample_lists(samples)).flat()


def prompts(model: Path, output: Path, samples: list[Sample], data: SampleSet) -> list[str]:
    """The template that lies in an export, rendered with the facts that the model knows."""
    template, catalog = PromptTemplate.load(output / "template.toml"), data.catalog
    finder = FactFinder(catalog, load_knowledge(model))
    rows = []
    for sample, asked in zip(samples, sample_lists(samples), strict=True):
        history, target = catalog.with_texts(sample.history), catalog.text(sample.item_id)
        rows.append(template.instruction(data.domain, history, target, None, *finder.of(asked)))
    return [template.frame(row).context for row in rows]


def by_hand(model: Any, tokenizer: Any, asked: list[str]) -> NDArray[np.float64]:
    """Log-odds of the answers of the template "default", from a plain model and its tokenizer."""
    return np.array([log_odds(model, tokenizer, prompt, " Yes", " No") for prompt in asked])


def log_odds(model: Any, tokenizer: Any, prompt: str, *answers: str) -> float:
    yes, no = (tokenizer(prompt + answer)["input_ids"] for answer in answers)
    assert (yes[:-1], len(yes)) == (no[:-1], len(no))  # so each answer is one token
    with torch.no_grad():
        logits = model.eval()(torch.tensor([yes[:-1]])).logits[0, -1].double()
    return float(logits[yes[-1]] - logits[no[-1]])


def assert_equal_scores(found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    assert np.ptp(expected) > 0.02 * np.abs(expected).max() > 0  # scores that say something
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def asked(source: SampleSet) -> list[Sample]:
    return [sample for sample in source.samples("test") if len(sample.history) > 1][:6]


def assert_merged_gives_the_scores(model: Path, output: Path, source: SampleSet) -> None:
    assert export(model, to="merged", output=output) == output
    plain = AutoModelForCausalLM.from_pretrained(output, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(output, local_files_only=True)
    samples = asked(source)
    texts, expected = prompts(model, output, samples, source), recaligns(model, samples)
    assert_equal_scores(by_hand(plain, tokenizer, texts), expected)
    untuned = AutoModelForCausalLM.from_pretrained(backbone_of(model).name, local_files_only=True)
    assert np.abs(by_hand(untuned, tokenizer, texts) - expected).max() > 0.002 * np.abs(expected).max()


# ---- merged ----


@pytest.mark.parametrize(("tied", "modes"), CHAINS)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt2"])
def test_merged_is_a_checkpoint_of_transformers(
    tmp_path: Path, chain: Chain, source: SampleSet, architecture: str, tied: bool, modes: str
) -> None:
    model = chain(architecture, tied, modes)
    assert_merged_gives_the_scores(model, tmp_path / "out", source)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is tied
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix in (".bin", ".pt", ".py", ".pkl")]


@pytest.mark.parametrize("modes", ["lora", "full", "full lora"])
def test_merged_nano_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Build, source: SampleSet, modes: str
) -> None:
    model = tuned(tmp_path / "nano", inputs, nano(tmp_path, monkeypatch, source), modes)
    assert_merged_gives_the_scores(model, tmp_path / "out", source)


def nano(folder: Path, monkeypatch: pytest.MonkeyPatch, source: SampleSet) -> BackboneConfig:
    monkeypatch.setenv("RECALIGN_CACHE", str(folder / "cache"))
    shape = NanoConfig(hidden=32, layers=1, heads=2, intermediate=64, vocabulary=600, steps=2, instructions=9)
    return resolve_backbone(BackboneConfig(name="nano", dtype="float32", device="cpu"), shape, [source])


def test_merged_in_float32_from_a_backbone_in_bfloat16(tmp_path: Path, inputs: Build, source: SampleSet) -> None:
    backbone = BackboneConfig(name=str(make_tiny(tmp_path / "llama")), dtype="bfloat16", device="cpu")
    model = tuned(tmp_path, inputs, backbone, "lora", precision="fp32")
    export(model, to="merged", output=tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.float32


@pytest.mark.parametrize(
    ("asks", "after"),
    [("assistant:", "assistant:"), ("assistant:<think>", "assistant:<think>\n\n</think>\n\n")],
    ids=["plain", "thinking"],
)
def test_a_chat_template_and_the_settings_of_generation_go_with_it(
    tmp_path: Path, inputs: Build, source: SampleSet, asks: str, after: str
) -> None:
    place = make_tiny(tmp_path / "qwen3", "qwen3")
    turns = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    template = f"{turns}{{% if add_generation_prompt %}}{asks}{{% endif %}}"
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = {"temperature": 0.6, "do_sample": False, "eos_token_id": 0}  # read by transformers, but not written
    (place / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (place / "LICENSE.txt").write_text("Do as you like.", encoding="utf-8")
    (place / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Base\n", encoding="utf-8")
    backbone = BackboneConfig(name=str(place), dtype="float32", device="cpu")
    model = tuned(tmp_path, inputs, backbone, "lora", template="chat", max_length=900)
    output = export(model, to="merged", output=tmp_path / "out")
    for name in ("chat_template.jinja", "generation_config.json", "LICENSE.txt"):
        assert (output / name).read_bytes() == (place / name).read_bytes()
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "\nlicense: apache-2.0\n---" in card
    assert read_manifest(output).info["base"]["licence"] == "apache-2.0"

    plain = AutoModelForCausalLM.from_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(output)
    found = []
    for user in prompts(model, output, asked(source), source):
        prompt = f"<|im_start|>user\n{user}<|im_end|>\n{after}"
        chat = [{"role": "user", "content": user}]
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert prompt.startswith(rendered)
        ids = [tokenizer(prompt + answer)["input_ids"] for answer in ("Yes.", "No.")]
        start = next(place for place in range(len(ids[0])) if ids[0][place] != ids[1][place])
        with torch.no_grad():
            logits = plain(torch.tensor([ids[0][:start]])).logits[0, -1].double()
        found.append(float(logits[ids[0][start]] - logits[ids[1][start]]))
    assert_equal_scores(np.array(found), recaligns(model, asked(source)))
    assert run_card(output) == pytest.approx(printed_score(card), abs=1e-4)


# ---- peft ----


@pytest.mark.parametrize(("tied", "modes"), [(True, "lora"), (True, "lora lora"), (False, "lora")])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt2"])
def test_peft_puts_the_lora_on_its_base(
    tmp_path: Path, chain: Chain, source: SampleSet, architecture: str, tied: bool, modes: str
) -> None:
    model = chain(architecture, tied, modes)
    base = model.parent.parent / architecture
    output = export(model, to="peft", output=tmp_path / "out")
    config = json.loads((output / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (f"./{architecture}", None)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(output))
    tokenizer, samples = AutoTokenizer.from_pretrained(base), asked(source)
    assert_equal_scores(by_hand(plain, tokenizer, prompts(model, output, samples, source)), recaligns(model, samples))


@pytest.fixture
def hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneConfig:
    """A model in the cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--owner--model"
    make_tiny(folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return BackboneConfig(name="owner/model", dtype="float32", device="cpu")


def test_peft_on_a_model_of_the_hub_names_it_with_its_commit(
    tmp_path: Path, inputs: Build, source: SampleSet, hub_model: BackboneConfig
) -> None:
    model = tuned(tmp_path, inputs, hub_model, "lora")
    output = export(model, to="peft", output=tmp_path / "out")
    config = json.loads((output / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/model", COMMIT)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "\nbase_model: owner/model\n" in card
    assert f"`owner/model` at revision `{COMMIT}`" in card
    assert run_card(output) == pytest.approx(printed_score(card), abs=1e-4)
    plain = AutoPeftModelForCausalLM.from_pretrained(str(output), revision=COMMIT)
    tokenizer, samples = AutoTokenizer.from_pretrained("owner/model"), asked(source)
    assert_equal_scores(by_hand(plain, tokenizer, prompts(model, output, samples, source)), recaligns(model, samples))


@pytest.mark.parametrize(
    ("modes", "found"),
    [
        ("full", "a fully tuned model, which has no adapter"),
        ("lora full", "a fully tuned model, which has no adapter"),
        ("full lora", "a LoRA on fully tuned weights, which no published checkpoint has"),
    ],
)
def test_no_peft_without_a_base_that_others_have(tmp_path: Path, chain: Chain, modes: str, found: str) -> None:
    assert_refused(ConfigError, f"to peft; found {found}; .*Use --to merged", chain("llama", True, modes), tmp_path)


def test_no_peft_on_nano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Build, source: SampleSet) -> None:
    model = tuned(tmp_path / "nano", inputs, nano(tmp_path, monkeypatch, source), "lora")
    assert_refused(ConfigError, "a LoRA on a backbone that recalign built.*Use --to merged", model, tmp_path)
    own = "gguf; found a backbone that recalign built, with a tokenizer of its own.*Use --to merged"
    assert_refused(ConfigError, own, model, tmp_path, "gguf")


# ---- gguf ----


def test_for_gguf_is_the_merged_checkpoint_with_the_commands(tmp_path: Path, lora: Path) -> None:
    merged, output = (export(lora, to=to, output=tmp_path / to) for to in ("merged", "gguf"))
    for path in merged.iterdir():
        if path.name not in ("README.md", "manifest.json"):
            assert path.read_bytes() == (output / path.name).read_bytes(), path.name
    card = (output / "README.md").read_text(encoding="utf-8")
    assert 'python "$LLAMA_CPP/convert_hf_to_gguf.py" . --outtype f32 --outfile model-f32.gguf\n' in card
    assert '"$LLAMA_CPP/build/bin/llama-quantize" model-f32.gguf model-Q4_K_M.gguf Q4_K_M\n' in card
    assert "GGUF" not in (merged / "README.md").read_text(encoding="utf-8")
    peft = export(lora, to="peft", output=tmp_path / "peft")
    assert 'convert_lora_to_gguf.py" --base "$BASE" . --outtype f32' in (peft / "README.md").read_text(encoding="utf-8")


def assert_refused(kind: type[RecalignError], match: str, model: Path, folder: Path, to: str = "peft") -> None:
    """Refused in one line, with nothing left on the disk."""
    with pytest.raises(kind, match=match) as caught:
        export(model, to=to, output=folder / "out")
    assert "\n" not in str(caught.value)
    assert not [path for path in folder.iterdir() if "out" in path.name]


# ---- inside a run ----


@pytest.mark.parametrize("modes", ["full lora"])
def test_plain_peft_stops_at_the_adapter_of_a_fully_tuned_parent(
    tmp_path: Path, chain: Chain, source: SampleSet, modes: str
) -> None:
    model = chain("llama", True, modes)
    base = AutoModelForCausalLM.from_pretrained(model.parent.parent / "llama")
    adapter = str(model / "adapter")
    with pytest.raises(KeyError, match="recalign export RUN --to merged"):
        PeftModel.from_pretrained(base, adapter)
    with pytest.raises(KeyError, match="recalign export RUN --to merged"):
        AutoPeftModelForCausalLM.from_pretrained(adapter)
    with pytest.raises((OSError, ValueError), match="recalign export RUN --to merged"):
        AutoModelForCausalLM.from_pretrained(adapter)
    named = json.loads((model / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert "base.safetensors" in named


# ---- what the reader is told ----


def run_card(output: Path, **names: str) -> float:
    """Run the code of README.md in its directory; return the score that it computes."""
    (code,) = re.findall(r"````python\n(.*?)````", (output / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name, value in names.items():
        code = code.replace(f"'./{name}'", repr(value))
    scope: dict[str, Any] = {}
    exec(code.replace('"."', repr(str(output))), scope)
    score = scope["score"]
    assert isinstance(score, float)
    return score


ALONE = """
import sys
sys.modules["recalign"] = None  # importing it fails
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, *prompts = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base)
if adapter:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, adapter)
tokenizer = AutoTokenizer.from_pretrained(base)
for prompt in prompts:
    yes, no = (tokenizer(prompt + answer)["input_ids"] for answer in (" Yes", " No"))
    with torch.no_grad():
        logits = model.eval()(torch.tensor([yes[:-1]])).logits[0, -1].double()
    print(float(logits[yes[-1]] - logits[no[-1]]))
assert not [name for name in sys.modules if name.startswith("recalign.")]
"""


@pytest.mark.slow
@pytest.mark.parametrize("to", ["merged", "peft"])
def test_an_export_scores_the_same_in_a_process_without_recalign(
    tmp_path: Path, chain: Chain, source: SampleSet, to: str
) -> None:
    model = chain("llama", False, "lora")
    output, samples = export(model, to=to, output=tmp_path / "out"), asked(source)
    base, adapter = (output, "") if to == "merged" else (backbone_of(model).name, output)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        ALONE,
        str(base),
        str(adapter),
        *prompts(model, output, samples, source),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_equal_scores(np.array(done.stdout.split(), dtype=float), recaligns(model, samples))


def printed_score(card: str) -> float:
    (text,) = re.findall(r"print\(.*\)  # (\S+)", card)
    return float(text)


@pytest.mark.parametrize("to", ["merged", "peft"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_code_of_the_card_gives_the_score_that_it_names(
    tmp_path: Path, chain: Chain, architecture: str, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = chain(architecture, True, "lora")
    output = export(model, to=to, output=tmp_path / "out")
    card = (output / "README.md").read_text(encoding="utf-8")
    score = run_card(output, **{architecture: str(model.parent.parent / architecture)})
    assert score == pytest.approx(printed_score(card), abs=1e-4)
    assert f"{score:.4f}\n" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["merged", "peft", "gguf"])
def test_facts_for_programs_and_no_path_of_this_machine(tmp_path: Path, lora: Path, to: str) -> None:
    output = export(lora, to=to, output=tmp_path / "out")
    manifest, scorer = read_manifest(output, kind="export"), load_scorer(lora, device="cpu")
    assert manifest.parents["model"] == read_manifest(lora).fingerprint == manifest.info["model"]
    assert manifest.info["base"] == {"name": "llama", "revision": None, "licence": None, "quantization": None}
    assert (manifest.info["template"], manifest.info["max_length"]) == ("default", 384)
    assert manifest.info["yes"] == {"text": " Yes", "token": " Yes", "token_id": scorer.encoder.yes_id}
    assert manifest.info["no"]["token_id"] == scorer.encoder.no_id
    assert manifest.info["domain"]["noun"] == "movie"
    assert PromptTemplate.load(output / "template.toml") == scorer.encoder.template
    folder = str(lora.parent.parent.parent)
    assert [
        path.name for path in output.iterdir() if folder in path.read_text(encoding="utf-8", errors="replace")
    ] == []


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, lora: Path) -> None:
    outputs = [export(lora, to="merged", output=tmp_path / name) for name in ("a", "b")]
    manifests = [read_manifest(output) for output in outputs]
    assert manifests[0].fingerprint == manifests[1].fingerprint


# ---- refusals ----


def test_an_export_that_is_there_is_kept_or_replaced_whole(tmp_path: Path, lora: Path) -> None:
    output = export(lora, to="merged", output=tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"exists already.*--overwrite"):
        export(lora, to="peft", output=output)
    assert (output / "config.json").exists()
    export(lora, to="peft", output=output, overwrite=True)
    assert not (output / "config.json").exists()
    with pytest.raises(ArtifactError, match=r"will not overwrite .*'model'.*'export'"):
        export(lora, to="merged", output=lora, overwrite=True)


def test_a_run_with_one_model_stands_for_it(tmp_path: Path, lora: Path) -> None:
    (tmp_path / "run" / "models").mkdir(parents=True)
    (tmp_path / "run" / "models" / "rt").symlink_to(lora)
    output = export(tmp_path / "run", to="merged", output=tmp_path / "out")
    assert read_manifest(output).info["model"] == read_manifest(lora).fingerprint
    (tmp_path / "run" / "models" / "rt2").symlink_to(lora)
    with pytest.raises(ConfigError, match="2 models in it"):
        export(tmp_path / "run", to="merged", output=tmp_path / "out2")


def test_what_cannot_be_exported(tmp_path: Path, lora: Path, source: SampleSet) -> None:
    assert_refused(ConfigError, "export to 'onnx'; expected merged, peft, gguf", lora, tmp_path, "onnx")
    assert_refused(
        ArtifactError, "nowhere is no artefact of recalign; found no such dir", tmp_path / "nowhere", tmp_path
    )
    baseline = tmp_path / "gru"
    train_baseline(source, BaselineConfig(model="gru4rec", embedding=4, max_steps=1, weight_decays=(1e-5,)), baseline)
    assert_refused(ArtifactError, "gru is of another kind; found 'baseline'; expected 'model'", baseline, tmp_path)
    copy = Path(shutil.copytree(lora, tmp_path / "damaged"))
    (copy / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    assert_refused(ArtifactError, "adapter_model.safetensors is damaged", copy, tmp_path)
    moved = Path(shutil.copytree(lora, tmp_path / "deep" / "er" / "moved"))
    assert_refused(ModelError, "llama", moved, tmp_path, "merged")


def test_another_backbone_is_refused(tmp_path: Path, lora: Path) -> None:
    other = make_tiny(tmp_path / "llama", seed=5)
    for to in ("merged", "peft"):
        with pytest.raises(ModelError, match="made for another backbone"):
            export(lora, to=to, output=tmp_path / "out", backbone=str(other))
    assert not (tmp_path / "out").exists()


def test_a_quantised_backbone_is_not_merged_but_named(
    tmp_path: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised = module.backbone_of(lora).model_copy(update={"quantization": "4bit"})
    monkeypatch.setattr(module, "backbone_of", lambda directory: quantised)
    assert_refused(ConfigError, "quantised to 4bit.*gives other scores. Use --to peft", lora, tmp_path, "merged")
    card = (export(lora, to="peft", output=tmp_path / "out") / "README.md").read_text(encoding="utf-8")
    assert "quantised to 4bit (unquantised, it gives other scores)" in card


def test_a_checkpoint_that_gives_other_scores_is_never_published(
    tmp_path: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = module.merged

    def broken(model: Any) -> Any:
        plain = merged(model)
        with torch.no_grad():
            plain.model.layers[-1].mlp.down_proj.weight *= 1.01
        return plain

    monkeypatch.setattr(module, "merged", broken)
    assert_refused(ModelError, "does not give recalign's scores; found a difference", lora, tmp_path, "merged")
