from __future__ import annotations

import pytest

from recalign.errors import ConfigError
from recalign.prompting.spec import read_spec

HEAD = 'name = "mine"\nversion = 1\n'
WORDING = '[wording.en]\ninstruction = "{{ target }}"\n'


def test_a_minimal_template_uses_the_alpaca_frame() -> None:
    spec = read_spec(HEAD + WORDING, "mine.toml")
    assert spec.frame.with_input.endswith("### Input:\n{{ input }}\n\n### Response:\n")
    assert spec.wording["en"].output == "{{ yes if label else no }}"
    assert not spec.chat


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name = ", "mine.toml"),
        (WORDING, "name: Field required; version: Field required"),
        (HEAD + "colour = 1\n" + WORDING, "colour: Extra inputs"),
        (HEAD, "needs [wording"),
        (HEAD + 'kind = "cot"\n' + WORDING, "needs three [[stages"),
        (HEAD + WORDING + '[parse]\ninstruction = "("\ninput = ""', "not a regular expression"),
        (HEAD + WORDING + '[parse]\ninstruction = ""\ninput = "(?P<liked>.)"', "lacks the groups disliked, target"),
    ],
)
def test_faulty_templates_are_refused_with_all_problems(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_spec(text, "mine.toml")
    assert part in str(caught.value)
    assert "mine.toml" in str(caught.value)
