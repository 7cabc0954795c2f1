"""Parallel runs of a study: each in its own process, with its share of this machine's cores.

The progress of a run is written to ``logs/screen.txt`` in its folder.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from cluster.driver import run as drive
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from cluster.run.weights import check_models
from cluster.runtime.shutdown import raise_keyboard_interrupt
from cluster.study.runs import Job
from rollout.errors import UserError

KILL_TIMEOUT_S = 30.0
"""A killed process ends at once, unless the machine is overloaded."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A run in its own process. ``slot`` is the index of its share of the cores."""

    job: Job
    process: BaseProcess
    connection: Connection
    slot: int


class ProcessPool:
    """A pool of processes that runs up to ``num_slots`` jobs in parallel.

    Args:
        num_slots: maximum number of parallel runs.
        address: Ray cluster, as in `cluster.driver.run`.
        command: command line of the user, recorded in each run's manifest.
    """

    def __init__(self, num_slots: int, address: str | None, command: Sequence[str]) -> None:
        self.num_slots = num_slots
        self.address = address
        self.command = tuple(command)
        self.running: list[RunningJob] = []

    def start(self, job: Job) -> None:
        """Start a run in a free slot."""
        slot = next(i for i in range(self.num_slots) if i not in [run.slot for run in self.running])
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=run_in_process, args=(job, self.address, self.command, cores_of_slot(slot, self.num_slots), sender)
        )
        process.start()
        sender.close()
        self.running.append(RunningJob(job, process, receiver, slot))

    def wait_finished(self) -> Iterator[tuple[Job, str | None]]:
        """Wait until at least one run ends; yield each ended run with None, or with the reason why it failed.

        Raises:
            RuntimeError: if a process died without sending a result.
        """
        ended = wait([run.process.sentinel for run in self.running])
        for run in [run for run in self.running if run.process.sentinel in ended]:
            self.running.remove(run)
            if not run.connection.poll():
                screen = run.job.folder / "logs" / "screen.txt"
                raise RuntimeError(f"{run.job.title} ended with code {run.process.exitcode}; see {screen}")
            yield run.job, run.connection.recv()

    def stop(self) -> None:
        """End all remaining runs as Ctrl-C does: engines are closed, finished episodes are kept."""
        for run in self.running:
            run.process.terminate()
        for run in self.running:
            run.process.join(run.job.recipe.failures.run_stop_timeout_s)
            run.process.kill()
            run.process.join(KILL_TIMEOUT_S)
        self.running = []


@contextmanager
def process_pool(num_slots: int, address: str | None, command: Sequence[str]) -> Iterator[ProcessPool]:
    """Yield a `ProcessPool` and stop its runs when the block ends."""
    pool = ProcessPool(num_slots, address, command)
    try:
        yield pool
    finally:
        pool.stop()


def cores_of_slot(slot: int, num_slots: int) -> frozenset[int]:
    """Every n-th available core, for ``n`` slots; all cores if there are fewer cores than slots."""
    cores = sorted(os.sched_getaffinity(0))
    return frozenset(cores[slot::num_slots] if len(cores) >= num_slots else cores)


def run_in_process(
    job: Job, address: str | None, command: Sequence[str], cores: frozenset[int], connection: Connection
) -> None:
    """Execute one run in a child process. Sends None on success, or the reason why the run failed."""
    signal.signal(signal.SIGTERM, raise_keyboard_interrupt)
    os.sched_setaffinity(0, cores)
    try:
        check_models(job.recipe)
        with open_run(job.folder, job.recipe, command) as directory:
            directory.logs.mkdir(exist_ok=True)
            with (directory.logs / "screen.txt").open("a", encoding="utf-8") as file:
                drive(job.recipe, directory, address=address, phases=job.phases, screen=Screen(file))
        connection.send(None)
    except UserError as error:
        connection.send(str(error))
