"""Turns are put together from segments by provenance."""

from __future__ import annotations

from rollout.trajectory import Author, Kind
from rollout.trajectory.turns import PlayedTurn, opening, played_turns
from tests.rollout.hints.episodes import episode, segment


def test_the_opening_is_the_first_observation_and_the_task_and_nothing_that_a_teacher_sees() -> None:
    assert opening(episode("A room.", "look", ("go", "You go."))) == "A room.\nYour task is to: look."


def test_a_turn_has_the_models_thought_and_act_and_the_worlds_answer() -> None:
    played = episode("A room.", "look", ("go", "You go."), (None, "Nothing."))
    assert played_turns(played) == [
        PlayedTurn(1, "I act.", "go", "You go."),
        PlayedTurn(2, "I act.", None, "Nothing."),
    ]


def test_a_turn_that_was_opened_and_never_answered_by_the_engine_is_none() -> None:
    played = episode("A room.", "look", ("go", "You go."))
    opened = segment(Kind.FORMAT, Author.TEMPLATE, 2, "<assistant>")
    prefix = segment(Kind.PREFIX, Author.TEACHER, 2, "To begin")
    object.__setattr__(played, "segments", (*played.segments, opened, prefix))
    assert [turn.number for turn in played_turns(played)] == [1]
