"""Rollout workers and retrieval servers as Ray actors, and the Ray cluster that runs them."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from cluster.config.failures import FailurePolicies
from cluster.config.recipe import RetrievalRole
from cluster.run.episodes import EpisodeRequest, RolloutUpdate, WorkerJob
from cluster.run.provenance import cpu_cores
from cluster.run.training_data import TrainRequest
from cluster.runtime.address import no_cluster, require_cluster
from cluster.runtime.compaction import CompactionError, compact_store
from cluster.runtime.ray_train import train_with_ray
from cluster.runtime.resources import ResourceGroup, ResourceRequest, check_fits, local_cpus, ray_options
from cluster.runtime.rollout_worker import RolloutWorker, WorkerConfig
from cluster.runtime.worker import PoolError, Worker, WorkerDied
from rollout.concurrency import run_all, run_in_thread, with_timeout
from rollout.errors import EngineDied, UserError
from rollout.messages import first_line
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.service import RetrievalServer

SETTINGS = ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_worker_niceness")
"""Set to 0 unless the user has set them: no usage reports, no warnings on the terminal, and no niceness of 15, with
which the workers of a cluster of our own starve beside anything else that runs."""
LOG_TAIL_LINES = 15
COMPACT_TIMEOUT_S = 3600.0


class RayBackend:
    """An existing Ray cluster, or a new one on this machine that ends with this process."""

    def __init__(
        self,
        address: str | None,
        logs: Path,
        groups: Sequence[ResourceGroup],
        failures: FailurePolicies | None = None,
    ) -> None:
        """Connect. Raises `UserError` if there is no cluster at ``address``, or a new one does not come up in time."""
        self.cores: int | None = cpu_cores() if address is None else None
        self.failures = failures or FailurePolicies()
        self.storage = logs / "ray_train"
        num_cpus = None if address else local_cpus(groups, cpu_cores())
        for name in SETTINGS:
            os.environ.setdefault(name, "0")
        if address is not None:
            require_cluster(address)
        with own_sigterm(), plain_start_errors(address):
            ray.init(
                # "local" never connects anywhere, whatever RAY_ADDRESS says
                address=address or "local",
                num_cpus=num_cpus,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        self.logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[attr-defined]
        point_to(logs / "ray", self.logs)
        logging.getLogger("ray").setLevel(logging.ERROR)

    def check(self, wanted: Sequence[ResourceRequest]) -> None:
        check_fits(wanted, [node["Resources"] for node in ray.nodes() if node["Alive"]])

    def worker(self, request: ResourceRequest, config: WorkerConfig) -> Worker:
        options = ray_options(request.section, request.resources)
        return RayWorker(config, options, self.logs, self.failures.worker(request.section).stop_timeout_s)

    async def replicas(self, config: RetrievalRole) -> tuple[RayReplica, ...]:
        options = ray_options("retrieval", config.resources)
        options["max_restarts"] = self.failures.retrieval.max_restarts
        replicas = tuple(RayReplica(config, options, number) for number in range(config.replicas))
        await run_all(*(replica.start() for replica in replicas))
        return replicas

    async def train(self, request: TrainRequest) -> None:
        await run_in_thread(train_with_ray, request, self.storage, self.failures.learner)

    async def compact(self, store: str) -> None:
        # No CPU of its own, because actors may hold all of them for as long as the run lasts.
        compacting = ray.remote(compact_store).options(num_cpus=0).remote(store)
        try:
            await with_timeout(COMPACT_TIMEOUT_S, compacting)
        except RayTaskError as error:
            raise error.cause from None
        except (RayError, TimeoutError) as error:
            ray.cancel(compacting, force=True)
            raise CompactionError(summary(error)) from error

    def close(self) -> None:
        ray.shutdown()


class RayWorker:
    """A `RolloutWorker` in an actor. Raises `WorkerDied` for a dead process; keeps `UserError` and `EngineDied`."""

    def __init__(self, config: WorkerConfig, options: dict[str, Any], logs: Path, stop_timeout_s: float) -> None:
        self.logs = logs
        self.stop_timeout_s = stop_timeout_s
        self.actor: Any = ray.remote(RolloutWorker).options(**options).remote(config)

    async def start(self) -> tuple[str, ...]:
        with self._plain_errors():
            return await self.actor.start.remote()

    async def ping(self) -> None:
        with self._plain_errors():
            await self.actor.ping.remote()

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
        with self._plain_errors():
            async for reference in self.actor.rollout.options(num_returns="streaming").remote(requests):
                yield await reference

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        with self._plain_errors():
            return await self.actor.call.remote(job)

    async def load_weights(self, folder: str, version: int) -> None:
        with self._plain_errors():
            await self.actor.load_weights.remote(folder, version)

    async def stop(self) -> None:
        """Stop the engine, then kill the actor. An actor that does not answer in time is killed too."""
        with suppress(RayActorError, RayTaskError, TimeoutError):
            await asyncio.wait_for(self.actor.stop.remote(), self.stop_timeout_s)
        ray.kill(self.actor)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except RayActorError as error:
            raise WorkerDied(f"{summary(error)}{self._log_tail(str(error))}") from error
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            if isinstance(error.cause, EngineDied):
                raise EngineDied(f"{error.cause}{self._log_tail(str(error))}") from error
            raise PoolError(f"A worker failed: {summary(error.cause)}{self._log_tail(str(error))}") from error

    def _log_tail(self, text: str) -> str:
        """The end of the log of the process that an error's text names; logs on other machines are not read."""
        process = re.search(r"pid[=:] ?(\d+)", text)
        files = sorted(self.logs.glob(f"worker-*-{process[1]}.err")) if process else []
        lines = [line for file in files for line in file.read_text("utf-8", errors="replace").splitlines()]
        return "\nThe end of its log:\n" + "\n".join(lines[-LOG_TAIL_LINES:]) if lines else ""


class RayReplica:
    """A `RetrievalServer` in an actor: a replica that any process can ask (`rollout.tools.retrieval.client.Backend`).

    One that dies is started again by Ray, as often as ``options`` allow; who asks it meanwhile is refused at once, and
    asks another.
    """

    def __init__(self, config: RetrievalRole, options: dict[str, Any], number: int) -> None:
        self.actor: Any = (
            ray.remote(RetrievalServer)
            .options(name=f"retrieval-{number}", scheduling_strategy="SPREAD", **options)
            .remote(config)
        )

    async def start(self) -> None:
        """Wait until its index is open. Raises `UserError` if it cannot be."""
        try:
            await self.actor.start.remote()
        except RayTaskError as error:
            raise UserError(str(error.cause)) if isinstance(error.cause, UserError) else error from None

    async def __call__(self, queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        try:
            return await self.actor.search.remote(list(queries), k)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            raise ConnectionError(f"a replica of the retrieval service failed: {summary(cause)}") from error


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM, which ends a run in order; Ray's own ends the process on the spot.

    Raises:
        KeyboardInterrupt: the signal came while Ray started.
    """
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


@contextmanager
def plain_start_errors(address: str | None) -> Iterator[None]:
    """Raise `UserError` if a cluster cannot be reached or started."""
    try:
        yield
    except ConnectionError as error:
        raise UserError(no_cluster(str(address), first_line(error))) from error
    except Exception as error:  # Ray raises no narrower type for a node that is late
        if "timed out during startup" not in str(error):
            raise
        raise UserError(
            "Ray did not start on this machine in time: free some of its CPUs and memory, then run the same command "
            "again; what was written before is kept."
        ) from error


def summary(error: BaseException) -> str:
    """Type and first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}"


def point_to(link: Path, target: Path) -> None:
    """Make ``link`` a symbolic link to ``target``, in the place of an older one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
