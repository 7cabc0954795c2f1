"""What keeps a Ray cluster from being reached or started is one sentence; a bug of ours stays what it is."""

from __future__ import annotations

import pytest

from cluster.runtime.ray_backend import plain_start_errors
from rollout.errors import UserError


def test_an_address_without_a_cluster_is_named() -> None:
    with (
        pytest.raises(UserError, match="no Ray cluster at 10.0.0.1:6379 .*correct --address"),
        plain_start_errors("10.0.0.1:6379"),
    ):
        raise ConnectionError("refused")


def test_a_machine_too_busy_to_start_ray_is_told_what_to_do() -> None:
    with pytest.raises(UserError, match="did not start .* run the same command again"), plain_start_errors(None):
        raise Exception("The current node timed out during startup. This could happen because ...")  # as Ray does


def test_any_other_failure_comes_out_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), plain_start_errors(None):
        raise ZeroDivisionError
