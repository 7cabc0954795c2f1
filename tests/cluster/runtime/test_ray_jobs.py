"""Ray jobs: the packages are staged completely, the log is followed, and the exit code is passed on."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.runtime.ray_jobs import (
    PACKAGES,
    Submission,
    check_upload_size,
    connect,
    remote_run_directory,
    runtime_env,
    stage,
    submit_when_ready,
)
from rollout.errors import UserError
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def submission() -> Submission:
    return Submission(load_recipe("smoke", ["seed=3"]), "~/runs/a b")


def test_the_staged_folder_has_the_packages_and_the_resolved_recipe(tmp_path: Path, submission: Submission) -> None:
    stage(submission, tmp_path)
    assert all((tmp_path / package / "__init__.py").is_file() for package in PACKAGES)
    assert load_recipe(str(tmp_path / "recipe.yaml")) == submission.recipe
    names = {path.name for path in tmp_path.rglob("*")}
    assert not names & {"__pycache__", ".venv", ".git", "tests", "runs"}


def test_the_staged_packages_run_on_their_own(tmp_path: Path, submission: Submission) -> None:
    stage(submission, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "list", "recipes"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "smoke" in done.stdout


def test_a_wheel_replaces_the_source_packages(tmp_path: Path, submission: Submission) -> None:
    wheel = tmp_path / "stillhouse-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    environment = runtime_env(Submission(submission.recipe, "runs/x", wheel), tmp_path / "staged")
    assert environment["py_modules"] == [str(wheel)]
    assert [path.name for path in (tmp_path / "staged").iterdir()] == ["recipe.yaml"]


def test_a_missing_file_or_another_kind_of_file_is_refused_as_wheel(tmp_path: Path, submission: Submission) -> None:
    for wheel in (tmp_path / "missing.whl", Path(__file__)):
        with pytest.raises(UserError, match="is not a wheel"):
            stage(Submission(submission.recipe, "runs/x", wheel), tmp_path / "staged")


def test_too_large_an_upload_is_refused_and_the_largest_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(UserError, match="weights.bin"):
        check_upload_size(tmp_path)


def test_the_job_runs_the_recipe_on_the_cluster_that_it_was_submitted_to(submission: Submission) -> None:
    words = shlex.split(submission.entrypoint)
    assert words[:5] == ["python", "-m", "cluster.cli", "run", "recipe.yaml"]
    assert words[words.index("--address") + 1] == "auto"
    assert words[words.index("--run-dir") + 1] == "~/runs/a b"


def test_the_default_run_directory_is_outside_the_working_directory_of_the_job(submission: Submission) -> None:
    assert remote_run_directory(submission.recipe).startswith("~/stillhouse-runs/smoke-")


def test_an_address_that_is_not_a_url_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match="http://HEAD:8265"):
        connect("ray://head:10001")


@pytest.mark.ray
def test_submission_is_retried_until_a_new_cluster_accepts_the_job() -> None:
    answers = iter(
        [RuntimeError("code 500: No available agent to submit job"), RuntimeError("No available agent"), "7"]
    )

    def send() -> str:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    assert submit_when_ready(send, "http://head:8265", wait_s=60.0, pause_s=0.0) == "7"


def test_a_cluster_that_never_accepts_the_job_is_one_sentence_and_other_errors_are_not_retried() -> None:
    def refuse(text: str) -> str:
        raise RuntimeError(text)

    with pytest.raises(UserError, match="the cluster at http://head:8265 accepts no jobs .*; check its state"):
        submit_when_ready(
            lambda: refuse("No available agent to submit job"), "http://head:8265", wait_s=0.0, pause_s=0.0
        )
    with pytest.raises(RuntimeError, match="disk full"):
        submit_when_ready(lambda: refuse("disk full"), "http://head:8265", wait_s=60.0)


def test_a_head_that_dies_while_it_is_sent_a_job_is_one_sentence() -> None:
    def send() -> str:
        raise ConnectionResetError("Remote end closed connection")

    with pytest.raises(UserError, match=r"no Ray dashboard answers at http://head:8265 \(Remote end closed"):
        submit_when_ready(send, "http://head:8265", wait_s=60.0)


def test_an_address_where_no_dashboard_answers_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no Ray dashboard answers at http://127.0.0.1:9"):
        connect("http://127.0.0.1:9")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Head:
    """A Ray head of one test. ``environment`` has its token; ``RAY_AUTH_MODE`` alone does not grant access."""

    address: str
    environment: dict[str, str]


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    """A Ray head on free ports that requires a random token. Only its own processes are ended."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    temp = Path("/tmp") / f"stillhouse-ray-{os.getpid()}"  # Ray's sockets need a short path
    dashboard = free_port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={free_port()}", f"--dashboard-port={dashboard}", f"--temp-dir={temp}"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]  # the usual one may be in use
    command += ["--dashboard-host=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        wait_until(lambda: answers(dashboard, process), "the dashboard of the Ray head", poll_s=0.5)
        yield Head(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(temp, ignore_errors=True)


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether something listens; fails if the process that should has ended."""
    assert process.poll() is None, "ray start ended"
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def submit_smoke(head: Head, run_dir: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    alone = ["student=null", "collect.student_episodes=0", "evaluate.agents=[teacher]"]  # one engine to start
    command = [sys.executable, "-m", "cluster.cli", "submit", "smoke", *alone, *overrides]
    command += ["--address", head.address, "--run-dir", str(run_dir)]
    env = {**head.environment, **environment}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=env)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_runs_a_recipe_on_a_real_cluster_and_passes_on_its_exit_code(head: Head, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    done = submit_smoke(head, run_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"in {run_dir}" in done.stdout
    assert (run_dir / "report.json").is_file()
    assert list((run_dir / "trajectories" / "teacher" / "round=000").glob("*.parquet"))

    other = submit_smoke(head, run_dir, "seed=9")
    assert other.returncode == 2, "the job's exit code reports that the folder belongs to another recipe"
    assert "differs in seed" in other.stdout

    stranger = submit_smoke(head, run_dir, RAY_AUTH_MODE="disabled")
    assert stranger.returncode == 2
    assert "requires an authentication token" in stranger.stderr
    assert len(stranger.stderr.splitlines()) == 1
