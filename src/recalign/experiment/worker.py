"""What a worker process sets up before it works: its threads, how it is told to stop, and a watch over its parent.

Also what machine it runs on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing.synchronize import Event
from typing import Final

WATCH_SECONDS: Final = 0.5  # how often a worker looks for its parent, and the parent for a signal


def enter_worker(threads: int, parent: int, stop: Event | None) -> None:
    """Set up this process as a worker of the process `parent`, before it loads torch.

    A terminal's Ctrl-C is the parent's, which sets `stop` once: a second signal would cut a checkpoint short. The
    worker then sends itself SIGTERM, which is ignored unless the work puts a handler in its place. (Without `stop` it
    hears of it from others.) A worker whose parent is gone ends, so that nothing goes on working unseen.
    """
    os.setpgrp()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"

    def watch() -> None:
        told = False
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
            if stop is not None and stop.is_set() and not told:
                told = True
                os.kill(os.getpid(), signal.SIGTERM)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def machine_kind() -> str:
    """What decides how long work takes, as far as a store's log tells it: the cores and the GPUs of this machine."""
    import torch

    return f"{os.cpu_count()} cores, {torch.cuda.device_count()} GPUs"
