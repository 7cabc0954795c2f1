"""Figures of a report are computed from stored records, also for a run that was stopped and resumed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.run.write_report import busy_seconds, learner_figures, phase_seconds
from rollout.trajectory import Identity, Outcome, Policy, StopReason, Times, Trajectory


def episode(started_s: float, total_s: float) -> Trajectory:
    return Trajectory(
        Identity("run", "teacher", 0, f"{started_s}", 0, "household", "train"),
        Policy("m", 0, "react"),
        Outcome(0.0, False, StopReason.STEP_LIMIT),
        (),
        times=Times(started_unix_s=started_s, total_s=total_s),
    )


def test_overlapping_episodes_count_once_and_the_pause_between_two_starts_does_not_count() -> None:
    first_start, second_start = [episode(10, 5), episode(12, 6), episode(13, 1)], [episode(1000, 2)]
    assert busy_seconds([*second_start, *first_start]) == 8 + 2


def test_no_episodes_take_no_time() -> None:
    assert busy_seconds([]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=12))
def test_busy_seconds_are_the_seconds_in_which_some_episode_ran(spans: list[tuple[int, int]]) -> None:
    ticks = {second for start, length in spans for second in range(start, start + length)}
    assert busy_seconds([episode(start, length) for start, length in spans]) == len(ticks)


def test_learner_figures_cover_all_rounds_and_count_a_repeated_round_once() -> None:
    def trained(round: int, first: float, last: float) -> dict[str, object]:
        figures = {"steps": 10, "tokens": 1000, "seconds": 5.0, "loss_first": first, "loss_last": last}
        return {"kind": "trained", "round": round, **figures}

    figures = learner_figures(
        [trained(0, 9.0, 9.0), trained(1, 2.0, 1.0), trained(0, 3.0, 2.0), {"kind": "train_step"}]
    )
    assert (figures.steps, figures.tokens_per_second) == (20, 200.0)
    assert (figures.loss_first, figures.loss_last) == (3.0, 1.0)


def test_limits_that_ended_rounds_and_skipped_steps_are_added_up() -> None:
    base = {"kind": "trained", "steps": 1, "tokens": 1, "seconds": 1.0, "loss_first": 1.0, "loss_last": 1.0}
    ended = [("tokens", 0), ("seconds", 2), ("tokens", 1)]
    rows = [
        {**base, "round": number, "stopped_by": limit, "skipped_steps": skipped}
        for number, (limit, skipped) in enumerate(ended)
    ]
    figures = learner_figures(rows)
    assert figures.stopped_by == {"tokens": 2, "seconds": 1}
    assert figures.skipped == {"steps": 3}
    assert learner_figures(rows[:1]).skipped == {}


def test_what_training_left_out_is_added_up_over_rounds() -> None:
    figures = {"steps": 1, "tokens": 1, "seconds": 1.0, "loss_first": 1.0, "loss_last": 1.0}
    left_out: list[dict[str, object]] = [
        {"dropped": {"not solved": 2}, "unreadable": {"a": "cut short"}},
        {"dropped": {"not solved": 1, "invalid actions": 4}, "unreadable": {"b": "damaged"}},
        {},  # of an older version
    ]
    rows = [{"kind": "trained", "round": number, **figures, **row} for number, row in enumerate(left_out)]
    found = learner_figures(rows)
    assert list(found.dropped.items()) == [("invalid actions", 4), ("not solved", 3)]
    assert found.unreadable == {"a": "cut short", "b": "damaged"}


def test_a_run_without_training_has_no_learner_figures() -> None:
    assert learner_figures([]).loss_last is None


def test_phases_add_up_over_rounds() -> None:
    rows = [{"kind": "phase", "phase": "train", "seconds": 2.0}] * 3
    assert phase_seconds(rows) == {"train": 6.0}
