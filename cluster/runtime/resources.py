"""What a run asks of a cluster, as pure functions: settings in, Ray options out, one sentence where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.config.collect import Role
from cluster.config.recipe import Recipe, Resources
from cluster.run.plan import Plan
from cluster.run.steps.step import Step
from cluster.run.steps.train import TrainStep
from rollout.errors import UserError

GIB = 1024**3
SMALLEST_SHARE = 0.0001
"""Ray counts resources in ten-thousandths."""
ROLES: tuple[Role, ...] = ("teacher", "student")
RESERVED_NAMES = ("CPU", "GPU", "memory", "object_store_memory")


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """Workers of one kind. ``who`` is the recipe's name for them."""

    who: str
    workers: int
    resources: Resources


@dataclass(frozen=True, slots=True)
class ResourceGroup:
    """Workers that live at the same time."""

    title: str
    requests: tuple[ResourceRequest, ...]

    @property
    def gpus(self) -> float:
        """GPUs of all of them together."""
        return sum(request.workers * request.resources.gpus for request in self.requests)


def ray_options(who: str, resources: Resources) -> dict[str, Any]:
    """Options of ``ray.remote`` for one worker.

    Raises:
        UserError: for a request that Ray refuses or would silently round.
    """
    if resources.gpus > 1 and not resources.gpus.is_integer():
        raise UserError(
            f"{who}.resources.gpus is {resources.gpus}, but a worker takes a share of one GPU or whole GPUs: "
            f"write a share up to 1, or {math.floor(resources.gpus)} or {math.ceil(resources.gpus)}."
        )
    for name, amount in quantities(resources).items():
        if 0 < amount < SMALLEST_SHARE:
            raise UserError(f"{who}.resources asks for {amount} of {name}; Ray's smallest share is {SMALLEST_SHARE}.")
    for name in resources.custom:
        if name in RESERVED_NAMES:
            raise UserError(
                f"{who}.resources.custom names {name}, which has a setting of its own: cpus, gpus, memory_gib."
            )
    options: dict[str, Any] = {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "resources": dict(resources.custom),
    }
    if resources.memory_gib is not None:
        options["memory"] = int(resources.memory_gib * GIB)
    return options


def train_options(who: str, resources: Resources) -> dict[str, float]:
    """``resources_per_worker`` of Ray Train's ScalingConfig for one training process."""
    ray_options(who, resources)
    return quantities(resources)


def quantities(resources: Resources) -> dict[str, float]:
    """Amounts by the names under which a cluster counts them; zeros are left out."""
    amounts = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": (resources.memory_gib or 0.0) * GIB}
    return {name: amount for name, amount in {**amounts, **resources.custom}.items() if amount > 0}


def resource_groups(plan: Plan, recipe: Recipe) -> list[ResourceGroup]:
    """Which workers live at the same time: in each stage of the plan, those that it needs and those needed again.

    A group that is part of an earlier one is left out.
    """
    stages = plan.stages
    groups: list[ResourceGroup] = []
    for number, stage in enumerate(stages):
        begun = {step.role for past in stages[:number] for step in past}
        needed_later = {step.role for later in stages[number + 1 :] for step in later}
        roles = {step.role for step in stage} | (begun & needed_later)
        requests = [_request(recipe, role) for role in ROLES if role in roles]
        if any(isinstance(step, TrainStep) for step in stage) and recipe.learner is not None:
            requests.append(ResourceRequest("learner", recipe.learner.workers, recipe.learner.resources))
        if recipe.retrieval is not None:
            retrieval = recipe.retrieval
            requests.append(ResourceRequest("retrieval", retrieval.replicas, retrieval.resources))
        group = ResourceGroup(_title(stage), tuple(requests))
        if not any(all(request in other.requests for request in requests) for other in groups):
            groups.append(group)
    return groups


def _request(recipe: Recipe, role: Role) -> ResourceRequest:
    config = recipe.teacher if role == "teacher" else recipe.student
    assert config is not None, "a step of the student is planned only where there is one"
    return ResourceRequest(role, config.workers, config.resources)


def _title(stage: Sequence[Step]) -> str:
    phases = {step.phase for step in stage}
    names = {"rollout": "collect", "train": "train", "evaluate": "evaluate"}
    return " and ".join(name for phase, name in names.items() if phase in phases)


def check_fits(wanted: Sequence[ResourceRequest], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse at once what would otherwise wait for ever.

    Args:
        wanted: who must live at the same time.
        nodes: total resources of each node of the cluster, by Ray's names.

    Raises:
        UserError: if one worker fits no node, or all together need more than the cluster has.
    """
    for request in wanted:
        need = quantities(request.resources)
        if not any(all(node.get(name, 0.0) >= amount for name, amount in need.items()) for node in nodes):
            raise UserError(
                f"A {request.who} worker needs {describe(need)}, and no node of the cluster has that much: "
                f"lower {request.who}.resources or use a larger node (the largest has {describe(largest(nodes))})."
            )
    total = sum_up([quantities(request.resources) for request in wanted for _ in range(request.workers)])
    has = sum_up(nodes)
    for name, amount in total.items():
        if amount > has.get(name, 0.0) + SMALLEST_SHARE:
            parts = ", ".join(
                f"{d.who} {d.workers} × {describe({name: quantities(d.resources)[name]})}"
                for d in wanted
                if name in quantities(d.resources)
            )
            raise UserError(
                f"The recipe needs {describe({name: amount})} at the same time ({parts}), but the cluster has "
                f"{describe({name: has.get(name, 0.0)})}: lower workers or resources, or use a larger cluster."
            )


def local_cpus(groups: Sequence[ResourceGroup], cores: int) -> int:
    """CPUs that a new cluster on this machine should count: its cores, or up to twice as many if the recipe asks so.

    To Ray a CPU is a number, not a limit, and idle engines leave theirs to the learner; what asks for still more is
    left to `check_fits` to refuse.
    """
    asked = max((math.ceil(sum(r.workers * r.resources.cpus for r in group.requests)) for group in groups), default=0)
    return max(cores, min(asked, 2 * cores))


def threads(resources: Resources, workers: int, cores: int | None) -> int:
    """Torch threads of one training process.

    On a machine of our own (``cores`` given) the processes share all cores, since the engines are idle meanwhile; on a
    shared cluster each keeps to the CPUs that it asked for.
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
    """The most that any node has, of CPUs and GPUs."""
    return {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU")}


def describe(amounts: Mapping[str, float]) -> str:
    """Amounts in words: ``2 CPU, 0.5 GPU, 3 GiB memory``."""
    return ", ".join(
        f"{amount / GIB:g} GiB memory" if name == "memory" else f"{amount:g} {name}" for name, amount in amounts.items()
    )
