"""`recalign config`: all keys of every configuration, in 80 columns, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from recalign.cli.config import CONFIGURATIONS

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("stage", CONFIGURATIONS)
def test_every_key_has_a_default_and_a_meaning(cli: Cli, stage: str) -> None:
    code, out, err = cli("config", stage)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    keys = [place for place, line in enumerate(lines) if not line.startswith(" ")]
    assert all(" = " in lines[place] for place in keys)
    assert all(lines[place + 1].startswith("    ") for place in keys), "a key without a meaning"


def test_keys_are_dotted_and_those_of_the_kind(cli: Cli) -> None:
    rec, cot = cli("config", "rec")[1], cli("config", "cot")[1]
    assert "optim.lr = 0.0001\n    Peak learning rate." in rec
    assert 'optim.schedule = "linear"\n    Decay after the warm-up. One of constant, linear, cosine.' in rec
    assert "lora.targets = (not set)" in rec
    assert "sampling.sampled_negatives = 0" in rec
    assert "sampling." not in cot
    assert 'curriculum = "ordered"' in cot


def test_an_unknown_configuration_is_refused_with_the_names(cli: Cli) -> None:
    code, _, err = cli("config", "recs")
    assert code == 2
    assert "found 'recs'; expected instruction, cot, rec" in err


def test_no_configuration_needs_torch() -> None:
    code = "import sys\nfrom recalign.cli.main import app\n"
    code += "".join(f"app(['config', {stage!r}], standalone_mode=False)\n" for stage in CONFIGURATIONS)
    code += "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
