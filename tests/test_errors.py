"""What an error suggests: the name that was meant, where one is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.errors import did_you_mean, did_you_mean_path


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("custommer", "Did you mean Customer?"),
        ("CUSTOMER", "Did you mean Customer?"),
        ("sku", "Did you mean sku?"),
        ("colour", ""),
    ],
)
def test_the_nearest_name_is_suggested_whatever_its_case(wrong: str, hint: str) -> None:
    assert did_you_mean(wrong, ["Customer", "sku", "stars"]) == hint


def test_a_path_is_suggested_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "shoes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert did_you_mean_path(Path("data/shos")) == "Did you mean data/shoes?"
    assert did_you_mean_path(Path("dta/shoes")) == "Did you mean data/shoes?"
    assert did_you_mean_path(tmp_path / "Data" / "shoes") == f"Did you mean {tmp_path / 'data' / 'shoes'}?"
    assert did_you_mean_path(Path("dta/boots")) == "", "the folder is near, but holds no such thing"
    assert did_you_mean_path(Path("data/shoes")) == "", "it is there"
    assert did_you_mean_path(Path("elsewhere")) == ""
    (tmp_path / "file").touch()
    assert did_you_mean_path(Path("file/shoes")) == ""
