"""Resource requests of a run as pure functions: convert settings to Ray options and check that they fit a cluster."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.config.collect import Role
from cluster.config.recipe import Recipe, Resources
from cluster.run.plan import Plan
from cluster.run.steps.step import Step
from cluster.run.steps.train import TrainStep
from rollout.errors import UserError

GIB = 1024**3
MIN_AMOUNT = 0.0001
"""Ray's resolution of resource amounts."""
ROLES: tuple[Role, ...] = ("teacher", "student")
BUILT_IN_RESOURCES = ("CPU", "GPU", "memory", "object_store_memory")


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """Resources of a group of equal workers. ``section`` is the section of the recipe that configures them."""

    section: str
    workers: int
    resources: Resources


@dataclass(frozen=True, slots=True)
class ResourceGroup:
    """Workers that are alive at the same time."""

    title: str
    requests: tuple[ResourceRequest, ...]

    @property
    def gpus(self) -> float:
        """Total GPUs of the group."""
        return sum(request.workers * request.resources.gpus for request in self.requests)


def ray_options(section: str, resources: Resources) -> dict[str, Any]:
    """Options of ``ray.remote`` for one worker.

    Raises:
        UserError: if Ray would refuse the request or silently round it.
    """
    if resources.gpus > 1 and not resources.gpus.is_integer():
        raise UserError(
            f"{section}.resources.gpus is {resources.gpus}, but a worker uses a share of one GPU or whole GPUs: "
            f"set a share up to 1, or {math.floor(resources.gpus)} or {math.ceil(resources.gpus)}."
        )
    for name, amount in quantities(resources).items():
        if 0 < amount < MIN_AMOUNT:
            raise UserError(f"{section}.resources requests {amount} {name}; Ray's smallest amount is {MIN_AMOUNT}.")
    for name in resources.custom:
        if name in BUILT_IN_RESOURCES:
            raise UserError(
                f"{section}.resources.custom names {name}, which has its own setting: use cpus, gpus or memory_gib."
            )
    options: dict[str, Any] = {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "resources": dict(resources.custom),
    }
    if resources.memory_gib is not None:
        options["memory"] = int(resources.memory_gib * GIB)
    return options


def train_options(section: str, resources: Resources) -> dict[str, float]:
    """``resources_per_worker`` of Ray Train's ScalingConfig for one training process."""
    ray_options(section, resources)
    return quantities(resources)


def quantities(resources: Resources) -> dict[str, float]:
    """Amounts by Ray's resource names, without zeros."""
    amounts = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": (resources.memory_gib or 0.0) * GIB}
    return {name: amount for name, amount in {**amounts, **resources.custom}.items() if amount > 0}


def resource_groups(plan: Plan, recipe: Recipe, phases: Collection[str] | None = None) -> list[ResourceGroup]:
    """Groups of workers that are alive at the same time, in these phases (all if None).

    In each stage of the plan, these are the workers that the stage needs and earlier ones that a later stage needs.
    Groups whose requests are all part of an earlier group are left out.
    """
    stages = [[step for step in stage if phases is None or step.phase in phases] for stage in plan.stages]
    stages = [stage for stage in stages if stage]
    groups: list[ResourceGroup] = []
    for number, stage in enumerate(stages):
        started = {step.role for past in stages[:number] for step in past}
        needed_later = {step.role for later in stages[number + 1 :] for step in later}
        roles = {step.role for step in stage} | (started & needed_later)
        requests = [_request(recipe, role) for role in ROLES if role in roles]
        if any(isinstance(step, TrainStep) for step in stage) and recipe.learner is not None:
            learner = recipe.learner
            requests.append(ResourceRequest("learner", learner.min_workers or learner.workers, learner.resources))
        if recipe.retrieval is not None:
            retrieval = recipe.retrieval
            requests.append(ResourceRequest("retrieval", retrieval.replicas, retrieval.resources))
        group = ResourceGroup(_title(stage), tuple(requests))
        if not any(all(request in other.requests for request in requests) for other in groups):
            groups.append(group)
    return groups


def _request(recipe: Recipe, role: Role) -> ResourceRequest:
    config = recipe.teacher if role == "teacher" else recipe.student
    assert config is not None, "steps of the student are only planned for recipes with a student"
    return ResourceRequest(role, config.workers, config.resources)


def _title(stage: Sequence[Step]) -> str:
    phases = {step.phase for step in stage}
    names = {"rollout": "collect", "train": "train", "evaluate": "evaluate"}
    return " and ".join(name for phase, name in names.items() if phase in phases)


def check_fits(requests: Sequence[ResourceRequest], nodes: Sequence[Mapping[str, float]]) -> None:
    """Check that requests can be scheduled; Ray would wait forever for those that cannot.

    Args:
        requests: workers that are alive at the same time.
        nodes: total resources of each node of the cluster, by Ray's names.

    Raises:
        UserError: if a worker fits no node, or all workers together need more than the cluster has.
    """
    for request in requests:
        need = quantities(request.resources)
        if not any(all(node.get(name, 0.0) >= amount for name, amount in need.items()) for node in nodes):
            raise UserError(
                f"A {request.section} worker needs {describe(need)}, and no node of the cluster has that much: "
                f"lower {request.section}.resources or use a larger node (the largest has {describe(largest(nodes))})."
            )
    total = sum_up([quantities(request.resources) for request in requests for _ in range(request.workers)])
    has = sum_up(nodes)
    for name, amount in total.items():
        if amount > has.get(name, 0.0) + MIN_AMOUNT:
            parts = ", ".join(
                f"{request.section} {request.workers} × {describe({name: quantities(request.resources)[name]})}"
                for request in requests
                if name in quantities(request.resources)
            )
            raise UserError(
                f"The recipe needs {describe({name: amount})} at the same time ({parts}), but the cluster has "
                f"{describe({name: has.get(name, 0.0)})}: lower workers or resources, or use a larger cluster."
            )


def local_cpus(groups: Sequence[ResourceGroup], cores: int) -> int:
    """Number of CPUs to declare for a new cluster on this machine: its cores, or up to twice as many on request.

    Ray does not enforce CPU limits, and idle engines leave their cores to the learner. `check_fits` refuses recipes
    that request still more.
    """
    requested = max(
        (math.ceil(sum(r.workers * r.resources.cpus for r in group.requests)) for group in groups), default=0
    )
    return max(cores, min(requested, 2 * cores))


def num_torch_threads(resources: Resources, workers: int, cores: int | None) -> int:
    """Number of torch threads of one training process.

    On a machine that the run started itself (``cores`` given), the training processes share all cores because the
    engines are idle during training. On a shared cluster each process uses the CPUs that it requested.
    """
    own_share = max(1, round(resources.cpus))
    return own_share if cores is None else max(1, cores // workers)


def sum_up(amounts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum of amounts, name by name."""
    total: dict[str, float] = {}
    for part in amounts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def largest(nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The largest number of CPUs and of GPUs on any node."""
    return {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU")}


def describe(amounts: Mapping[str, float]) -> str:
    """Format amounts as text: ``2 CPU, 0.5 GPU, 3 GiB memory``."""
    return ", ".join(
        f"{amount / GIB:g} GiB memory" if name == "memory" else f"{amount:g} {name}" for name, amount in amounts.items()
    )
