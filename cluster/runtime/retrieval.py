"""Start of a run's retrieval service. The driver builds the index once and shows its progress."""

from __future__ import annotations

import asyncio

from cluster.config.recipe import RetrievalRole
from cluster.run.progress import Screen
from cluster.runtime.backend import Backend
from rollout.concurrency import run_in_thread
from rollout.tools.retrieval.service import Service, prepare_index

ROW = "start/retrieval"


async def start_retrieval(config: RetrievalRole, backend: Backend, screen: Screen) -> Service:
    """Build the index if it is missing, and start the replicas.

    Raises:
        UserError: if the corpus is missing or damaged, or a replica cannot open the index.
    """
    loop = asyncio.get_running_loop()

    def show_progress(count: int) -> None:
        loop.call_soon_threadsafe(screen.progress, ROW, 0, {"documents": count})

    screen.begin(ROW, "retrieval starts", 0, unit="")
    await run_in_thread(prepare_index, config, show_progress)
    replicas = await backend.replicas(config)
    screen.end(ROW)
    return Service(config, replicas)
