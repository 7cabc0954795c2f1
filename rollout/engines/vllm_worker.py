"""What runs of ours inside vLLM's processes."""

from __future__ import annotations

import os
import select
import threading
from typing import Any


class WorkerExtension:
    """Mixed into vLLM's worker class by name (``worker_extension_cls``); called by ``collective_rpc``."""

    def end_with(self, owner_pid: int) -> None:
        """End this process as soon as process ``owner_pid`` has ended, by SIGKILL as well. Linux only."""
        owner = os.pidfd_open(owner_pid)
        threading.Thread(target=_wait_and_end, args=(owner,), name="lifeline", daemon=True).start()

    def repack_heads(self) -> None:
        """After ``reload_weights``: bring a head that is tied to the embeddings up to date.

        On the CPU a head computes with a packed copy of its weights. vLLM makes that anew only for a head with weights
        of its own in the checkpoint; a tied one would go on with those that the engine started with.
        """
        model: Any = self.get_model()  # type: ignore[attr-defined]  # of vLLM's worker
        for module in model.modules():
            if type(module).__name__ == "ParallelLMHead" and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)


def _wait_and_end(owner: int) -> None:
    select.select([owner], [], [])  # readable when the process is gone
    os._exit(1)  # nobody is left to answer to, and vLLM's own shutdown waits for its front end
