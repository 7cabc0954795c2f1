"""The processes of parallel runs: how they end, and their cores."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from cluster.study.config import load_study
from cluster.study.processes import ProcessPool, RunningJob, cores_of_slot
from cluster.study.runs import make_jobs
from tests import forked
from tests.forked import FORKS


def ignore_the_stop(connection: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send(None)
    time.sleep(600)


def test_a_run_that_does_not_stop_in_time_is_killed_and_has_ended_then() -> None:
    job = make_jobs(load_study("on-policy"), Path("/out"))[0]
    failures = job.recipe.failures.model_copy(update={"run_stop_timeout_s": 0.1})
    job = dataclasses.replace(job, recipe=job.recipe.model_copy(update={"failures": failures}))
    receiver, sender = FORKS.Pipe(duplex=False)
    stubborn = forked.start(ignore_the_stop, sender)
    assert receiver.poll(200)
    pool = ProcessPool(1, "local", ())
    pool.running.append(RunningJob(job, stubborn, receiver, 0))
    pool.stop()
    assert stubborn.exitcode == -signal.SIGKILL
    assert pool.running == []


def test_each_slot_has_its_own_share_of_the_cores() -> None:
    mine = os.sched_getaffinity(0)
    shares = [cores_of_slot(slot, 2) for slot in range(2)]
    assert set().union(*shares) == mine
    assert len(mine) < 2 or not shares[0] & shares[1]
    assert cores_of_slot(0, len(mine) + 1) == mine
