"""Implementation of ``run``, ``rollout``, ``train``, ``evaluate`` and ``run --dry-run``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import typer

from cluster.config.load import load_recipe
from cluster.config.recipe import Recipe
from cluster.run.claim import run_folder, try_to_make
from cluster.run.directory import RunDirectory, check_same_recipe, default_run_directory, not_writable, open_run
from cluster.run.failed_episodes import IncompleteError
from cluster.run.phases import PHASES
from cluster.run.progress import Screen
from cluster.run.weights import check_models
from cluster.runtime.address import IN_PROCESS, check_address, require_cluster


def run_recipe(command: str, name: str, overrides: Sequence[str], run_dir: str | None, address: str | None) -> None:
    """Run all phases or one. Prints the run directory last, and how to resume if the run was interrupted.

    Raises:
        UserError: something is wrong; no folder is made then.
    """
    phases = PHASES if command == "run" else frozenset({command})
    folder: Path | None = None
    try:
        recipe = load_recipe(name, overrides)
        folder = chosen_folder(name, run_dir, recipe)
        check_before(recipe, phases, folder, address)
        with open_run(folder, recipe, command=["stillhouse", *sys.argv[1:]]) as directory:
            from cluster.driver import run as drive

            with Screen().display() as screen:
                drive(recipe, directory, address=address, phases=phases, screen=screen)
    except KeyboardInterrupt:
        if folder is None or not RunDirectory(folder).recipe_file.is_file():
            typer.echo("\nstopped before the run began; nothing was written. Repeat the command to start it.", err=True)
        else:
            resume = resume_command(command, folder, address)
            typer.echo(f"\nstopped; finished episodes are kept. Resume with:\n  {resume}", err=True)
            typer.echo(folder)
        raise
    except IncompleteError as error:
        assert folder is not None
        typer.echo(folder)
        raise IncompleteError(f"{error} Resume with:\n  {resume_command(command, folder, address)}") from error
    typer.echo(folder)


def resume_command(command: str, folder: Path, address: str | None) -> str:
    """The command that goes on with a run."""
    return shlex.join(["stillhouse", command, str(folder), *(["--address", address] if address else [])])


def chosen_folder(name: str, run_dir: str | None, recipe: Recipe) -> Path:
    """The folder that the user names, that is resumed, or a new one."""
    resumed = name if (Path(name).expanduser() / "recipe.yaml").is_file() else None
    return run_folder(run_dir if run_dir is not None else resumed or default_run_directory(recipe))


def check_before(recipe: Recipe, phases: Collection[str], folder: Path, address: str | None) -> None:
    """Print what the preflight notes. Raises `UserError` if the run could not succeed."""
    from cluster.dry_run.preflight import notes, preflight, require_no_problem
    from cluster.dry_run.render import print_findings

    check_address(address)
    with not_writable(folder):
        try_to_make(folder)
    check_same_recipe(RunDirectory(folder), recipe)
    if address is not None and address != IN_PROCESS:
        require_cluster(address)
    plan = preflight(recipe, phases, address=address, folder=folder)
    print_findings(notes(plan), Screen().console)
    require_no_problem(plan)
    check_models(recipe, phases, download=True)


def print_plan(name: str, overrides: Sequence[str], gpu_memory_gib: float | None, address: str | None) -> None:
    """Print what a recipe does and needs; exits with 1 if it cannot run."""
    from cluster.dry_run.dry_run import DEFAULT_GPU_GIB
    from cluster.dry_run.preflight import preflight
    from cluster.dry_run.render import print_dry_run

    planned = preflight(load_recipe(name, overrides), address=address, gpu_gib=gpu_memory_gib or DEFAULT_GPU_GIB)
    print_dry_run(planned, Screen().console)
    if not planned.can_run:
        raise typer.Exit(1)
