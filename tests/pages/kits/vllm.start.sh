# A server with the replies of vLLM around the merged checkpoint; SERVER is its address.
python - > server.txt <<'PYTHON' &
import threading

from transformers import AutoModelForCausalLM

from recalign.testing.scripted_scoring import ScriptedScoring, plain_probabilities

model = AutoModelForCausalLM.from_pretrained("served").eval()
with ScriptedScoring("vllm", plain_probabilities(model), model="shoes") as server:
    print(server.address, flush=True)
    threading.Event().wait()
PYTHON
until [ -s server.txt ]; do sleep 0.2; done
SERVER=$(cat server.txt)
export SERVER
