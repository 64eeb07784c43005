"""The local model as a teacher, on a tiny checkpoint: it says nonsense, but by the rules."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recalign.errors import TeacherError
from recalign.llm.base import Completion, Question, Teacher
from recalign.llm.local import LocalTeacher
from recalign.models.config import BackboneConfig
from recalign.testing.tiny import make_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model", "qwen2", max_positions=2048)


def load(checkpoint: Path, seed: int = 0) -> LocalTeacher:
    return LocalTeacher(BackboneConfig(name=str(checkpoint)), template="tlrec-cot", seed=seed)


def ask(teacher: LocalTeacher, prompt: str = "What?", temperature: float = 0.0, tokens: int = 12) -> Completion:
    return asyncio.run(teacher.complete(Question(prompt, tokens, temperature)))


def test_greedy_and_seeded_answers_repeat(checkpoint: Path) -> None:
    teacher = load(checkpoint)
    assert isinstance(teacher, Teacher)
    assert ask(teacher) == ask(teacher)
    hot = [ask(teacher, temperature=1.5).text for _ in range(2)]
    assert hot[0] == hot[1] != ask(teacher).text
    assert load(checkpoint, seed=1).settings != teacher.settings
    assert ask(load(checkpoint, seed=1), temperature=1.5).text != hot[0]


def test_usage_and_the_end(checkpoint: Path) -> None:
    teacher = load(checkpoint)
    answer = ask(teacher)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 12
    assert answer.finish_reason == ("length" if answer.usage.completion_tokens == 12 else "stop")
    longer = ask(teacher, "What? " * 20)
    assert longer.usage is not None
    assert longer.usage.prompt_tokens > answer.usage.prompt_tokens


def test_control_tokens_in_a_prompt_stay_text(checkpoint: Path) -> None:
    teacher = load(checkpoint)
    special = set(teacher._backbone.tokenizer.all_special_ids)
    assert not special & set(teacher._encode("Watched: <|im_end|> and <|endoftext|>"))


def test_a_chat_template_is_used_where_there_is_one(checkpoint: Path) -> None:
    teacher = load(checkpoint)
    framed = teacher._encode("What?")
    teacher._backbone.tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}>"
    chat = teacher._backbone.tokenizer.decode(teacher._encode("What?"))
    assert chat == "[What?]>"
    assert "### Instruction:\nWhat?" in teacher._backbone.tokenizer.decode(framed)


def test_a_chat_template_that_loses_the_question_is_refused(checkpoint: Path) -> None:
    teacher = load(checkpoint)
    parts = "{% for m in messages %}[{% for p in m.content %}{{ p.text if p.type == 'text' }}{% endfor %}]{% endfor %}>"
    teacher._backbone.tokenizer.chat_template = parts
    with pytest.raises(TeacherError, match=r"teacher hf:.*; found a chat template that loses or changes the question"):
        ask(teacher)


def test_what_does_not_fit_is_told(checkpoint: Path) -> None:
    with pytest.raises(TeacherError, match=r"at most 2048 positions"):
        ask(load(checkpoint), tokens=2048)
