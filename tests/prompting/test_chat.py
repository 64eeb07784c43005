"""Chat templates of the shapes that models come with, and broken ones."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from recalign.data.domain import Domain
from recalign.errors import ModelError
from recalign.prompting.chat import ChatFrame
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.prompts import HistoryText
from recalign.prompting.template import PromptTemplate

Builder = Callable[[str], PreTrainedTokenizerBase]
HISTORY = (HistoryText("Heat (1995)", True), HistoryText("X", False))

LLAMA3 = """\
{%- for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>

{{ m['content'] | trim }}<|eot_id|>{% endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content.strip() }} [/INST]"
    "{% else %} {{ m.content.strip() }} </s>{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Finished answers stand after an empty thought, and with `enable_thinking` off so does the one that is asked for.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
QWEN3_THINKING = QWEN3.split("{% if enable_thinking")[0] + "<think>\n{% endif %}"
DEEPSEEK_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
    "{% else %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}<|start|>{{ m.role }}{{ '<|channel|>final' if m.role == 'assistant' }}<|message|>"
    "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GLM = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ '<think></think>\n' if m.role == 'assistant' }}{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{{ '<think></think>' if not enable_thinking }}{% endif %}"
)
COMMAND_A = (
    "{% for m in messages %}<|{{ m.role }}|>{{ '<|START_RESPONSE|>' if m.role == 'assistant' }}{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|><|START_THINKING|>{% endif %}"
)
NO_GENERATION_PROMPT = CHATML.split("{% if add_generation_prompt")[0]
# Templates that want a list of parts walk over the letters of a plain text, none of which has a type.
PARTS_ONLY = CHATML.replace("{{ m.content }}", "{% for p in m.content %}{{ p.text if p.type == 'text' }}{% endfor %}")
FIRST_LINE = CHATML.replace("{{ m.content }}", "{{ m.content.split('\n')[0] }}")
ESCAPED = CHATML.replace("{{ m.content }}", "{{ m.content | e }}")
ONE_QUESTION = CHATML.replace("{{ m.content }}", "recalign asks the first question")
NO_ANSWER = "{% for m in messages if m.role == 'user' %}{{ m.content }}\n{% endfor %}Answer:"
USER_ONLY = (
    "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('Only users speak') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)


@pytest.fixture
def with_template(tokenizers: dict[str, PreTrainedTokenizerBase]) -> Builder:
    def build(chat_template: str) -> PreTrainedTokenizerBase:
        tokenizer = copy.deepcopy(tokenizers["chatml"])
        tokenizer.chat_template = chat_template
        return tokenizer

    return build


@pytest.mark.parametrize(
    ("chat_template", "before", "after"),
    [
        (LLAMA3, "user<|end_header_id|>\n\n", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        (LLAMA2, "<s>[INST] ", " [/INST] "),
        (GEMMA, "<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n"),
        (CHATML, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        (QWEN3, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        (QWEN3_THINKING, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        (DEEPSEEK_R1, "<｜User｜>", "<｜Assistant｜><think>\n\n</think>\n\n"),
        (GPT_OSS, "<|start|>user<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        (GLM, "<|user|>\n", "<|assistant|>\n<think></think>\n"),
        (NO_GENERATION_PROMPT, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_the_prompt_ends_where_a_finished_answer_begins(
    with_template: Builder, chat_template: str, before: str, after: str
) -> None:
    tokenizer = with_template(chat_template)
    frame = ChatFrame(tokenizer, "chat")
    for text in ("Which one?\nThis one, <think>", "x", "the other"):
        (asked,) = frame.around([text])
        assert asked.endswith(before + text + after)
    assert frame.around(["a", "b"]) == [frame.around([text])[0] for text in ("a", "b")]

    encoder = PromptEncoder(PromptTemplate.load("chat"), Domain(noun="movie"), tokenizer, max_length=800)
    prompts = {
        (title, label): encoder.encode(HISTORY, title, label) for title in ("Heat (1995)", "Alien") for label in (0, 1)
    }
    for (title, label), prompt in prompts.items():
        context = tokenizer.decode(prompt.ids[: prompt.answer_start])
        assert f"Target movie: {title}" in context
        assert context.rstrip().endswith(after.rstrip())
        assert tokenizer.decode(prompt.ids[prompt.answer_start : -1]).strip() == ("Yes." if label else "No.")
    assert len({prompt.ids for prompt in prompts.values()}) == 4


@pytest.mark.parametrize(
    ("chat_template", "message"),
    [
        (PARTS_ONLY, r"loses or changes the text of the user; found a chat that ends with '<\|im_start\|>user"),
        (
            ONE_QUESTION,
            r"loses or changes the text of the user; .*expected one that ends with 'recalign asks the second",
        ),
        (NO_ANSWER, "shows no answer after the message; found .*Answer:"),
        (USER_ONLY, "failed on a user message and its answer; found Only users speak"),
        (COMMAND_A, r"opens a thought before the answer; found '<\|START_THINKING\|>'"),
        ("{{ raise_exception('No chats') }}", "failed on a user message; found No chats"),
    ],
)
def test_templates_that_ask_nothing_are_refused(with_template: Builder, chat_template: str, message: str) -> None:
    tokenizer = with_template(chat_template)
    tokenizer.name_or_path = "acme/instruct"
    named = r"the chat template of acme/instruct, which prompt template 'chat' needs, "
    with pytest.raises(ModelError, match=f"{named}{message}.*--template default"):
        PromptEncoder(PromptTemplate.load("chat"), Domain(noun="movie"), tokenizer, max_length=800)


@pytest.mark.parametrize("chat_template", [FIRST_LINE, ESCAPED])
def test_a_prompt_that_the_template_changes_is_refused(with_template: Builder, chat_template: str) -> None:
    with pytest.raises(ModelError, match="loses or changes the text of the user"):
        PromptEncoder(PromptTemplate.load("chat"), Domain(noun="movie"), with_template(chat_template), max_length=800)


def test_no_chat_template_is_no_problem_for_templates_without_chat(with_template: Builder) -> None:
    tokenizer = with_template(PARTS_ONLY)
    PromptEncoder(PromptTemplate.load("default"), Domain(noun="movie"), tokenizer, max_length=800)
