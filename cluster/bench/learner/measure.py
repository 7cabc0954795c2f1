"""Measures the contenders in turns: each warms up alone, losses are compared, then each round has one sample of all.

A contender waits in its own process until it is its turn, so that all of them see the same state of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import median

from cluster.bench.learner.gate import Finished, Gate, Record
from cluster.bench.learner.process import Child, OutOfMemory
from cluster.bench.learner.registry import Contender
from cluster.bench.learner.workload import Workload
from rollout.errors import UserError

Notify = Callable[[str], None]
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
"""Largest relative difference of two losses that count as equal."""


def measure_in_turns(
    workload: Workload, contenders: Mapping[str, Contender], folder: Path, notify: Notify
) -> tuple[dict[str, Record], dict[str, str]]:
    """Measure all contenders on a folder that `models.prepare` filled.

    Returns:
        The measurements by contender, and why others have none (out of memory).

    Raises:
        UserError: losses differ.
    """
    records: dict[str, Record] = {}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        children = {}
        for number, (name, contender) in enumerate(contenders.items(), 1):
            notify(f"{workload.name}: {name} warms up ({number} of {len(contenders)})")
            log = folder / f"{name}.log"
            threads = max(workload.threads)
            child = Child(run_contender, contender, workload, folder, log=log, threads=threads, device=workload.device)
            stack.callback(child.close)
            if (record := _next(child, name, failures)) is not None:
                children[name], records[name] = child, record
                losses = ", ".join(f"{loss:.7f}" for loss in record.losses)
                notify(f"  losses {losses}; {record.configuration}")
        check_losses(workload, contenders, records)
        for threads, turn in product(workload.threads, range(1, workload.rounds + 1)):
            for name in [name for name in children if name not in failures]:
                children[name].tell(threads)
                if (record := _next(children[name], name, failures)) is not None:
                    records[name] = record
            times = ", ".join(
                f"{name} {median(record.step_s[threads]):.2f}"
                for name, record in records.items()
                if name not in failures
            )
            notify(f"{workload.name}, threads {threads}, round {turn} of {workload.rounds}; seconds of a step: {times}")
    return {name: record for name, record in records.items() if name not in failures}, failures


def run_contender(send: Callable[[Record], int], contender: Contender, workload: Workload, folder: Path) -> None:
    """Train in this process and wait with ``send`` for each turn."""
    try:
        contender.load()(workload, folder, Gate(workload, send))
    except Finished:
        return


def check_losses(workload: Workload, contenders: Mapping[str, Contender], records: Mapping[str, Record]) -> None:
    """Compare the losses of the warm-up with those of the floor of the same kind.

    Raises:
        UserError: one differs by more than `TOLERANCE`; then the times of different things would be compared.
    """
    for name, record in records.items():
        kind = contenders[name].loss
        reference = records.get(f"{kind}_floor")
        if not kind or reference is None:
            continue
        for step, (loss, expected) in enumerate(zip(record.losses, reference.losses, strict=True), 1):
            if not abs(loss - expected) <= TOLERANCE[workload.precision] * abs(expected):
                raise UserError(
                    f"{name} has the loss {loss:.8f} in step {step} and the floor {expected:.8f}, so their times "
                    "cannot be compared; check the settings of both and the version of TRL."
                )


def _next(child: Child, name: str, failures: dict[str, str]) -> Record | None:
    """The child's measurements so far; None if it ran out of memory."""
    try:
        record: Record = child.receive()
    except OutOfMemory as error:
        failures[name] = f"out of memory: {error}"
        return None
    return record
