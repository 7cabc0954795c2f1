"""Where the parts of a run live: in this process, or on a Ray cluster. The driver sees no more than `Backend`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cluster.config.failures import FailurePolicies
from cluster.config.recipe import RetrievalRole
from cluster.run.provenance import cpu_cores
from cluster.run.training_data import TrainRequest
from cluster.runtime.resources import ResourceGroup, ResourceRequest
from cluster.runtime.rollout_pool import Worker
from cluster.runtime.rollout_worker import RolloutWorker, WorkerConfig
from cluster.runtime.train_learner import train_rank
from rollout.concurrency import in_thread
from rollout.errors import UserError
from rollout.tools.retrieval.client import Backend as Replica
from rollout.tools.retrieval.client import in_process
from rollout.tools.retrieval.service import RetrievalServer

IN_PROCESS = "local"
"""As an address: no Ray at all."""


class Backend(Protocol):
    """What the driver asks of the place where a run happens."""

    cores: int | None
    """CPU cores that a run has to itself; None on a cluster that is shared."""

    def check(self, wanted: Sequence[ResourceRequest]) -> None:
        """Raise `UserError` if these workers cannot live here at the same time."""
        ...

    def worker(self, request: ResourceRequest, config: WorkerConfig) -> Worker:
        """A rollout worker that is not started yet."""
        ...

    async def replicas(self, config: RetrievalRole) -> tuple[Replica, ...]:
        """The replicas of a retrieval service, once they can answer."""
        ...

    async def train(self, request: TrainRequest) -> None:
        """Train one round."""
        ...

    def close(self) -> None:
        """Leave the cluster, or shut a cluster of our own down."""
        ...


class LocalBackend:
    """All in this process: coroutines for episodes, a thread for training. For tests, small runs and debugging."""

    def __init__(self) -> None:
        self.cores: int | None = cpu_cores()

    def check(self, wanted: Sequence[ResourceRequest]) -> None:
        for request in wanted:
            if request.who == "learner" and request.workers > 1:
                raise UserError("learner.workers is more than 1, which needs Ray: leave out --address local.")

    def worker(self, request: ResourceRequest, config: WorkerConfig) -> Worker:
        return RolloutWorker(config)

    async def replicas(self, config: RetrievalRole) -> tuple[Replica, ...]:
        server = RetrievalServer(config)
        await in_thread(server.start)
        return (in_process(server),)

    async def train(self, request: TrainRequest) -> None:
        await in_thread(train_rank, request)  # asyncio's own threads would keep Ctrl-C waiting for the end of training

    def close(self) -> None:
        """Nothing outlives the process."""


def open_backend(
    address: str | None, logs: Path, groups: Sequence[ResourceGroup], failures: FailurePolicies
) -> Backend:
    """The place at ``address``: ``local`` is this process, None a new Ray cluster here, else an existing one.

    ``groups`` are the workers that live at the same time; a new cluster counts its CPUs by them.
    """
    if address == IN_PROCESS:
        return LocalBackend()
    from cluster.runtime.ray_backend import RayBackend

    return RayBackend(address, logs, groups, failures)
