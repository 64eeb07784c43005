"""What a teacher would be asked: the estimate, and one full example of each prompt. Calls nobody."""

from __future__ import annotations

from recalign.cot.answers import Accepted, read_answer
from recalign.cot.cases import STEPS, Case
from recalign.cot.config import TeachConfig
from recalign.cot.pipeline import Questions
from recalign.cot.source import make_source
from recalign.data.samples import SampleSet
from recalign.llm.asking import run_to_end


def preview(samples: SampleSet, config: TeachConfig) -> list[str]:
    """What a dry run shows, line by line. The answers in the prompts are the heuristic teacher's.

    Raises:
        ConfigError, DataError, TeacherError: see `make_source` and `example_prompts`.
    """
    source = make_source(samples, config)
    text = [f"teacher: {config.teacher} (not called)", *source.estimate().lines()]
    for step, prompt in zip(STEPS, example_prompts(source.cases[0], source.questions, samples), strict=True):
        note = "" if step == 1 else "; the answers in it are the heuristic teacher's"
        text += ["", f"--- prompt of step {step}{note} ---", prompt]
    return "\n".join(text).split("\n")


def example_prompts(case: Case, questions: Questions, samples: SampleSet) -> list[str]:
    """The three prompts of a case, with the heuristic teacher's answers in the second and third.

    Raises:
        ConfigError: the heuristic teacher has no words in the domain's language.
    """
    from recalign.cot.heuristic import HeuristicTeacher

    teacher, fields, prompts = HeuristicTeacher(samples, questions.config), questions.fields(case), []
    for step in STEPS:
        question = questions.question(case, step, fields)
        prompts.append(question.prompt)
        answer = read_answer(step, run_to_end(teacher.complete(question)), fields)
        if not isinstance(answer, Accepted):
            raise AssertionError(f"the heuristic teacher's answer was rejected: {answer.reason}")
        fields = answer.fields
    return prompts
