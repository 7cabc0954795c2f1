"""A hosted environment behaves as in the worker itself, and what it does wrong stays in its host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from rollout.environment import (
    Environment,
    Reset,
    Step,
    action_templates,
    fork_of,
    legal_actions,
    passages_of,
)
from rollout.environments.hosts.hosted import EnvironmentHosts, HostedEnvironment
from rollout.environments.wrappers.pooled import EnvironmentPool
from rollout.environments.wrappers.search import SearchEnvironment
from rollout.errors import Boundary, EpisodeError, UserError, failure_of
from rollout.grammar import Choice
from tests.ponds import ERRORS, TASK, Pond, PondConfig
from tests.rollout.environments.hosts.conftest import MakeHosts
from tests.waiting import wait_until


@pytest.fixture
def pond(shared: EnvironmentHosts) -> Iterator[HostedEnvironment]:
    with closing(shared.create()) as pond:
        yield pond


def test_it_answers_as_in_this_process(pond: HostedEnvironment) -> None:
    here = Pond(PondConfig())
    assert pond.reset(TASK) == here.reset(TASK)
    for action in ("look around", "", "\x00\n\t naïve 🦊", "x" * 200_000):
        assert pond.step(action) == here.step(action)
    assert list(pond.admissible_actions() or ()) == here.admissible_actions()
    assert legal_actions(pond) == Choice(("cast a net", "wait"), ("cast {}",))
    assert (action_templates(pond), list(passages_of(pond, 1))) == (("cast {}",), ["Fish swim."])


def test_a_copy_is_independent_also_within_wrappers(shared: EnvironmentHosts) -> None:
    whole = EnvironmentPool(lambda: SearchEnvironment(shared.create(), lambda query: "")).take()
    whole.reset(TASK)
    copy = fork_of(whole)
    assert (copy.step("look").observation, copy.step("look").observation) == (" 1", " 2")
    assert whole.step("look").observation == " 1"
    copy.close()
    assert action_templates(whole) == ("cast {}", "search[{}]")
    whole.close()


@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_is_recorded_as_in_this_process(pond: HostedEnvironment, name: str) -> None:
    pond.reset(TASK)
    with pytest.raises((EpisodeError, UserError)) as caught:
        pond.step(f"raise {name}")
    error = caught.value
    recorded = error.failure if isinstance(error, EpisodeError) else failure_of(error, Boundary.ENVIRONMENT)
    assert recorded == failure_of(ERRORS[name](), Boundary.ENVIRONMENT)
    assert pond.step("look").observation == " 2", "it lives on"


@pytest.mark.parametrize("what", ["nothing", "text", "fields", "nan"])
def test_an_answer_that_is_no_step_is_an_error_of_the_environment(pond: HostedEnvironment, what: str) -> None:
    pond.reset(TASK)
    with pytest.raises(UserError, match=r"Pond.step returned .* instead of a valid Step; fix the environment"):
        pond.step(f"garbage {what}")


def test_it_has_a_thread_and_no_input_of_its_own(pond: HostedEnvironment) -> None:
    pond.reset(TASK)
    assert pond.step("thread").observation == "True"
    assert pond.step("read").observation == "b''"


def test_a_step_that_forks_is_answered_once(pond: HostedEnvironment) -> None:
    pond.reset(TASK)
    host = psutil.Process(int(pond.step("pid").observation))
    assert pond.step("fork").observation == "forked at step 2"
    assert pond.step("look").observation == " 3"
    wait_until(lambda: not _running(host), "the end of the forked process")


def _running(host: psutil.Process) -> list[psutil.Process]:
    return [child for child in host.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def test_an_error_in_close_is_the_environments_and_is_told_once(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(config=PondConfig(bad_close=True))
    pond: Environment = hosts.create()
    assert isinstance(pond.reset(TASK), Reset)
    with pytest.raises(EpisodeError, match="the pond is frozen"):
        pond.close()
    pond.close()
    with closing(hosts.create()) as other:
        assert isinstance(other.step("look"), Step)
        other.reset(TASK)
        with pytest.raises(EpisodeError):
            other.close()


def test_an_environment_that_cannot_be_created_is_an_error_of_the_user(ponds: None) -> None:
    class LakeConfig(PondConfig):
        type: str = "lake"  # type: ignore[assignment]

    from rollout.environments.hosts.config import HostPolicy

    hosts = EnvironmentHosts(LakeConfig(), HostPolicy(), 60.0, 60.0)
    with pytest.raises(UserError, match="there is no environment 'lake'"):
        hosts.create()
    hosts.stop()
