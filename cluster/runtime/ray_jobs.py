"""Submit a recipe as a Ray job: upload the packages, start ``stillhouse run`` on the head node, follow its log.

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
from cluster.runtime.address import ANSWER_TIMEOUT_S, check_dashboard
from rollout.errors import UserError
from rollout.messages import first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGES = ("rollout", "learner", "evaluation", "cluster")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "tests")
MAX_UPLOAD_MIB = 200
"""Upload limit. Ray's own limit is 500 MiB; the shipped models need a few."""
REMOTE_RUNS = "~/stillhouse-runs"
"""Default folder of runs on the head node, because Ray deletes a job's working directory when the job ends."""
STATUS_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Submission:
    """A recipe to run as a Ray job.

    Attributes:
        run_dir: run directory on the cluster, accessible from every node with workers.
        wheel: wheel to upload instead of the source packages.
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
    """Default run directory on the cluster."""
    return f"{REMOTE_RUNS}/{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def submit(submission: Submission, address: str, write: Callable[[str], object]) -> int:
    """Submit the job, follow its log, and return its exit code.

    Args:
        address: URL of the cluster's dashboard, ``http://HEAD:8265``.
        write: receives the text of the log.

    Raises:
        UserError: if the address cannot be reached, or the upload is too large.
        KeyboardInterrupt: if the user interrupts the log; the job continues.
    """
    client = connect(address)
    with tempfile.TemporaryDirectory(prefix="stillhouse-job-") as folder:
        environment = runtime_env(submission, Path(folder))
        job = submit_when_ready(
            lambda: client.submit_job(entrypoint=submission.entrypoint, runtime_env=environment),
            address,
            wait_s=submission.recipe.failures.submit_timeout_s,
        )
    write(f"job {job} runs on {address}, in {submission.run_dir}\n")
    try:
        asyncio.run(follow_log(client, job, write))
    except KeyboardInterrupt:
        write(
            f"\nstopped following the log; the job continues. Stop it with:\n  ray job stop {job} --address {address}\n"
        )
        raise
    return exit_code(client, job, write)


def submit_when_ready(send: Callable[[], str], address: str, *, wait_s: float, pause_s: float = 1.0) -> str:
    """Call ``send`` until the cluster accepts the job and return its result; a head that just started refuses jobs.

    Raises:
        UserError: if the cluster accepts no job within ``wait_s``, or the connection breaks.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return send()
        except OSError as error:  # that of the HTTP library
            raise UserError(no_dashboard(address, first_line(error))) from error
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() > deadline_s:
                raise UserError(
                    f"the cluster at {address} accepts no jobs ({first_line(error)}); check its state with "
                    "`ray status` and try again."
                ) from error
        time.sleep(pause_s)


def connect(address: str) -> JobSubmissionClient:
    """A job client of the cluster at ``address``. Raises `UserError` if no dashboard answers there."""
    check_dashboard(address)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    require_answer(address)  # after the slow imports: a head that has just started needs a moment
    # Ray prefers these variables to the address that the user gave.
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(variable, None)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise UserError(
            f"the cluster at {address} requires an authentication token; set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) to the cluster's token."
        ) from error
    except (ConnectionError, RuntimeError, OSError) as error:
        raise UserError(no_dashboard(address, first_line(error))) from error


def require_answer(address: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
    """Raise `UserError` unless a web server answers within ``timeout_s``; Ray's client would wait without a limit."""
    import httpx

    try:
        httpx.get(f"{address.rstrip('/')}/api/version", timeout=timeout_s)
    except httpx.TimeoutException as error:
        raise UserError(no_dashboard(address, f"no answer within {timeout_s:g} s")) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(no_dashboard(address, first_line(error) or type(error).__name__)) from error


def no_dashboard(address: str, reason: str) -> str:
    """Sentence for an address at which no dashboard answers."""
    return (
        f"no Ray dashboard answers at {address} ({reason}); start one with `ray start --head` there, and check host, "
        "port (8265 by default) and firewall."
    )


def runtime_env(submission: Submission, folder: Path) -> dict[str, Any]:
    """Ray's runtime environment of the job, with the packages and the resolved recipe."""
    stage(submission, folder)
    environment: dict[str, Any] = {"working_dir": str(folder)}
    if submission.wheel is not None:
        environment["py_modules"] = [str(submission.wheel)]
    return environment


def stage(submission: Submission, folder: Path) -> None:
    """Copy the contents of the job's working directory into ``folder``.

    Raises:
        UserError: if the wheel does not exist, or the packages are too large to upload.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(recipe_yaml(submission.recipe), encoding="utf-8")
    if submission.wheel is not None:
        if not (submission.wheel.is_file() and submission.wheel.suffix == ".whl"):
            raise UserError(f"--wheel {submission.wheel} is not a wheel; build one with `python -m build --wheel`.")
        return
    root = Path(__file__).parents[2]
    for package in PACKAGES:
        shutil.copytree(root / package, folder / package, ignore=IGNORED)
    shutil.copy2(root / "stillhouse_cli.py", folder)
    if (root / "pyproject.toml").is_file():
        shutil.copy2(root / "pyproject.toml", folder)
    check_upload_size(folder)


def check_upload_size(folder: Path) -> None:
    """Raise `UserError` if a folder is too large to upload."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    total_mib = sum(path.stat().st_size for path in files) / 2**20
    if total_mib > MAX_UPLOAD_MIB:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise UserError(
            f"the packages are {total_mib:.0f} MiB, but a job may upload at most {MAX_UPLOAD_MIB} MiB; remove "
            f"{largest.relative_to(folder)} from them, or build a wheel and give --wheel."
        )


async def follow_log(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> None:
    """Write the job's log until the job ends or the connection breaks."""
    async for text in client.tail_job_logs(job):
        write(text)


def exit_code(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> int:
    """Wait until the job ends and return its exit code; writes the status and message of a job that failed."""
    while not (info := client.get_job_info(job)).status.is_terminal():
        time.sleep(STATUS_INTERVAL_S)
    if info.status == "SUCCEEDED":
        return 0
    write(f"job {job} {info.status.value.lower()}: {first_line(info.message or 'no reason given')}\n")
    return info.driver_exit_code or 1


def to_stdout(text: str) -> None:
    """Write text to the standard output and flush it."""
    sys.stdout.write(text)
    sys.stdout.flush()
