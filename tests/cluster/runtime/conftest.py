"""One Ray cluster for all tests of this folder: starting one takes ten seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.config.failures import FailurePolicies, LearnerPolicy, WorkerPolicy
from cluster.config.recipe import Resources
from cluster.runtime.resources import ResourceGroup, ResourceRequest

if TYPE_CHECKING:
    from cluster.runtime.ray_backend import RayBackend

FOLDER = Path(__file__).parent
RUNNING: list[RayBackend] = []
FAILURES = FailurePolicies(student=WorkerPolicy(stop_timeout_s=2.5), learner=LearnerPolicy(max_failures=0))


@pytest.fixture
def backend(tmp_path_factory: pytest.TempPathFactory) -> RayBackend:
    """A cluster of four cores, started by the first test that asks for it."""
    from cluster.runtime.ray_backend import RayBackend

    if not RUNNING:
        wanted = [ResourceGroup("", (ResourceRequest("learner", 4, Resources(cpus=1)),))]
        RUNNING.append(RayBackend(None, tmp_path_factory.mktemp("logs"), wanted, FAILURES))
    return RUNNING[0]


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Close the cluster after the folder's last test: a process has one, and tests elsewhere start their own."""
    if RUNNING and (nextitem is None or FOLDER not in nextitem.path.parents):
        RUNNING.pop().close()
