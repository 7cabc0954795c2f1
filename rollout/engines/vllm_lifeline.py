"""What runs of ours inside vLLM's processes: they end when the process that started them is gone, however it went."""

from __future__ import annotations

import os
import select
import threading


class Lifeline:
    """Mixed into vLLM's worker class by name (``worker_extension_cls``); called by ``collective_rpc``."""

    def end_with(self, owner_pid: int) -> None:
        """End this process as soon as process ``owner_pid`` has ended, by SIGKILL as well. Linux only."""
        owner = os.pidfd_open(owner_pid)
        threading.Thread(target=_wait_and_end, args=(owner,), name="lifeline", daemon=True).start()


def _wait_and_end(owner: int) -> None:
    select.select([owner], [], [])  # readable when the process is gone
    os._exit(1)  # nobody is left to answer to, and vLLM's own shutdown waits for its front end
