"""Run a recipe as a job of a Ray cluster: ship the packages, start ``stillhouse run`` on the head, follow its log.

staged folder (the packages, pyproject.toml, recipe.yaml) ──upload──▶ cluster ──▶ python -m cluster.cli run recipe.yaml
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.recipe import Recipe
from cluster.run.directory import recipe_yaml
from rollout.errors import UserError
from rollout.messages import first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGES = ("rollout", "learner", "evaluation", "cluster")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "tests")
MAX_UPLOAD_MIB = 200
"""Ray itself refuses 500; the shipped models are a few."""
REMOTE_RUNS = "~/stillhouse-runs"
"""Default place of runs on the head node: a job's working directory is deleted after it."""
STATUS_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Submission:
    """What to start.

    Attributes:
        run_dir: on the cluster; must be reachable by every node that runs workers.
        wheel: ship this wheel in place of the source packages.
    """

    recipe: Recipe
    run_dir: str
    wheel: Path | None = None

    @property
    def entrypoint(self) -> str:
        """The command that the head node runs."""
        command = ["run", "recipe.yaml", "--address", "auto", "--run-dir", self.run_dir]
        return "python -m cluster.cli " + shlex.join(command)


def remote_run_directory(recipe: Recipe) -> str:
    """Where a run goes on the cluster if the user names no place."""
    return f"{REMOTE_RUNS}/{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def submit(submission: Submission, address: str, write: Callable[[str], object]) -> int:
    """Send the job, follow its log, and return its exit code.

    Args:
        address: of the cluster's dashboard, ``http://HEAD:8265``.
        write: takes the log as it comes.

    Raises:
        UserError: the address cannot be reached, or what would be sent is too large.
        KeyboardInterrupt: the user stopped following; the job goes on.
    """
    client = connect(address)
    with tempfile.TemporaryDirectory(prefix="stillhouse-job-") as folder:
        environment = runtime_env(submission, Path(folder))
        job = accepted(
            lambda: client.submit_job(entrypoint=submission.entrypoint, runtime_env=environment),
            address,
            wait_s=submission.recipe.failures.submit_timeout_s,
        )
    write(f"job {job} runs on {address}, in {submission.run_dir}\n")
    try:
        asyncio.run(resolve(client, job, write))
    except KeyboardInterrupt:
        write(f"\nnot following any more; the job goes on. Stop it with:\n  ray job stop {job} --address {address}\n")
        raise
    return exit_code(client, job, write)


def accepted(send: Callable[[], str], address: str, *, wait_s: float, pause_s: float = 1.0) -> str:
    """What ``send`` returns, once the cluster takes jobs: a head that has just come up does not yet.

    Raises:
        UserError: it takes none for ``wait_s``.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return send()
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() > deadline_s:
                raise UserError(
                    f"the cluster at {address} takes no jobs ({first_line(error)}); see its state with `ray status`, "
                    "and try again."
                ) from error
        time.sleep(pause_s)


def connect(address: str) -> JobSubmissionClient:
    """A client of the cluster at ``address``; `UserError` if there is none."""
    if not address.startswith(("http://", "https://")):
        raise UserError(f"--address {address} is no dashboard address; give one such as http://HEAD:8265.")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    # Ray would take these before the address that the user typed.
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(variable, None)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise UserError(
            f"the cluster at {address} asks for an authentication token; set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) to the cluster's token."
        ) from error
    except (ConnectionError, RuntimeError, OSError) as error:
        raise UserError(
            f"no Ray dashboard answers at {address} ({first_line(error)}); start one with `ray start --head` there, "
            "and check host, port (8265 by default) and firewall."
        ) from error


def runtime_env(submission: Submission, folder: Path) -> dict[str, Any]:
    """Ray's description of what the job needs: the packages and the resolved recipe."""
    stage(submission, folder)
    environment: dict[str, Any] = {"working_dir": str(folder)}
    if submission.wheel is not None:
        environment["py_modules"] = [str(submission.wheel)]
    return environment


def stage(submission: Submission, folder: Path) -> None:
    """Put into ``folder`` what the job's working directory shall hold.

    Raises:
        UserError: the wheel does not exist, or it is all too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(recipe_yaml(submission.recipe), encoding="utf-8")
    if submission.wheel is not None:
        if not (submission.wheel.is_file() and submission.wheel.suffix == ".whl"):
            raise UserError(f"--wheel {submission.wheel} is no wheel; build one with `python -m build --wheel`.")
        return
    root = Path(__file__).parents[2]
    for package in PACKAGES:
        shutil.copytree(root / package, folder / package, ignore=LEFT_OUT)
    shutil.copy2(root / "stillhouse_cli.py", folder)
    if (root / "pyproject.toml").is_file():
        shutil.copy2(root / "pyproject.toml", folder)
    refuse_large(folder)


def refuse_large(folder: Path) -> None:
    """Raise `UserError` if a folder is too much to upload."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    total_mib = sum(path.stat().st_size for path in files) / 2**20
    if total_mib > MAX_UPLOAD_MIB:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise UserError(
            f"the packages are {total_mib:.0f} MiB, more than the {MAX_UPLOAD_MIB} MiB that a job may ship; move "
            f"{largest.relative_to(folder)} out of them, or install a wheel on the cluster and give --wheel."
        )


async def resolve(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> None:
    """Write the job's log until it ends; a broken connection ends it too."""
    async for text in client.tail_job_logs(job):
        write(text)


def exit_code(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> int:
    """Wait for the job's last state and turn it into an exit code; says what happened unless all went well."""
    while not (info := client.get_job_info(job)).status.is_terminal():
        time.sleep(STATUS_INTERVAL_S)
    if info.status == "SUCCEEDED":
        return 0
    write(f"job {job} {info.status.value.lower()}: {first_line(info.message or 'no reason given')}\n")
    return info.driver_exit_code or 1


def to_stdout(text: str) -> None:
    """Log text as it comes, without waiting for a full buffer."""
    sys.stdout.write(text)
    sys.stdout.flush()
