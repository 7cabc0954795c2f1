"""Settings of fault tolerance: what is restarted or retried, how often, and how long a run waits for something to stop.

None of them changes what a run computes, so they may differ when a run is resumed.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from evaluation.failures import MAX_FAILED_SHARE
from rollout.environments.hosts.config import HostPolicy
from rollout.episode.config import EpisodePolicy
from rollout.frozen_model import FrozenModel

UNLIMITED = -1
"""As a number of restarts or failures: no limit, as in Ray."""


class WorkerPolicy(FrozenModel):
    """Rollout workers of one role."""

    max_restarts: int = Field(3, ge=UNLIMITED)
    """Restarts of each worker within ``restart_window_s``; 0 for none, -1 for no limit. Its unfinished episodes are
    played by others at once. A worker that died more often is left out, and the others finish the step."""
    restart_window_s: float = Field(3600.0, gt=0.0)
    """Seconds for which a restart counts against ``max_restarts``."""
    restart_wait_s: float = Field(1.0, ge=0.0)
    """Seconds before the second restart without a completed episode; doubled before each further one, at most 60."""
    start_timeout_s: float = Field(1800.0, gt=0.0)
    """Seconds that a worker may take to start its engine; then it counts as dead."""
    load_timeout_s: float = Field(900.0, gt=0.0)
    """Seconds that a worker may take to load new weights; then it counts as dead."""
    heartbeat_timeout_s: float = Field(60.0, gt=0.0)
    """Seconds after which a worker that does not answer counts as dead."""
    max_failures_in_a_row: int = Field(8, ge=1)
    """Failures of the same kind in a row after which a worker is restarted, if episodes of other workers succeed
    meanwhile."""
    stop_timeout_s: float = Field(15.0, gt=0.0)
    """Seconds that a worker on Ray may take to stop its engine before it is killed."""


class ReplicaPolicy(FrozenModel):
    """Replicas of the retrieval service."""

    max_restarts: int = Field(UNLIMITED, ge=UNLIMITED)
    """Restarts of each replica by Ray; 0 for none, -1 for no limit."""


class LearnerPolicy(FrozenModel):
    """The group of training processes of one round, as Ray Train's ``FailureConfig``."""

    max_failures: int = Field(1, ge=UNLIMITED)
    """Restarts of the group after a failed process, from its last intermediate checkpoint; 0 for none, -1 for no
    limit."""
    max_preemption_failures: int = Field(UNLIMITED, ge=UNLIMITED)
    """Restarts of the group after a preempted node, counted apart; 0 for none, -1 for no limit."""
    step_limit_s: float = Field(1800.0, gt=0.0)
    """Seconds that a training process on Ray may take to load the model and the data, for each step, and to save the
    model; then it counts as failed."""


class FailurePolicies(FrozenModel):
    """Restarts, retries and stop timeouts of a whole run."""

    teacher: WorkerPolicy = WorkerPolicy()
    student: WorkerPolicy = WorkerPolicy()
    retrieval: ReplicaPolicy = ReplicaPolicy()
    learner: LearnerPolicy = LearnerPolicy()
    episode: EpisodePolicy = EpisodePolicy()
    hosts: HostPolicy = HostPolicy()
    max_failed_share: float = Field(MAX_FAILED_SHARE, ge=0.0, le=1.0)
    """Fraction of a step's episodes that may be given up. Above it no other step uses the output, and the command
    fails."""
    run_stop_timeout_s: float = Field(30.0, gt=0.0)
    """Seconds that a study gives each of its runs to stop before it kills it."""
    submit_timeout_s: float = Field(60.0, ge=0.0)
    """Seconds that ``submit`` waits for a cluster that has just started and does not accept jobs yet."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        longest_s = max(self.teacher.stop_timeout_s, self.student.stop_timeout_s)
        if self.run_stop_timeout_s <= longest_s:
            raise ValueError(
                f"run_stop_timeout_s is {self.run_stop_timeout_s:g}, but a worker may take {longest_s:g} s to stop; "
                "set it higher than every stop_timeout_s"
            )
        return self

    def worker(self, role: str) -> WorkerPolicy:
        """The policy of the workers of ``role``, teacher or student."""
        return self.teacher if role == "teacher" else self.student
