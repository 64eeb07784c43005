"""Nothing in the package unpickles, evaluates or runs code that came with data."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import recalign

SOURCES = sorted(Path(recalign.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "runpy"}
CALLS = {"eval", "exec", "compile", "__import__"}
# Attribute calls by their dotted end: each reads (or, saving, invites) a pickle or runs foreign code.
ATTRIBUTES = {
    "torch.load",
    "torch.save",
    "torch.hub",
    "torch.jit",
    "torch.package",
    "pl.read_pickle",
    "pd.read_pickle",
    "accelerator.save_state",
    "accelerator.load_state",
    "yaml.load",
    "os.system",
}
# Keyword → the only value it may have.
KEYWORDS = {"trust_remote_code": "False", "allow_pickle": "False", "shell": "False", "weights_only": "True"}


def findings(source: str) -> Iterator[str]:
    """What the code does that it must not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([node.module] if node.module.partition(".")[0] in MODULES else [])
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name in ATTRIBUTES)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            yield node.func.id
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            yield from (name for name in ATTRIBUTES if dotted == name or dotted.endswith(f".{name}"))
        elif isinstance(node, ast.keyword) and ast.unparse(node.value) != KEYWORDS.get(node.arg or "", ""):
            yield from ([ast.unparse(node)] if node.arg in KEYWORDS else [])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source_is_clean(path: Path) -> None:
    assert list(findings(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as harmless",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "eval('1')",
        "exec(text)",
        "torch.load(path)",
        "from torch import load",
        "self.torch.load(path)",
        "accelerator.save_state(x)",
        "np.load(path, allow_pickle=True)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "subprocess.run(text, shell=True)",
        "f(weights_only=False)",
    ],
)
def test_the_ban_notices(source: str) -> None:
    assert list(findings(source))


@pytest.mark.parametrize("source", ["model.eval()", "f(trust_remote_code=False)", "re.compile('x')", "json.load(f)"])
def test_the_ban_is_not_jumpy(source: str) -> None:
    assert not list(findings(source))


# ---- canaries ----


class Canary:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """The file that is there once foreign code ran."""
    return tmp_path / "canary-sang"


@pytest.fixture
def trapped(tmp_path: Path, canary: Path) -> Path:
    """A llama checkpoint with pickles and Python files lying in it."""
    from recalign.testing.tiny import make_tiny

    directory = make_tiny(tmp_path / "model")
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt", "model.pkl"):
        (directory / name).write_bytes(pickle.dumps(Canary(canary)))
    code = f"from pathlib import Path\nPath({str(canary)!r}).touch()\nclass Model: pass\nclass Tokenizer: pass\n"
    for name in ("modeling_trap.py", "tokenization_trap.py", "configuration_trap.py", "custom_generate.py"):
        (directory / name).write_text(code)
    return directory


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


REMOTE = {
    "auto_map": {
        "AutoConfig": "configuration_trap.Model",
        "AutoModelForCausalLM": "modeling_trap.Model",
        "AutoTokenizer": ["tokenization_trap.Tokenizer", "tokenization_trap.Tokenizer"],
    }
}


def test_canary_sings_when_opened(trapped: Path, canary: Path) -> None:
    pickle.loads((trapped / "model.pkl").read_bytes())  # noqa: S301  (that this is dangerous is what is shown)
    assert canary.exists()


def test_native_model_beside_traps_loads_natively(trapped: Path, canary: Path) -> None:
    from recalign.models.backbone import BackboneConfig, load_backbone

    edit(trapped / "config.json", **REMOTE)
    edit(trapped / "tokenizer_config.json", **REMOTE)
    backbone = load_backbone(BackboneConfig(name=str(trapped), device="cpu"))
    assert type(backbone.model).__module__.startswith("transformers.")
    assert not canary.exists()


def test_remote_code_and_pickled_weights_are_refused(trapped: Path, canary: Path) -> None:
    from recalign.errors import ModelError
    from recalign.models.backbone import BackboneConfig, load_backbone

    config = BackboneConfig(name=str(trapped), device="cpu")
    weights = trapped / "model.safetensors"
    weights.rename(trapped.parent / "aside")
    with pytest.raises(ModelError, match=r"found pickled weights only \(.*\), which run code .* expected safetensors"):
        load_backbone(config)
    (trapped.parent / "aside").rename(weights)
    edit(trapped / "config.json", model_type="trap", **REMOTE)
    with pytest.raises(ModelError, match=r"needs remote code; found model_type 'trap'\. recalign never runs code"):
        load_backbone(config)
    assert not canary.exists()


def test_remote_tokenizer_is_refused(trapped: Path, canary: Path) -> None:
    from recalign.errors import ModelError
    from recalign.models.backbone import BackboneConfig, load_backbone

    edit(trapped / "tokenizer_config.json", tokenizer_class="Tokenizer", **REMOTE)
    (trapped / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_backbone(BackboneConfig(name=str(trapped), device="cpu"))
    assert not canary.exists()


def test_pickled_adapter_is_not_opened(trapped: Path, canary: Path, tmp_path: Path) -> None:
    from recalign.errors import ArtifactError
    from recalign.models.adapter import attach, load_adapter, save_adapter
    from recalign.models.backbone import BackboneConfig, load_backbone
    from recalign.models.config import LoraSettings

    config = BackboneConfig(name=str(trapped), device="cpu")
    save_adapter(attach(load_backbone(config), "lora", LoraSettings(), None), tmp_path / "adapter")
    shutil.copy(trapped / "adapter_model.bin", tmp_path / "adapter")
    load_adapter(load_backbone(config), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        load_adapter(load_backbone(config), tmp_path / "adapter")
    assert not canary.exists()
