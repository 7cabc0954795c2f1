"""Turns are assembled from segments by provenance."""

from __future__ import annotations

from rollout.trajectory import Author, Kind
from rollout.trajectory.turns import CompletedTurn, completed_turns, initial_observation
from tests.rollout.hints.episodes import episode, segment


def test_the_initial_observation_contains_the_task_but_no_hints() -> None:
    assert initial_observation(episode("A room.", "look", ("go", "You go."))) == "A room.\nYour task is to: look."


def test_a_turn_has_the_models_thought_and_action_and_the_observation() -> None:
    trajectory = episode("A room.", "look", ("go", "You go."), (None, "Nothing."))
    assert completed_turns(trajectory) == [
        CompletedTurn(1, "I act.", "go", "You go."),
        CompletedTurn(2, "I act.", None, "Nothing."),
    ]


def test_a_turn_that_the_engine_did_not_complete_is_left_out() -> None:
    trajectory = episode("A room.", "look", ("go", "You go."))
    opened = segment(Kind.FORMAT, Author.TEMPLATE, 2, "<assistant>")
    prefix = segment(Kind.PREFIX, Author.TEACHER, 2, "To begin")
    object.__setattr__(trajectory, "segments", (*trajectory.segments, opened, prefix))
    assert [turn.number for turn in completed_turns(trajectory)] == [1]
