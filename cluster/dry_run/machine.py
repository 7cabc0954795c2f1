"""Checks that a recipe's workers fit the machine on which the command runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.dry_run.findings import Finding, MemoryUse
from cluster.run.provenance import cpu_cores, gpus, memory_gib
from cluster.runtime.address import IN_PROCESS
from cluster.runtime.resources import (
    GIB,
    ResourceGroup,
    ResourceRequest,
    check_fits,
    local_cpus,
)
from rollout.errors import UserError

USE_OF_SECTION = {"learner": "learner rank"}
"""Names of the workers whose memory is estimated, where they differ from the section."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine offers. ``address`` is that of the command."""

    cores: int
    gpus: int
    memory_gib: float
    address: str | None = None

    @property
    def is_used(self) -> bool:
        """Whether the run takes place on this machine."""
        return self.address in (None, IN_PROCESS)


def this_machine(address: str | None) -> Machine:
    """The machine on which this process runs."""
    return Machine(cpu_cores(), len(gpus()), memory_gib(), address)


def machine_findings(
    machine: Machine, groups: Sequence[ResourceGroup], uses: Sequence[MemoryUse], *, starts: bool
) -> Iterator[Finding]:
    """Workers and memory that this machine does not have.

    Args:
        uses: estimated memory of one worker of each section.
        starts: whether the run is about to start. A dry run of a recipe for other machines only notes what is missing
            here: a recipe that wants more GPUs or custom resources than this machine has.
    """
    if not machine.is_used:
        return
    for group in sorted(groups, key=lambda group: -group.gpus):
        if lacking := list(_lacking(machine, group.requests)):
            must = starts or machine.address == IN_PROCESS
            yield Finding(f"{lacking[0]}; take fewer, or join a cluster with --address", fatal=must)
            return
    yield from _core_findings(machine, groups)
    yield from _memory_findings(machine, groups, uses)


def _lacking(machine: Machine, requests: Sequence[ResourceRequest]) -> Iterator[str]:
    """GPUs and custom resources that are wanted at the same time and that this machine lacks."""
    wanted = sum(request.workers * request.resources.gpus for request in requests)
    if wanted > machine.gpus:
        names = ", ".join(f"{request.section}.resources.gpus" for request in requests if request.resources.gpus)
        yield f"the recipe wants {wanted:g} GPU at the same time ({names}), but this machine has {machine.gpus}"
    for request in requests:
        for name in request.resources.custom:
            yield f"{request.section}.resources.custom asks for {name}, which this machine does not have"


def _core_findings(machine: Machine, groups: Sequence[ResourceGroup]) -> Iterator[Finding]:
    node = {
        "CPU": float(local_cpus(groups, machine.cores)),
        "GPU": float(machine.gpus),
        "memory": machine.memory_gib * GIB,
    }
    for group in groups:
        try:
            check_fits(group.requests, [node])
        except UserError as error:
            text = str(error).rstrip(".").replace("no node of the cluster has", "this machine does not have")
            text = text.replace("the cluster has", "this machine has").replace("a larger cluster", "a cluster")
            yield Finding(f"{text} (--address); each of the {machine.cores} cores counts at most twice", fatal=True)
            return


def _memory_findings(machine: Machine, groups: Sequence[ResourceGroup], uses: Sequence[MemoryUse]) -> Iterator[Finding]:
    """Estimated main memory that exceeds that of this machine; one worker that does so by its weights is fatal."""
    on_cpu = {use.name: use for use in uses if use.device == "CPU"}
    available = machine.memory_gib * GIB
    for use in on_cpu.values():
        if use.parts and use.parts[0][1] > available:
            yield Finding(
                f"{use.name}: the weights of {use.shape.name} need {use.parts[0][1] / GIB:.1f} GiB, but this machine "
                f"has {machine.memory_gib:g}; take a smaller model, or a cluster (--address)",
                fatal=True,
            )
            return
    for group in groups:
        names = [(request.workers, USE_OF_SECTION.get(request.section, request.section)) for request in group.requests]
        total = sum(workers * on_cpu[name].total for workers, name in names if name in on_cpu)
        if total > available:
            yield Finding(
                f"{group.title} may need {total / GIB:.1f} GiB of main memory at the same time, but this machine has "
                f"{machine.memory_gib:g}; take fewer workers"
            )
            return
