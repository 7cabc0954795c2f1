"""Runs of a study side by side: each in a process of its own, with its share of this machine's cores.

What a run shows goes to ``logs/screen.txt`` in its folder.
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
from cluster.runtime.shutdown import stop_as_ctrl_c
from cluster.study.runs import Job
from rollout.errors import UserError


@dataclass(frozen=True, slots=True)
class Running:
    """A run that has been started. ``place`` says which share of the cores it has."""

    job: Job
    process: BaseProcess
    answer: Connection
    place: int


class Processes:
    """As many runs at once as there are places.

    Args:
        places: runs at once.
        address: as of `cluster.driver.run`.
        command: what the user typed, to be written down.
    """

    def __init__(self, places: int, address: str | None, command: Sequence[str]) -> None:
        self.places = places
        self.address = address
        self.command = tuple(command)
        self.running: list[Running] = []

    @property
    def are_full(self) -> bool:
        return len(self.running) == self.places

    def start(self, job: Job) -> None:
        """Start a run in a free place."""
        place = next(i for i in range(self.places) if i not in [run.place for run in self.running])
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=work, args=(job, self.address, self.command, share_of_cores(place, self.places), theirs)
        )
        process.start()
        theirs.close()
        self.running.append(Running(job, process, mine, place))

    def settle(self) -> Iterator[tuple[Job, str | None]]:
        """Wait until a run ends; gives each that has, with a sentence if it cannot be done.

        Raises:
            RuntimeError: a run died without a word.
        """
        ended = wait([run.process.sentinel for run in self.running])
        for run in [run for run in self.running if run.process.sentinel in ended]:
            self.running.remove(run)
            if not run.answer.poll():
                screen = run.job.folder / "logs" / "screen.txt"
                raise RuntimeError(f"{run.job.title} ended with code {run.process.exitcode}; see {screen}")
            yield run.job, run.answer.recv()

    def stop(self) -> None:
        """End what still runs, as Ctrl-C does: engines are closed, what is finished is kept."""
        for run in self.running:
            run.process.terminate()
        for run in self.running:
            run.process.join(run.job.recipe.failures.run_stop_timeout_s)
            run.process.kill()
        self.running = []


@contextmanager
def processes(places: int, address: str | None, command: Sequence[str]) -> Iterator[Processes]:
    """`Processes` that are stopped however the block ends."""
    running = Processes(places, address, command)
    try:
        yield running
    finally:
        running.stop()


def share_of_cores(place: int, places: int) -> frozenset[int]:
    """Every so-manieth core that this process may use; all of them where there are fewer than places."""
    cores = sorted(os.sched_getaffinity(0))
    return frozenset(cores[place::places] if len(cores) >= places else cores)


def work(job: Job, address: str | None, command: Sequence[str], cores: frozenset[int], answer: Connection) -> None:
    """Do one run; the body of its process. Sends None when it is done, or why it cannot be done."""
    signal.signal(signal.SIGTERM, stop_as_ctrl_c)
    os.sched_setaffinity(0, cores)
    try:
        check_models(job.recipe)
        with open_run(job.folder, job.recipe, command) as directory:
            directory.logs.mkdir(exist_ok=True)
            with (directory.logs / "screen.txt").open("a", encoding="utf-8") as file:
                drive(job.recipe, directory, address=address, phases=job.phases, screen=Screen(file))
    except UserError as error:
        answer.send(str(error))
    else:
        answer.send(None)
