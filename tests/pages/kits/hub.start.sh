# A hub that keeps what is pushed in memory.
python - > hub.txt <<'PYTHON' &
import threading

from recalign.testing.scripted_hub import ScriptedHub

with ScriptedHub() as hub:
    print(hub.address, flush=True)
    threading.Event().wait()
PYTHON
until [ -s hub.txt ]; do sleep 0.2; done
HF_ENDPOINT=$(cat hub.txt) HF_TOKEN=hf_scripted_token HF_HUB_DISABLE_XET=1
export HF_ENDPOINT HF_TOKEN HF_HUB_DISABLE_XET
unset HF_HUB_OFFLINE
