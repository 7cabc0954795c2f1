"""Every exception of a component has a cause, and only what the agent caused is a result."""

from __future__ import annotations

import pytest

from rollout.errors import (
    AgentError,
    Boundary,
    Cause,
    EngineDied,
    EngineUnavailable,
    EpisodeError,
    Failure,
    InfrastructureError,
    SetupError,
    UserError,
    boundary,
    cause_of,
)
from rollout.tools.sandbox.errors import ToolError


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (EngineUnavailable("429"), Cause.ENGINE),
        (TimeoutError("no answer"), Cause.ENGINE),
        (ValueError("the prompt leaves no room"), Cause.ENGINE),
        (SetupError("401"), Cause.SETUP),
        (UserError("no such model"), Cause.SETUP),
        (NotImplementedError("no scores"), Cause.SETUP),
        (AgentError("an engine has no say in this"), Cause.ENGINE),
    ],
)
def test_a_failure_of_an_engine_is_never_a_result(error: Exception, cause: Cause) -> None:
    assert cause_of(error, Boundary.ENGINE) is cause
    assert not Failure("engine", "X", "x", cause).is_result


@pytest.mark.parametrize("where", [Boundary.ENVIRONMENT, Boundary.TOOL])
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (AgentError("there is no such page"), Cause.AGENT),
        (ToolError("the query is empty"), Cause.AGENT),
        (InfrastructureError("the index is down"), Cause.INFRASTRUCTURE),
        (EngineUnavailable("the judge is down"), Cause.INFRASTRUCTURE),
        (ConnectionRefusedError("refused"), Cause.INFRASTRUCTURE),
        (UserError("the data is missing"), Cause.SETUP),
        (ZeroDivisionError("division by zero"), None),
        (PermissionError(13, "Permission denied", "/etc/shadow"), None),
    ],
)
def test_a_failure_of_environment_or_tool_is_the_agents_only_if_declared_until_a_replay_shows_it(
    where: Boundary, error: Exception, cause: Cause | None
) -> None:
    assert cause_of(error, where) is (cause or Cause(where.value))


def test_a_boundary_keeps_the_cause_of_an_inner_boundary() -> None:
    with pytest.raises(EpisodeError) as raised, boundary(Boundary.ENVIRONMENT), boundary(Boundary.TOOL):
        raise ConnectionResetError("gone")
    assert raised.value.failure == Failure("tool", "ConnectionResetError", "gone", Cause.INFRASTRUCTURE)


def test_a_dead_engine_passes_every_boundary() -> None:
    with pytest.raises(EngineDied), boundary(Boundary.ENVIRONMENT), boundary(Boundary.ENGINE):
        raise EngineDied("killed")
