"""The command line. Each command reads its settings, opens the run directory and calls one function.

Large packages (Ray, torch, engines) are imported only by the commands that need them, so ``--help`` is fast.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.terminal import lenient_output, system_sentence
from cluster.runtime.shutdown import stopped_by_signals
from rollout.errors import UserError

app = typer.Typer(
    name="stillhouse",
    help="Distill a large LLM agent into a small one on a Ray cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe, a YAML file, or a run directory to resume.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, such as learner.epochs=3.")
]
RunDir = Annotated[
    str | None, typer.Option("--run-dir", metavar="DIR", help="Folder of the run; an existing run is resumed.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDR",
        help="Ray cluster (auto or HOST:PORT), or local for no Ray (default: a new cluster).",
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the plan: steps, workers, memory, and what does not fit.")
    ] = False,
    gpu_memory_gib: Annotated[
        float | None,
        typer.Option(
            "--gpu-memory-gib", min=1.0, metavar="GIB", help="With --dry-run: memory of each GPU (default: 80)."
        ),
    ] = None,
) -> None:
    """Run a recipe: collect episodes, train the student, evaluate, report. Repeat the command to resume."""
    if dry_run:
        from cluster.commands.run import print_plan

        print_plan(recipe, overrides or [], gpu_memory_gib, address)
    elif gpu_memory_gib is not None:
        raise UserError("--gpu-memory-gib only affects the plan; add --dry-run.")
    else:
        run_phases("run", recipe, overrides or [], run_dir, address)


@app.command()
def rollout(recipe: RecipeName, overrides: Overrides = None, run_dir: RunDir = None, address: Address = None) -> None:
    """Only collect the episodes of a recipe."""
    run_phases("rollout", recipe, overrides or [], run_dir, address)


@app.command()
def train(recipe: RecipeName, overrides: Overrides = None, run_dir: RunDir = None, address: Address = None) -> None:
    """Only train, on the episodes in the run directory."""
    run_phases("train", recipe, overrides or [], run_dir, address)


@app.command()
def evaluate(recipe: RecipeName, overrides: Overrides = None, run_dir: RunDir = None, address: Address = None) -> None:
    """Only evaluate the recipe's agents; the student uses the newest checkpoint in the run directory."""
    run_phases("evaluate", recipe, overrides or [], run_dir, address)


@app.command()
def submit(
    recipe: RecipeName,
    address: Annotated[str, typer.Option("--address", metavar="URL", help="The dashboard, http://HEAD:8265.")],
    overrides: Overrides = None,
    run_dir: Annotated[
        str | None, typer.Option("--run-dir", metavar="DIR", help="Folder of the run on the cluster.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option("--wheel", metavar="FILE", help="Upload this wheel instead of the source packages.")
    ] = None,
) -> None:
    """Run a recipe as a job of a Ray cluster and follow its log."""
    from cluster.config.load import load_recipe
    from cluster.config.paths import refuse_relative_paths
    from cluster.runtime import ray_jobs as jobs

    loaded = load_recipe(recipe, overrides or [])
    submission = jobs.Submission(loaded, run_dir or jobs.remote_run_directory(loaded), wheel)
    refuse_relative_paths(loaded, submission.run_dir)
    raise typer.Exit(jobs.submit(submission, address, jobs.to_stdout))


@app.command()
def status(run_dir: RunPath, as_json: Json = False) -> None:
    """Print the progress of a run, also while it is running."""
    from cluster.run.directory import open_read_only
    from cluster.run.status import describe, run_status

    found = run_status(open_read_only(run_dir))
    typer.echo(json.dumps(found, indent=2) if as_json else describe(found))


@app.command()
def report(run_dir: RunPath) -> None:
    """Rebuild report.json, report.md and report.html from a run's stored records."""
    from cluster.run.directory import open_read_only
    from cluster.run.write_report import write_run_report

    run = open_read_only(run_dir)
    write_run_report(run)
    typer.echo((run.path / "report.md").read_text(encoding="utf-8"))
    typer.echo(run.path / "report.html")


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="recipes, studies, environments, tools, engines or divergences")
    ],
) -> None:
    """List available recipes, studies, environments, tools, engines or divergences."""
    from cluster.commands.listing import lines

    for line in lines(what):
        typer.echo(line)


@app.command()
def doctor(
    imports: Annotated[bool, typer.Option("--imports", help="Also import ray and vllm (slow).")] = False,
) -> None:
    """Check what works on this machine, what is missing and how to fix it."""
    from cluster.commands.doctor import main_path_works, print_checks, run_checks

    checks = run_checks(imports)
    print_checks(checks, typer.echo)
    if not main_path_works(checks):
        typer.echo("the main path does not work on this machine; fix what is marked broken", err=True)
        raise typer.Exit(1)


@app.command("check-environment")
def check_environment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An environment, or the entry point of your own.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Its settings, such as source=official.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of random episodes.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of tasks and random actions.")] = 0,
) -> None:
    """Run seeded random episodes in an environment and list every violated requirement of the interface."""
    from cluster.commands.check_environment import check

    lines, good = check(name, overrides or [], episodes, seed)
    for line in lines:
        typer.echo(line)
    if not good:
        raise typer.Exit(1)


@app.command()
def study(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="A shipped study, a YAML file, or the folder of a study to resume.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="seeds=5, episodes=200, only_arms=[a, b], or all.KEY=VALUE for every recipe."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder of the study (default: runs/study-NAME).")
    ] = None,
    address: Address = None,
    max_parallel: Annotated[
        int, typer.Option("--at-once", min=1, help="Number of parallel runs, each with its share of the cores.")
    ] = 1,
) -> None:
    """Run a paper's methods with several seeds and compare them with the paper. Repeat the command to resume."""
    start_study(name, overrides or [], out, address, max_parallel)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="environments, tools, worlds or learner")],
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="File for the result.")] = None,
    data_dir: Annotated[
        str | None,
        typer.Option("--data-dir", metavar="DIR", help="Official data: ALFWorld's json_2.1.1, for tools WebShop's."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="environments: seconds for each engine.")] = 5.0,
    products: Annotated[int, typer.Option(min=100, max=5_000_000, help="tools: size of the large shop.")] = 1_000_000,
    episodes: Annotated[int, typer.Option(min=1, help="worlds: episodes of each environment.")] = 1000,
    device: Annotated[str, typer.Option(help="learner: cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="learner: tiny models, to check that it works.")] = False,
) -> None:
    """Run a benchmark and print its figures."""
    from cluster.bench.registry import BenchOptions, measure, summary

    options = BenchOptions(data_dir, seconds, products, episodes, device, quick)
    result = measure(name, options, command=["stillhouse", *sys.argv[1:]])
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    typer.echo(summary(result))


def run_phases(command: str, name: str, overrides: Sequence[str], run_dir: str | None, address: str | None) -> None:
    """Run all phases or one."""
    from cluster.commands.run import run_recipe

    run_recipe(command, name, overrides, run_dir, address)


def start_study(name: str, overrides: Sequence[str], out: str | None, address: str | None, max_parallel: int) -> None:
    """Run a study. Prints its verdict, failed runs and the path of the table; exits with 1 if a run failed."""
    from cluster.runtime.address import check_address
    from cluster.study.config import STUDY_FILE, load_study
    from cluster.study.markdown import verdict
    from cluster.study.study import default_study_directory, run_study

    check_address(address)
    loaded = load_study(name, overrides)
    resumed = name if (Path(name).expanduser() / STUDY_FILE).is_file() else None
    folder = Path(out or resumed or default_study_directory(loaded)).expanduser().absolute()
    try:
        command = ["stillhouse", *sys.argv[1:]]
        found = run_study(loaded, folder, address=address, max_parallel=max_parallel, command=command)
    except KeyboardInterrupt:
        options = [
            *(["--address", address] if address else []),
            *(["--at-once", str(max_parallel)] if max_parallel > 1 else []),
        ]
        resume_command = ["stillhouse", "study", str(folder), *options]
        typer.echo(f"\nstopped; finished episodes are kept. Resume with:\n  {shlex.join(resume_command)}", err=True)
        raise
    typer.echo("\n".join(verdict(found)))
    for failure in found["failed"]:
        typer.echo(f"{failure['arm']}, seed {failure['seed']} failed: {failure['why']}", err=True)
    typer.echo(folder / "study.md")
    if found["failed"]:
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """The ``stillhouse`` command.

    Always raises `SystemExit`: 0, 1 (failed or incomplete), 2 (bad input), 130 (interrupted).
    """
    try:
        with stopped_by_signals(), lenient_output():
            app(arguments)
    except UserError as error:
        sentence, code = str(error), error.exit_code
    except OSError as error:
        if (found := system_sentence(error)) is None:
            raise
        sentence, code = found, 2
    print(f"stillhouse: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
