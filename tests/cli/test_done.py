"""One rule for commands that make something: again is done already; otherwise is refused with the option that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Cli

STAGE = ("--dtype", "float32", "--set", "max_steps=1", "--set", "batch_size=2", "--set", "precision=fp32")


@pytest.mark.parametrize(
    ("command", "change", "option"),
    [
        (("prepare", "synthetic", "--users", "12", "--items", "60"), ("--seed", "1"), "--overwrite"),
        (("teach", "DATA", "--filter", "valid-only", "--limit", "60"), ("--seed", "1"), "--overwrite"),
        (("candidates", "DATA", "--negatives", "4"), ("--seed", "1"), "--overwrite"),
        (("index", "DATA"), None, "--overwrite"),
        (
            ("baseline", "gru4rec", "--data", "DATA", "--set", "max_steps=2", "--set", "weight_decays=[1e-5]"),
            ("--seed", "1"),
            "--overwrite",
        ),
        (("tune", "--data", "DATA", "--backbone", "BACKBONE", *STAGE), ("--seed", "1"), "--restart"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_the_rule(
    cli: Cli, workshop: Path, tmp_path: Path, command: tuple[str, ...], change: tuple[str, ...] | None, option: str
) -> None:
    places = {"DATA": workshop / "data", "BACKBONE": workshop / "backbone"}
    words = [places.get(word, word) for word in command]
    output = ("--output", tmp_path / "made")
    code, out, err = cli(*words, *output)
    assert code == 0, err
    assert "already" not in out + err
    before = (tmp_path / "made" / "manifest.json").read_bytes()
    code, out, err = cli(*words, *output)
    assert code == 0, err
    assert f"from these inputs and settings: {tmp_path / 'made'}" in out + err
    assert (tmp_path / "made" / "manifest.json").read_bytes() == before
    if change is not None:
        code, out, err = cli(*words, *output, *change)
        assert (code, out) == (2, "")
        assert "exists already" in err
        assert option in err
        assert err.count("\n") == 1
        assert (tmp_path / "made" / "manifest.json").read_bytes() == before
        words += change
    assert cli(*words, *output, option)[0] == 0
    assert change is None or (tmp_path / "made" / "manifest.json").read_bytes() != before


def test_changed_input_is_not_done(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "ratings.csv"
    rows = [
        f"u{user},i{item},{(user * item) % 5 + 1},{user * 100 + item},Title {item}"
        for user in range(9)
        for item in range(6)
    ]
    table.write_text("\n".join(["user_id,item_id,rating,timestamp,title", *rows]) + "\n", encoding="utf-8")
    given = ("prepare", "table", "--input", table, "--like-above", "3.5", "--output", tmp_path / "data")
    assert cli(*given)[0] == 0
    assert "already prepared" in cli(*given)[2]
    table.write_text(table.read_text(encoding="utf-8").replace("Title 3", "Title Three"), encoding="utf-8")
    code, _, err = cli(*given)
    assert code == 2
    assert "input: " in err
    assert "--overwrite" in err
