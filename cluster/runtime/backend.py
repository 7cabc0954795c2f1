"""Where a run executes: in this process or on a Ray cluster. The driver depends only on `Backend`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cluster.config.failures import FailurePolicies
from cluster.config.recipe import RetrievalRole
from cluster.run.provenance import cpu_cores, gpus
from cluster.run.training_data import TrainRequest
from cluster.runtime.address import IN_PROCESS, check_address
from cluster.runtime.compaction import compact_store
from cluster.runtime.resources import ResourceGroup, ResourceRequest
from cluster.runtime.rollout_worker import RolloutWorker, WorkerConfig
from cluster.runtime.sockets import shorten_socket_paths
from cluster.runtime.train_learner import train_rank
from cluster.runtime.worker import Worker
from rollout.concurrency import run_in_thread
from rollout.errors import UserError
from rollout.tools.retrieval.client import Backend as Replica
from rollout.tools.retrieval.client import in_process
from rollout.tools.retrieval.service import RetrievalServer


class Backend(Protocol):
    """Interface of the place where a run executes."""

    cores: int | None
    """CPU cores that the run does not share; None on a shared cluster."""

    def check(self, wanted: Sequence[ResourceRequest]) -> None:
        """Raise `UserError` if these workers do not fit at the same time."""

    def worker(self, request: ResourceRequest, config: WorkerConfig) -> Worker:
        """A rollout worker that is not started yet."""

    async def replicas(self, config: RetrievalRole) -> tuple[Replica, ...]:
        """Start the replicas of a retrieval service; returns when they can answer."""

    async def train(self, request: TrainRequest) -> None:
        """Train one round."""

    async def compact(self, store: str) -> None:
        """Compact a store of episodes outside of the driver's process, where there is another one.

        Raises:
            CompactionError: the process died, or took too long. Nothing is lost.
        """

    def close(self) -> None:
        """Leave the cluster, or shut a cluster of our own down."""


class LocalBackend:
    """Runs everything in this process: coroutines for episodes, a thread for training."""

    def __init__(self) -> None:
        self.cores: int | None = cpu_cores()

    def check(self, wanted: Sequence[ResourceRequest]) -> None:
        for request in wanted:
            if request.section == "learner" and request.workers > 1:
                raise UserError("learner.workers is more than 1, which needs Ray: leave out --address local.")
        wanted_gpus = sum(request.workers * request.resources.gpus for request in wanted)
        if wanted_gpus and wanted_gpus > (available := len(gpus())):
            raise UserError(
                f"The recipe needs {wanted_gpus:g} GPU at the same time, but this machine has {available}: lower "
                "resources.gpus, or join a cluster with --address."
            )

    def worker(self, request: ResourceRequest, config: WorkerConfig) -> Worker:
        return RolloutWorker(config)

    async def replicas(self, config: RetrievalRole) -> tuple[Replica, ...]:
        server = RetrievalServer(config)
        await run_in_thread(server.start)
        return (in_process(server),)

    async def train(self, request: TrainRequest) -> None:
        # asyncio's own threads would keep Ctrl-C waiting for the end of training.
        await run_in_thread(train_rank, request)

    async def compact(self, store: str) -> None:
        await run_in_thread(compact_store, store)

    def close(self) -> None:
        """Nothing outlives the process."""


def open_backend(
    address: str | None, logs: Path, groups: Sequence[ResourceGroup], failures: FailurePolicies
) -> Backend:
    """Open the backend at ``address``: ``local`` is this process, None a new Ray cluster on this machine.

    ``groups`` are the workers that live at the same time; a new cluster counts its CPUs by them.
    """
    check_address(address)
    shorten_socket_paths()
    if address == IN_PROCESS:
        return LocalBackend()
    from cluster.runtime.ray_backend import RayBackend

    return RayBackend(address, logs, groups, failures)
