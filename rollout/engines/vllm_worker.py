"""Extension of vLLM's workers; runs inside vLLM's processes."""

from __future__ import annotations

import os
import select
import threading
from typing import Any


class WorkerExtension:
    """Mixin of vLLM's worker class (``worker_extension_cls``); its methods are called with ``collective_rpc``."""

    def exit_with(self, owner_pid: int) -> None:
        """Exit this process when process ``owner_pid`` ends, also by SIGKILL. Linux only."""
        owner = os.pidfd_open(owner_pid)
        threading.Thread(target=_wait_and_exit, args=(owner,), name="lifeline", daemon=True).start()

    def allow_amx(self) -> None:
        """Ask Linux for the permission to use AMX tiles, where the CPU has them.

        vLLM's attention uses them for bfloat16 without asking, which ends the process with an illegal instruction.
        """
        import torch

        torch.cpu._init_amx()

    def repack_heads(self) -> None:
        """Update heads that are tied to the embeddings, after ``reload_weights``.

        On the CPU, a head computes with a packed copy of its weights. vLLM repacks it only if the checkpoint has
        separate weights for the head; a tied head would keep the weights that the engine started with.
        """
        model: Any = self.get_model()  # type: ignore[attr-defined]  # from vLLM's worker
        for module in model.modules():
            if type(module).__name__ == "ParallelLMHead" and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)


def _wait_and_exit(owner: int) -> None:
    select.select([owner], [], [])  # readable once the process has ended
    os._exit(1)  # not a clean shutdown, which would wait for the front end
