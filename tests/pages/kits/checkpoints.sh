# Tiny random checkpoints in the places of real ones: a hub's, SmolLM2's, a directory, and a GGUF file.
python - <<'PYTHON'
from pathlib import Path

from recalign.models.released import release_directory
from recalign.testing.gguf import write_gguf
from recalign.testing.tiny import make_tiny

commit = "a" * 40
folder = Path.home() / ".cache/huggingface/hub/models--Qwen--Qwen2.5-0.5B"
make_tiny(folder / "snapshots" / commit, "qwen2", max_positions=8192)
(folder / "snapshots" / commit / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Made up\n")
(folder / "refs").mkdir()
(folder / "refs" / "main").write_text(commit)
make_tiny(Path("models/my-instruct-model"), "qwen3", max_positions=8192)
write_gguf(make_tiny(Path("tiny"), "llama", max_positions=8192, tie_word_embeddings=True), Path("model-Q4_K_M.gguf"))
Path("smollm2.txt").write_text(str(release_directory("smollm2")))
PYTHON
recalign import gguf model-Q4_K_M.gguf "$(cat smollm2.txt)"
