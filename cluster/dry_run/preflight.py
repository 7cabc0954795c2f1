"""All checks before a run: the dry run, and what needs other processes, endpoints or stores. Takes less than 20 s."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from cluster.config.recipe import Recipe
from cluster.dry_run.dry_run import DEFAULT_GPU_GIB, DryRun, dry_run
from cluster.dry_run.endpoints import endpoint_findings
from cluster.dry_run.findings import Finding
from cluster.dry_run.machine import this_machine
from cluster.dry_run.student import student_check
from cluster.dry_run.tasks import exists
from cluster.run.directory import RunDirectory
from cluster.run.phases import PHASES, used_sections
from cluster.run.plan import make_plan
from cluster.run.tasks import TaskLists
from cluster.run.training_data import check_other_stores
from cluster.runtime.address import check_address
from cluster.runtime.sockets import socket_changes
from rollout.errors import UserError


def preflight(
    recipe: Recipe,
    phases: Collection[str] = PHASES,
    *,
    address: str | None = None,
    gpu_gib: float = DEFAULT_GPU_GIB,
    folder: Path | None = None,
) -> DryRun:
    """Check everything that can be checked before the phases of a recipe are executed.

    Args:
        address: as in `cluster.driver.run`; the workers are compared with this machine if they are to run here.
        folder: where the run is about to start; None for a dry run. What its episodes and checkpoints have made
            unnecessary is not checked again.

    Raises:
        UserError: the address has a wrong form.
    """
    check_address(address)
    starts = folder is not None
    sections = used_sections(recipe, phases)
    if folder is not None and RunDirectory(folder).checkpoint(0).is_dir():
        sections -= {"learner"}
    with student_check(recipe if "learner" in sections else recipe.model_copy(update={"learner": None})) as findings:
        plan = dry_run(recipe, gpu_gib, phases, this_machine(address), starts=starts)
        added = [*_socket_findings(), *store_findings(recipe, sections)]
        if unreachable := list(endpoint_findings(recipe, sections)):
            needed = acting_roles(recipe, phases, folder) if folder else sections
            added += [finding for finding in unreachable if finding.text.partition(":")[0] in needed]
        added += findings()
    return replace(plan, findings=tuple(dict.fromkeys([*plan.findings, *added])))


def acting_roles(recipe: Recipe, phases: Collection[str], folder: Path) -> set[str]:
    """Roles whose episodes are not all stored in a run's folder yet. Its stores are only read."""
    run = RunDirectory(folder)
    plan = make_plan(recipe, run, TaskLists(recipe, phases=phases))
    return {step.acts_as for step in plan.episode_steps() if step.phase in phases and step.num_missing(run)}


def require_no_problem(plan: DryRun) -> None:
    """Raise `UserError` with all problems of a run that is about to start, missing data among them.

    A memory estimate is no reason to refuse one.
    """
    problems = [finding.sentence for finding in plan.findings if finding.fatal and not finding.is_estimate]
    problems += dict.fromkeys(entry.missing for entry in plan.data if entry.missing)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise UserError(
            problems[0] if len(problems) == 1 else f"the run would fail for {len(problems)} reasons:{listed}"
        )


def notes(plan: DryRun) -> list[Finding]:
    """What is worth to be known although the run can start."""
    return [replace(finding, fatal=False) for finding in plan.findings if finding.is_estimate or not finding.fatal]


def _socket_findings() -> Iterator[Finding]:
    """Notes on temporary folders whose names are too long for sockets."""
    try:
        changes = socket_changes()
    except UserError as error:
        yield Finding(str(error).rstrip("."), fatal=True)
        return
    if changes:
        names = " and ".join(f"{name}={value}" for name, value in changes.items())
        yield Finding(f"TMPDIR is too long for the paths of sockets, so the run sets {names}")


def store_findings(recipe: Recipe, sections: Collection[str]) -> Iterator[Finding]:
    """Stores of other runs that hold nothing to train on. They are only read; remote ones are not checked."""
    learner = recipe.learner if "learner" in sections else None
    if learner is None:
        return
    for name in recipe.collect.also:
        if "://" in name or not exists(name):
            continue
        try:
            check_other_stores([name], learner, recipe.collect.keep)
        except UserError as error:
            yield Finding(str(error).rstrip("."), fatal=True)
