"""Runs the learner in a group of processes under Ray Train, which starts the group again when one of them fails.

Each process resumes from the last intermediate checkpoint (`learner.checkpoints.resume`), also in a group of another
size. Every failure is recorded in metrics.jsonl, from which the screen and the report take it.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, UserCallback
from ray.train.torch import TorchTrainer

from cluster.config.failures import UNLIMITED, LearnerPolicy
from cluster.config.recipe import LearnerRole
from cluster.run.directory import RunDirectory
from cluster.run.training_data import TrainRequest
from cluster.runtime.resources import train_options
from cluster.runtime.train_learner import train_rank
from rollout.errors import UserError
from rollout.messages import first_line

_CAUSES = ("cause", "failure", "health_check_failure", "controller_failure", "_base_exc")
"""Attributes in which Ray's exceptions hold what caused them."""


def train_with_ray(request: TrainRequest, storage: Path, policy: LearnerPolicy) -> None:
    """Run `train_rank` in the recipe's number of processes under Ray Train. Blocks until the round is trained.

    Raises:
        UserError: a sentence from a process that found its input wrong; or processes died more often than ``policy``
            allows.
        ray.train.TrainingFailedError: any other exception of a process.
    """
    controller_deaths = 0
    while True:
        trainer = TorchTrainer(
            train_rank_from_config,
            train_loop_config={"request": request, "step_limit_s": policy.step_limit_s},
            scaling_config=scaling_config(request.learner),
            run_config=run_config(request, storage, policy),
        )
        try:
            trainer.fit()
            return
        except TrainingFailedError as error:
            if not isinstance(error, ControllerError) or not died(error):
                raise plain_error(error, policy) from error
            controller_deaths += 1
            reason = f"Ray Train's controller died ({first_line(error.controller_failure)})"
            record_failure(request, reason, controller_deaths, policy.max_failures)
            if policy.max_failures != UNLIMITED and controller_deaths > policy.max_failures:
                raise _spent(reason, "max_failures", policy) from error


def scaling_config(learner: LearnerRole) -> ScalingConfig:
    """Ray Train's number of processes, a range if it may change, and their resources."""
    fewest, most = learner.min_workers, learner.workers
    return ScalingConfig(
        num_workers=most if fewest is None else (fewest, most),  # type: ignore[arg-type]  # typed as Train V1's
        use_gpu=learner.resources.gpus > 0,
        resources_per_worker=train_options("learner", learner.resources),
    )


def run_config(request: TrainRequest, storage: Path, policy: LearnerPolicy) -> RunConfig:
    """Ray Train's settings of one round: its name, its folder and its restarts."""
    return RunConfig(
        name=f"round={request.round:03d}",
        storage_path=str(storage),
        failure_config=FailureConfig(
            max_failures=policy.max_failures,
            max_preemption_failures=policy.max_preemption_failures,  # type: ignore[call-arg]  # typed as Train V1's
        ),
        callbacks=[RecordFailures(request, policy)],  # type: ignore[list-item]  # typed as Train V1's
    )


class RecordFailures(UserCallback):
    """Writes a line to metrics.jsonl when a process of the group has failed. Runs in Ray Train's controller."""

    def __init__(self, request: TrainRequest, policy: LearnerPolicy) -> None:
        self._request, self._policy = request, policy
        self._failures = {False: 0, True: 0}

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        preempted = any(is_preempted(error) for error in worker_exceptions.values())
        self._failures[preempted] += 1
        limit = self._policy.max_preemption_failures if preempted else self._policy.max_failures
        what = "a node was preempted" if preempted else describe(worker_exceptions)
        record_failure(self._request, what, self._failures[preempted], limit)


def record_failure(request: TrainRequest, what: str, count: int, limit: int) -> None:
    """Write a line to metrics.jsonl about the ``count``-th failure of a kind; ``limit`` of them end in a restart."""
    again = limit == UNLIMITED or count <= limit
    kind, then = ("restart", "training starts again") if again else ("retired", "training ends")
    of_most = "" if limit == UNLIMITED else f" of at most {limit}"
    number = f", restart {count}{of_most}" if again else ""
    with closing(RunDirectory(Path(request.run_dir))) as directory:
        note = f"round {request.round}: {what}; {then}{number}"
        directory.log_metrics({"kind": kind, "role": "learner", "note": note})


def describe(failures: Mapping[int, Exception]) -> str:
    """Say in one sentence which processes failed and why."""
    ranks = ", ".join(str(rank) for rank in sorted(failures))
    return f"training process {ranks} failed ({first_line(next(iter(failures.values())))})"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that caused it."""
    cause: Any = error
    while isinstance(cause, BaseException):
        yield cause
        found = (getattr(cause, name, None) for name in _CAUSES)
        cause = cause.__cause__ or next((inner for inner in found if isinstance(inner, BaseException)), None)


def is_preempted(error: BaseException) -> bool:
    """Whether a process died because its node was preempted."""
    return any(isinstance(cause, RayActorError) and cause.preempted for cause in causes(error))


def plain_error(error: TrainingFailedError, policy: LearnerPolicy) -> Exception:
    """The `UserError` that a process raised, or a sentence if a process died; else the error itself."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        for cause in causes(failure):
            if isinstance(cause, UserError):
                return UserError(str(cause.args[0]))
    if any(died(failure) for failure in failures.values()):  # others fail because it is gone
        name = "max_preemption_failures" if any(map(is_preempted, failures.values())) else "max_failures"
        return _spent(describe(failures), name, policy)
    return error


def _spent(what: str, limit: str, policy: LearnerPolicy) -> UserError:
    return UserError(
        f"{what}, and failures.learner.{limit} is {getattr(policy, limit)}. What was trained up to the last "
        "intermediate checkpoint is kept, and the same command goes on from there; raise the limit if processes may "
        "die more often."
    )


def died(failure: BaseException) -> bool:
    """Whether a process died, also for lack of memory, or did not answer, rather than raise an exception."""
    return any(
        isinstance(cause, RayActorError | OutOfMemoryError) or "HealthCheck" in type(cause).__name__
        for cause in causes(failure)
    )


def train_rank_from_config(config: dict[str, Any]) -> None:
    """`train_rank` as Ray Train calls it, with a watchdog."""
    with watchdog(config["step_limit_s"]) as alive:
        train_rank(config["request"], alive)


@contextmanager
def watchdog(limit_s: float) -> Iterator[Any]:
    """Give a function; this process writes the stacks of its threads to its log and ends if it is not called in time.

    Ray Train cannot see that a process hangs, in a collective operation or in a read, because another thread answers.
    """
    alive = partial(faulthandler.dump_traceback_later, limit_s, exit=True)
    alive()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()
