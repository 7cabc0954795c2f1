"""The retrieval service of a run: the driver builds its index once, with progress on the screen, and starts it."""

from __future__ import annotations

import asyncio

from cluster.config.recipe import RetrievalRole
from cluster.run.progress import Screen
from cluster.runtime.backend import Backend
from rollout.concurrency import run_in_thread
from rollout.tools.retrieval.service import Service, prepare_index

ROW = "start/retrieval"


async def start_retrieval(config: RetrievalRole, backend: Backend, screen: Screen) -> Service:
    """Build the index where it is missing, and start the replicas.

    Raises:
        UserError: the corpus is missing or damaged, or a replica cannot open its index.
    """
    loop = asyncio.get_running_loop()

    def show(count: int) -> None:
        loop.call_soon_threadsafe(screen.progress, ROW, 0, {"documents": count})

    screen.begin(ROW, "retrieval starts", 0, unit="")
    await run_in_thread(prepare_index, config, show)
    replicas = await backend.replicas(config)
    screen.end(ROW)
    return Service(config, replicas)
