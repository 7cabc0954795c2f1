"""Host processes of ponds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollout.environments.hosts.config import HostPolicy
from rollout.environments.hosts.hosted import EnvironmentHosts
from tests.ponds import PondConfig, install_ponds

MakeHosts = Callable[..., EnvironmentHosts]


@pytest.fixture(scope="module")
def ponds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Registers ponds in this process and in its hosts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("packages")
        install_ponds(folder)
        patch.syspath_prepend(str(folder))
        yield


@pytest.fixture
def make_hosts(ponds: None) -> Iterator[MakeHosts]:
    """Makes hosts with a policy and a limit on calls; they end with the test."""
    made: list[EnvironmentHosts] = []

    def make(call_timeout_s: float = 60.0, config: PondConfig | None = None, **policy: Any) -> EnvironmentHosts:
        made.append(EnvironmentHosts(config or PondConfig(), HostPolicy(**policy), 60.0, call_timeout_s))
        return made[-1]

    yield make
    for hosts in made:
        hosts.stop()


@pytest.fixture(scope="module")
def shared(ponds: None) -> Iterator[EnvironmentHosts]:
    """Hosts for tests that leave them sound."""
    hosts = EnvironmentHosts(PondConfig(), HostPolicy(max_environments=100), 60.0, 60.0)
    yield hosts
    hosts.stop()
