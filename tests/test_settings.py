"""Settings from outside: values of ``--set``, environment variables, and messages that name what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from recalign.errors import ConfigError
from recalign.settings import parse_settings, read_toml, validated


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["inner"] = "inner"
    learning_rate: float = 0.1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    named: dict[str, Inner] = {}
    several: tuple[Inner | None, ...] = ()
    count: int = Field(1, ge=1)


def test_values_are_toml_or_text_and_later_ones_win() -> None:
    given = ["a.b=3e-4", "a.c = [1, 2]", "name=nano", "a.b=true", "text=a=b"]
    assert parse_settings(given) == {"a": {"b": True, "c": [1, 2]}, "name": "nano", "text": "a=b"}


def test_the_tree_that_settings_go_into_is_not_changed() -> None:
    tree = {"optim": {"lr": 1.0}, "seed": 1}
    assert parse_settings(["optim.lr=2"], into=tree) == {"optim": {"lr": 2}, "seed": 1}
    assert tree == {"optim": {"lr": 1.0}, "seed": 1}


@pytest.mark.parametrize("setting", ["no-sign", "=1", "a..b=1", " =1"])
def test_a_setting_of_another_form_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="PATH=VALUE"):
        parse_settings([setting])


def test_a_setting_inside_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is one value"):
        parse_settings(["seed=1", "seed.a=2"])


def test_unknown_keys_name_the_nearest_and_all_problems_stand_in_one_message() -> None:
    wrong = {"named": {"x": {"learning_rat": 1}}, "several": [{"zzz": 1}], "cuont": 2, "count": 0}
    with pytest.raises(ConfigError) as caught:
        validated(Outer, wrong, "options of a test")
    message = str(caught.value)
    assert message.startswith("options of a test; found ")
    assert "named.x.learning_rat: unknown key, did you mean learning_rate?" in message
    assert "several.0.zzz: unknown key;" in message
    assert "cuont: unknown key, did you mean count?" in message
    assert "count: Input should be greater than or equal to 1" in message


def test_environment_variables_are_put_into_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.toml"
    file.write_text('a = ["${HERE}/x"]\n[b]\nc = "${ABSENT:-other}"\nd = 1\n', encoding="utf-8")
    monkeypatch.setenv("HERE", "/data")
    monkeypatch.delenv("ABSENT", raising=False)
    assert read_toml(file, "run", "") == {"a": ["/data/x"], "b": {"c": "other", "d": 1}}
    monkeypatch.delenv("HERE")
    with pytest.raises(ConfigError, match=r"HERE.*not set.*export HERE="):
        read_toml(file, "run", "")


def test_files_that_are_no_toml_or_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file\. Look in runs/"):
        read_toml(tmp_path / "absent.toml", "run", "Look in runs/")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = ", encoding="utf-8")
    with pytest.raises(ConfigError, match="no valid TOML"):
        read_toml(broken, "run", "")
    with pytest.raises(ConfigError, match="expected a TOML file"):
        read_toml(tmp_path, "run", "")
