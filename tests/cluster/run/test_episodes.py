"""Requests of a step are made when they are asked for, and found again by their keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.run.attempts import Completed
from cluster.run.episodes import EpisodeRequests
from cluster.run.steps.rollout import RolloutSpec
from rollout.environment import Task
from rollout.episode.config import AgentConfig
from rollout.trajectory import Key
from rollout.trajectory.arrow import key_table

SPEC = RolloutSpec("run", "teacher", 2, "store", AgentConfig())
REQUESTS = EpisodeRequests(SPEC, tuple(Task(f"t{i}", "household", "train", "") for i in range(5)), attempts=3)


def test_all_tasks_come_once_before_any_comes_again() -> None:
    made = [(request.task.id, request.attempt) for request in REQUESTS]
    assert made == [(f"t{i}", attempt) for attempt in range(3) for i in range(5)]
    assert [REQUESTS[place] for place in range(len(REQUESTS))] == list(REQUESTS)
    assert REQUESTS[3:9:2] == tuple(REQUESTS)[3:9:2]
    assert REQUESTS[-1] == tuple(REQUESTS)[-1]
    with pytest.raises(IndexError):
        REQUESTS[15]


def test_requests_of_a_step_without_tasks_are_none() -> None:
    none = EpisodeRequests(SPEC, ())
    assert (len(none), list(none), none.keys.places(key_table([])).tolist()) == (0, [], [])


def test_every_request_is_found_by_its_key_and_no_other_key_is() -> None:
    keys = [request.key for request in REQUESTS]
    assert REQUESTS.keys.places(key_table(keys)).tolist() == list(range(15))
    foreign = [Key("student", 2, "t0", 0), Key("teacher", 1, "t0", 0), Key("teacher", 2, "t5", 0)]
    foreign += [Key("teacher", 2, "t0", 3), Key("teacher", 2, "t0", -1)]
    assert REQUESTS.keys.places(key_table(foreign)).tolist() == [-1] * 5
    assert replace(REQUESTS, spec=replace(SPEC, round=1)).keys.places(key_table(foreign)).tolist() == [
        -1,
        0,
        -1,
        -1,
        -1,
    ]


@given(st.sets(st.integers(0, 14)), st.sets(st.integers(0, 14)))
def test_what_is_neither_completed_nor_given_up_is_missing_in_order(done: set[int], given_up: set[int]) -> None:
    completed = Completed(REQUESTS)
    places = np.array(sorted(done), np.int64)
    completed.add_all(places[1:], places[1:] % 4)
    for place in places[:1]:
        completed.add(int(place), int(place) % 4)
    missing = completed.missing(REQUESTS[place].key for place in given_up)
    assert missing.tolist() == sorted(set(range(15)) - done - given_up)
    assert completed.count == len(done)
    assert completed.keys(request.key for request in REQUESTS) == {REQUESTS[place].key for place in done}
    assert completed.longest is None or completed.longest % 4 == max(place % 4 for place in done)
