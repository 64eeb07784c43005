"""A local Hugging Face causal language model as a teacher. torch is imported when the first one is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recalign.errors import TeacherError
from recalign.llm.base import Completion, Question, Usage
from recalign.models.config import BackboneConfig
from recalign.prompting.prompts import Instruction
from recalign.prompting.template import PromptTemplate
from recalign.seeding import derive_seed


class LocalTeacher:
    """A causal language model on this machine; instruct models through their own chat template. One call at a time."""

    ledgered = True
    max_concurrency = 1

    def __init__(self, config: BackboneConfig, *, template: str, seed: int) -> None:
        """Load the model. The frame of `template` is used where the tokenizer has no chat template.

        Raises:
            ModelError: See `recalign.models.backbone.load_backbone`.
        """
        from recalign.models.backbone import load_backbone
        from recalign.prompting.control import ControlTokens

        self.name = f"hf:{config.name}"
        self._seed = seed
        self._backbone = load_backbone(config)
        self._control = ControlTokens(self._backbone.tokenizer)
        self._frame = PromptTemplate.load(template)
        dtype = str(self._backbone.model.dtype).removeprefix("torch.")
        self.settings: Mapping[str, object]
        self.settings = {"fingerprint": self._backbone.fingerprint, "dtype": dtype, "seed": seed}

    async def close(self) -> None:
        """Nothing to close."""

    async def complete(self, question: Question) -> Completion:
        """Generate: greedily at temperature 0, else seeded by the question, so that the same one gets the same answer.

        Raises:
            TeacherError: Prompt and answer do not fit into the model, or its chat template loses the prompt.
        """
        import torch

        backbone = self._backbone
        ids = self._encode(question.prompt)
        room = backbone.max_positions - len(ids)
        if room < question.max_tokens:
            found = f"a prompt of {len(ids)} tokens and an answer of up to {question.max_tokens}"
            expected = f"at most {backbone.max_positions} positions"
            hint = "Use a model with more positions, or shorter answers: --set max_tokens=N."
            raise TeacherError(f"teacher {self.name}", found=found, expected=expected, hint=hint)
        inputs = torch.tensor([ids], device=backbone.model.device)
        # What a checkpoint's own generation settings would add (penalties, nucleus) is switched off.
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if question.temperature > 0:
            sampling |= {"do_sample": True, "temperature": question.temperature, "top_p": 1.0, "top_k": 0}
        devices = [inputs.device] if inputs.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(derive_seed(self._seed, "teacher", question.prompt))
            output = backbone.model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=question.max_tokens,
                pad_token_id=backbone.pad_id,
                **sampling,
            )
        answer = output[0, len(ids) :].tolist()
        text = backbone.tokenizer.decode(answer, skip_special_tokens=True)
        ends = backbone.model.generation_config.eos_token_id
        ended = bool(answer) and answer[-1] in (ends if isinstance(ends, list) else [ends])
        return Completion(text, "stop" if ended else "length", Usage(len(ids), len(answer)))

    def _encode(self, prompt: str) -> list[int]:
        tokenizer = self._backbone.tokenizer
        safe = self._control.inert([prompt])[0]
        if tokenizer.chat_template is None:
            framed = self._frame.frame(Instruction(safe, "", "")).context
            return [int(index) for index in tokenizer(framed)["input_ids"]]
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": safe}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        if safe.strip() not in text:
            found = "a chat template that loses or changes the question, so that every case may get the same one"
            hint = "Use another model, or mend chat_template in its tokenizer_config.json."
            raise TeacherError(f"teacher {self.name}", found=found, expected="the question in the prompt", hint=hint)
        return [int(index) for index in tokenizer(text, add_special_tokens=False)["input_ids"]]
