"""llama.cpp as a ranker, through the low-level functions of llama-cpp-python, as well as it can be used.

The beginning that all prompts of a user share is decoded once. The cache's cells are then given to one sequence per
prompt (`llama_memory_seq_cp`), and the endings of several prompts are decoded together, with logits at each prompt's
last token only. How many together, the size of a physical batch, flash attention and whether sequences share one
cache are tried on the machine (`tuned`).
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.tokens import common_prefix

INSTALL = "llama-cpp-python is not installed: pip install llama-cpp-python (a compiler is needed; it takes minutes)"


def installed() -> bool:
    """Whether llama-cpp-python can be imported."""
    return importlib.util.find_spec("llama_cpp") is not None


def write_gguf(original: Path, kind: str, file: Path) -> None:
    """Write the weights of a GGUF file, dequantised, as F32, F16, BF16 or Q8_0; norms stay in F32, the metadata too."""
    import gguf

    quantised = gguf.GGMLQuantizationType[kind]
    file_type = gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"]
    reader = gguf.GGUFReader(original)
    writer = gguf.GGUFWriter(file, reader.get_field("general.architecture").contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = int(file_type) if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, field.types[0], sub_type=field.types[1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        wanted = quantised if len(tensor.shape) > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@dataclass(frozen=True)
class Setting:
    """How a context of llama.cpp is used.

    Attributes:
        together: Prompts whose endings are decoded in one call.
        physical: Most tokens computed at once (`n_ubatch`).
        flash: Flash attention.
        unified: One cache for all sequences; otherwise one each, into which the shared beginning is copied.
    """

    together: int = 26
    physical: int = 512
    flash: bool = True
    unified: bool = True

    def __str__(self) -> str:
        attention = "flash" if self.flash else "plain"
        cache = "one cache" if self.unified else "a cache each"
        return f"{self.together} prompts a batch, n_ubatch {self.physical}, {attention} attention, {cache}"


CHOICES: dict[str, tuple[object, ...]] = {
    "flash": (True, False),
    "together": (9, 13, 26, 51),
    "physical": (256, 512, 1024),
    "unified": (True, False),
}


class Ranker:
    """A model of llama.cpp with a context for prompts of a known size.

    Args:
        file: The GGUF file.
        setting: How to use it.
        threads: For all it computes.
        shape: Longest shared beginning, longest ending and most prompts of a user.
    """

    def __init__(self, file: Path, setting: Setting, threads: int, shape: tuple[int, int, int]) -> None:
        import llama_cpp

        self._c = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            sys.exit(f"llama.cpp cannot load {file}")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._context: Any = None
        self._batch: Any = None
        self.threads, self.shape = threads, shape
        self.setting, self._together = setting, 0
        self.use(setting)

    def use(self, setting: Setting) -> None:
        """Make the context anew."""
        self._free()
        shared, ending, prompts = self.shape
        together = min(setting.together, prompts)
        tokens = max(shared, together * ending)
        params = self._c.llama_context_default_params()
        # As many cells as are used at most, in steps of 256 as llama.cpp wants them.
        sizes = (shared + together * ending, 1) if setting.unified else (shared + ending, together + 1)
        params.n_ctx = -(-sizes[0] // 256) * 256 * sizes[1]
        params.n_batch, params.n_ubatch = tokens, min(setting.physical, tokens)
        params.n_seq_max = together + 1
        params.n_threads = params.n_threads_batch = self.threads
        params.flash_attn_type = int(setting.flash)
        params.kv_unified = setting.unified
        self._context = self._c.llama_init_from_model(self._model, params)
        if not self._context:
            sys.exit(f"llama.cpp refuses this setting: {setting}")
        self._batch = self._c.llama_batch_init(tokens, 0, 1)
        self.setting, self._together = setting, together

    def scores(self, prompts: Sequence[EncodedPrompt], yes: int, no: int) -> NDArray[np.float64]:
        """logit(yes) − logit(no) after each of the prompts of one user."""
        shared = min(common_prefix([p.ids for p in prompts]), *(len(p.ids) - 1 for p in prompts))
        memory = self._c.llama_get_memory(self._context)
        self._c.llama_memory_clear(memory, False)
        self._decode([(0, 0, prompts[0].ids[:shared])])
        for sequence in range(1, self._together + 1):
            self._c.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        found: list[float] = []
        for start in range(0, len(prompts), self._together):
            rows = prompts[start : start + self._together]
            ends = self._decode([(at + 1, shared, prompt.ids[shared:]) for at, prompt in enumerate(rows)])
            found += [self._difference(end, yes, no) for end in ends]
            for sequence in range(1, len(rows) + 1):
                self._c.llama_memory_seq_rm(memory, sequence, shared, -1)
        return np.asarray(found)

    def _decode(self, rows: Sequence[tuple[int, int, Sequence[int]]]) -> list[int]:
        """Decode (sequence, first position, ids) together; where in the batch each ends, and has logits."""
        lengths = np.asarray([len(ids) for _, _, ids in rows])
        ends, total = np.cumsum(lengths) - 1, int(lengths.sum())
        batch = self._batch
        as_array = np.ctypeslib.as_array
        as_array(batch.token, (total,))[:] = np.concatenate([ids for _, _, ids in rows])
        as_array(batch.pos, (total,))[:] = np.concatenate([np.arange(at, at + len(ids)) for _, at, ids in rows])
        as_array(batch.n_seq_id, (total,))[:] = 1
        for place, sequence in enumerate(np.repeat([sequence for sequence, _, _ in rows], lengths).tolist()):
            batch.seq_id[place][0] = sequence
        wanted = as_array(batch.logits, (total,))
        wanted[:] = 0
        wanted[ends] = rows[0][0] > 0  # the shared beginning needs none
        batch.n_tokens = total
        if code := self._c.llama_decode(self._context, batch):
            sys.exit(f"llama_decode failed with {code} ({self.setting})")
        return [int(end) for end in ends]

    def _difference(self, place: int, yes: int, no: int) -> float:
        logits = self._c.llama_get_logits_ith(self._context, place)
        return float(logits[yes]) - float(logits[no])

    def _free(self) -> None:
        if self._batch is not None:
            self._c.llama_batch_free(self._batch)
        if self._context is not None:
            self._c.llama_free(self._context)


def tuned(ranker: Ranker, clock: Callable[[], float]) -> Iterator[tuple[Setting, float]]:
    """Try one knob after the other, keep the best value of each, and leave `ranker` with the best; what was tried."""
    best, least = ranker.setting, clock()
    yield best, least
    for name in [field.name for field in fields(Setting) if field.name in CHOICES]:
        kept = best
        for value in CHOICES[name]:
            candidate = replace(kept, **{name: value})  # type: ignore[arg-type]
            if candidate == kept:
                continue
            ranker.use(candidate)
            taken = clock()
            yield candidate, taken
            if taken < least:
                best, least = candidate, taken
    ranker.use(best)
