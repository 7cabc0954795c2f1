"""Filters that select episodes for training."""

from __future__ import annotations

import pytest

from rollout.episode.filters import KeepConfig, count_no_ops, count_parse_errors, count_repeats, why_dropped
from rollout.trajectory import StopReason, Trajectory
from tests.rollout.hints.episodes import ROOM, episode

NOTHING = "Nothing happens."


def play(*turns: tuple[str | None, str], stop: StopReason = StopReason.SUCCESS, **options: float) -> Trajectory:
    return episode(ROOM, "put a mug in shelf", *turns, stop=stop, **options)  # type: ignore[arg-type]


def test_a_turn_without_an_act_segment_is_a_parse_error() -> None:
    assert count_parse_errors(play(("look", "You look."), (None, NOTHING), (None, NOTHING))) == 2


def test_a_repeat_has_the_action_and_observation_of_the_turn_before() -> None:
    turns = [("look", "A"), ("look", "A"), ("look", "B"), ("go to shelf 1", "B"), ("look", "B"), ("look", "B")]
    assert count_repeats(play(*turns)) == 2


def test_a_no_op_has_the_observation_nothing_happens() -> None:
    assert count_no_ops(play(("look", f" {NOTHING}\n"), ("look", "You see. Nothing happens."), (None, NOTHING))) == 2


@pytest.mark.parametrize(
    ("config", "kept", "dropped", "reason"),
    [
        (KeepConfig(), play(), play(stop=StopReason.FAILURE, reward=0.9), "not solved"),
        (
            KeepConfig(min_reward=0.67),
            play(stop=StopReason.FAILURE, reward=0.67),
            play(stop=StopReason.FAILURE, reward=0.66),
            "not solved",
        ),
        (KeepConfig(max_invalid_actions=2), play(invalid=2), play(invalid=3), "invalid actions"),
        (
            KeepConfig(max_repeats=0),
            play(("look", "A"), ("look", "B")),
            play(("look", "A"), ("look", "A")),
            "repeated actions",
        ),
        (
            KeepConfig(max_no_ops=1),
            play(("look", NOTHING)),
            play(("look", NOTHING), ("go", NOTHING)),
            "actions that do nothing",
        ),
        (
            KeepConfig(allow_parse_errors=False),
            play(("look", NOTHING)),
            play((None, NOTHING)),
            "a turn without an action",
        ),
        (
            KeepConfig(success=False, allow_limits=False),
            play(stop=StopReason.FAILURE),
            play(stop=StopReason.STEP_LIMIT),
            "ended by a limit",
        ),
    ],
)
def test_each_setting_drops_only_the_episodes_that_it_describes(
    config: KeepConfig, kept: Trajectory, dropped: Trajectory, reason: str
) -> None:
    assert why_dropped(config, kept) is None
    assert why_dropped(config, dropped) == reason


def test_by_default_every_success_is_kept() -> None:
    assert why_dropped(KeepConfig(), play((None, NOTHING), (None, NOTHING), invalid=9)) is None


def test_a_reward_bound_without_success_is_refused_with_a_fix() -> None:
    with pytest.raises(ValueError, match="set success: true or leave min_reward out"):
        KeepConfig(success=False, min_reward=0.5)
