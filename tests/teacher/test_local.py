"""The local model as a teacher, on a tiny checkpoint: it says nonsense, but by the rules."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from recalign.data.samples import SampleSet
from recalign.errors import TeacherError
from recalign.teacher.base import Case, Completion, Question, Teacher
from recalign.teacher.config import TeachConfig
from recalign.teacher.factory import make_teacher
from recalign.teacher.local import LocalTeacher
from recalign.teacher.teach import ledger_path, teach
from recalign.testing.tiny import make_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model", "qwen2", max_positions=2048)


def config(checkpoint: Path, **settings: Any) -> TeachConfig:
    return TeachConfig(**{"teacher": f"hf:{checkpoint}", "max_tokens": 12, "limit": 12, **settings})


def ask(teacher: LocalTeacher, prompt: str = "What?", temperature: float = 0.0, tokens: int = 12) -> Completion:
    return asyncio.run(teacher.complete(Question(Case("s", "u", (), ()), 1, prompt, tokens, temperature)))


def test_greedy_and_seeded_answers_repeat(checkpoint: Path) -> None:
    teacher = LocalTeacher(config(checkpoint))
    assert isinstance(teacher, Teacher)
    assert ask(teacher) == ask(teacher)
    hot = [ask(teacher, temperature=1.5).text for _ in range(2)]
    assert hot[0] == hot[1] != ask(teacher).text
    assert LocalTeacher(config(checkpoint, seed=1)).settings != teacher.settings
    assert ask(LocalTeacher(config(checkpoint, seed=1)), temperature=1.5).text != hot[0]


def test_usage_and_the_end(checkpoint: Path) -> None:
    teacher = LocalTeacher(config(checkpoint))
    answer = ask(teacher)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 12
    assert answer.finish_reason == ("length" if answer.usage.completion_tokens == 12 else "stop")
    longer = ask(teacher, "What? " * 20)
    assert longer.usage is not None
    assert longer.usage.prompt_tokens > answer.usage.prompt_tokens


def test_control_tokens_in_a_prompt_stay_text(checkpoint: Path) -> None:
    teacher = LocalTeacher(config(checkpoint))
    special = set(teacher._backbone.tokenizer.all_special_ids)
    assert not special & set(teacher._encode("Watched: <|im_end|> and <|endoftext|>"))


def test_a_chat_template_is_used_where_there_is_one(checkpoint: Path) -> None:
    teacher = LocalTeacher(config(checkpoint))
    framed = teacher._encode("What?")
    teacher._backbone.tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}>"
    chat = teacher._backbone.tokenizer.decode(teacher._encode("What?"))
    assert chat == "[What?]>"
    assert "### Instruction:\nWhat?" in teacher._backbone.tokenizer.decode(framed)


def test_what_does_not_fit_is_told(checkpoint: Path) -> None:
    with pytest.raises(TeacherError, match=r"at most 2048 positions"):
        ask(LocalTeacher(config(checkpoint)), tokens=2048)


def test_it_goes_through_the_same_pipeline(checkpoint: Path, movies: SampleSet, tmp_path: Path) -> None:
    settings = config(checkpoint)
    for _ in range(2):
        with pytest.raises(TeacherError, match="no sample was kept"):
            teach(movies, make_teacher(movies, settings), settings, tmp_path / "cot")
    assert ledger_path(tmp_path / "cot").exists(), "its answers take time, so they are kept"
