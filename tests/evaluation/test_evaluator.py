"""The evaluator's running figures equal the report's, whatever the order of updates, and snapshots never change."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.evaluator import STORED_COLUMNS, CompletedEpisode, EnvironmentFigures, Evaluator, Snapshot
from evaluation.failures import FailureFigures
from evaluation.metrics import METRICS, wilson_ci95
from evaluation.report import build_report
from evaluation.streaming import BusyTime, ExactMean
from rollout.trajectory import Cause, Counts, Failure, Identity, Outcome, Policy, StopReason, Times, Trajectory, is_owed
from rollout.trajectory.arrow import to_table
from rollout.trajectory.store import TrajectoryStore

STEPS = ("teacher", "student")
EXPECTED = {"teacher": {"household": 3, "webshop": 2}, "student": {"household": 9}}


def episode(task: str, environment: str = "household", success: bool = True, **changes: Any) -> Trajectory:
    identity = Identity("demo", "student", 0, task, 0, environment, "train", task_type="look")
    outcome = Outcome(float(success), success, StopReason.SUCCESS if success else StopReason.STEP_LIMIT)
    base = Trajectory(identity, Policy("tiny", 0, "react"), outcome, (), Counts(4, 200, 20, 8, 1), Times(1e9, 2.0))
    return replace(base, **changes)


@st.composite
def streams(draw: st.DrawFn) -> list[CompletedEpisode]:
    """Episodes of two steps in three environments, with distinct keys, in any order."""
    found = []
    for number in range(draw(st.integers(0, 24))):
        cause = draw(st.sampled_from([None, None, None, Cause.ENGINE, Cause.TOOL, Cause.AGENT]))
        failure = Failure("environment", "TimeoutError", "no answer", cause) if cause else None
        success = failure is None and draw(st.booleans())
        stop = StopReason.ERROR if failure else StopReason.SUCCESS if success else StopReason.STEP_LIMIT
        steps = draw(st.integers(0, 30))
        summary = episode(
            f"t{number}",
            draw(st.sampled_from(["household", "webshop", "math"])),
            outcome=Outcome(draw(st.floats(-1.0, 1.0, width=32)), success, stop, failure),
            counts=Counts(steps, draw(st.integers(0, 9999)), draw(st.integers(0, 999)), 3, draw(st.integers(0, steps))),
            times=Times(1.7e9 + draw(st.floats(0.0, 60.0)), draw(st.floats(0.0, 20.0))),
        )
        task_type = draw(st.sampled_from(["", "look", "heat"]))
        summary = replace(summary, identity=replace(summary.identity, task_type=task_type))
        found.append(CompletedEpisode(draw(st.sampled_from(STEPS)), summary))
    return found


def after(episodes: list[CompletedEpisode]) -> Snapshot:
    evaluator = Evaluator(EXPECTED)
    for completed in episodes:
        evaluator.update(completed)
    return evaluator.snapshot()


@settings(deadline=None, max_examples=10)  # each example bootstraps every group of the report
@given(streams(), st.randoms(use_true_random=False))
def test_figures_after_the_last_episode_equal_the_reports_in_any_order_and_with_duplicates(
    episodes: list[CompletedEpisode], random: Any
) -> None:
    report = build_report({step: [item.summary for item in episodes if item.step == step] for step in STEPS})
    arrivals = episodes + [item for item in episodes if random.random() < 0.3]
    random.shuffle(arrivals)
    found = after(arrivals)
    assert found == after(episodes)
    for step, environments in report["agents"].items():
        running = {name: row for name, row in found.steps[step].environments.items() if row.n or row.errors}
        assert running.keys() == environments.keys()
        for name, figures in environments.items():
            assert_equals_report(running[name], figures)


def assert_equals_report(running: EnvironmentFigures, figures: dict[str, Any]) -> None:
    assert (running.n, running.failures.causes) == (figures["n"], figures["causes"])
    assert (running.errors, running.failures.message) == (figures["errors"], figures["message"])
    assert running.means == ({metric: figures[metric] for metric in METRICS} if figures["n"] else {})
    assert list(running.success_ci95 or ()) == (figures["success_ci95"] or [])
    types = {name: (row.n, row.success, list(row.success_ci95)) for name, row in running.task_types.items()}
    reported = figures["task_types"].items()
    assert types == {name: (row["n"], row["success"], row["success_ci95"]) for name, row in reported if row["n"]}


@settings(deadline=None, max_examples=25)
@given(streams())
def test_step_figures_are_totals_over_environments(episodes: list[CompletedEpisode]) -> None:
    for step, figures in after(episodes).steps.items():
        ended = [item.summary for item in episodes if item.step == step]
        summaries = [summary for summary in ended if not is_owed(summary)]
        assert figures.n == len(summaries)
        assert figures.expected == sum(EXPECTED[step].values())
        assert figures.success == (sum(s.outcome.success for s in summaries) / len(summaries) if summaries else None)
        assert figures.errors == len(ended) - len(summaries)
        assert figures.output_tokens == sum(s.counts.output_tokens for s in summaries)


@settings(deadline=None, max_examples=25)
@given(streams())
def test_rates_use_the_reports_wall_clock_in_which_an_episode_ran(episodes: list[CompletedEpisode]) -> None:
    for step, figures in after(episodes).steps.items():
        summaries = [item.summary for item in episodes if item.step == step and not is_owed(item.summary)]
        busy = BusyTime()
        for times in (summary.times for summary in summaries):
            busy.add(times.started_unix_s, times.started_unix_s + times.total_s)
        if busy.seconds > 1e-3:
            assert figures.episodes_per_second == pytest.approx(len(summaries) / busy.seconds, rel=1e-2)


def test_a_pause_between_two_starts_of_a_run_does_not_lower_the_rate() -> None:
    starts = (100.0, 100.0, 101.0, 9000.0)
    episodes = [episode(f"t{i}", times=Times(start, 2.0)) for i, start in enumerate(starts)]
    figures = after([CompletedEpisode("student", item) for item in episodes]).steps["student"]
    assert figures.episodes_per_second == 4 / 5.0
    assert figures.output_tokens_per_second == 80 / 5.0


def test_every_update_returns_the_figures_so_far_against_the_expected_number() -> None:
    evaluator = Evaluator({"student": {"household": 3}})
    assert evaluator.snapshot().steps["student"].success is None
    seen = [
        evaluator.update(CompletedEpisode("student", episode(task, success=success))).steps["student"]
        for task, success in (("t0", True), ("t1", False), ("t1", False), ("t2", True))
    ]
    assert [(row.n, row.expected, row.success) for row in seen] == [
        (1, 3, 1.0),
        (2, 3, 0.5),
        (2, 3, 0.5),
        (3, 3, 2 / 3),
    ]
    assert [row.is_complete for row in seen] == [False, False, False, True]
    assert seen[-1].environments["household"].success_ci95 == wilson_ci95(2, 3)
    assert seen[-1].environments["household"].invalid_actions == 3


def test_the_same_key_in_two_steps_is_two_episodes() -> None:
    """Scoring stores an episode a second time under its own key."""
    found = after([CompletedEpisode(step, episode("t0")) for step in STEPS])
    assert [found.steps[step].n for step in STEPS] == [1, 1]


def failing(task: str, cause: Cause, message: str = "no answer") -> Trajectory:
    failure = Failure("engine", "TimeoutError", message, cause)
    return episode(task, outcome=Outcome(0.0, False, StopReason.ERROR, failure))


def test_failures_are_counted_by_cause_with_the_most_common_message_and_are_in_no_rate() -> None:
    episodes = [failing(f"t{i}", cause, f"error {i % 2}") for i, cause in enumerate([Cause.ENGINE, Cause.TOOL] * 2)]
    episodes += [failing("t4", Cause.ENGINE, "error 0"), episode("t9")]
    figures = after([CompletedEpisode("student", item) for item in episodes]).steps["student"]
    for found in (figures, figures.environments["household"]):
        assert found.failures == FailureFigures({"engine": 3, "tool": 2}, "TimeoutError: error 0")
        assert str(found.failures) == "engine 3, tool 2; mostly TimeoutError: error 0"
        assert (found.n, found.errors) == (1, 5)
    assert figures.success == 1.0


def test_an_episode_that_failed_and_is_completed_later_is_no_error_any_more() -> None:
    evaluator = Evaluator()
    seen = [
        evaluator.update(CompletedEpisode("student", item)).steps["student"]
        for item in (failing("t0", Cause.ENGINE), failing("t0", Cause.TOOL), episode("t0"), failing("t0", Cause.ENGINE))
    ]
    assert [(row.n, dict(row.failures.causes)) for row in seen] == [
        (0, {"engine": 1}),
        (0, {"tool": 1}),
        (1, {}),
        (1, {}),
    ]


def test_a_failure_that_the_agent_caused_is_a_result() -> None:
    figures = after([CompletedEpisode("student", failing("t0", Cause.AGENT))]).steps["student"]
    assert (figures.n, figures.errors, figures.success) == (1, 0, 0.0)


def test_steps_and_environments_that_were_not_expected_are_counted_with_an_unknown_total() -> None:
    found = Evaluator().update(CompletedEpisode("collect/teacher/0", episode("t0", "math")))
    (figures,) = found.steps.values()
    assert (figures.n, figures.expected, figures.is_complete) == (1, 0, False)


@settings(deadline=None, max_examples=25)
@given(streams())
def test_earlier_snapshots_do_not_change(episodes: list[CompletedEpisode]) -> None:
    evaluator = Evaluator(EXPECTED)
    found = [evaluator.update(item) for item in episodes]
    texts = [json.dumps(after(episodes[: i + 1]).to_json()) for i in range(len(episodes))]
    assert [json.dumps(snapshot.to_json()) for snapshot in found] == texts
    assert all(one != other for one, other in pairwise(found))


def test_a_snapshot_is_made_of_json_types() -> None:
    found = after([CompletedEpisode("student", episode("t0"))]).to_json()
    saved = json.loads(json.dumps(found))
    row = saved["steps"]["student"]["environments"]["household"]
    assert row["success_ci95"] == pytest.approx([0.20654, 1.0], abs=1e-5)
    assert row["means"]["steps"] == 4.0
    assert saved["steps"]["teacher"]["success"] is None


def test_a_resumed_evaluator_goes_on_from_the_episodes_in_the_stores(tmp_path: Path) -> None:
    episodes = [episode(f"t{i}", success=i % 3 == 0, times=Times(1e9 + i, 2.5)) for i in range(9)]
    store = TrajectoryStore(tmp_path / "student")
    store.write(episodes[:5])
    store.write(episodes[3:6])
    resumed = Evaluator.resume(EXPECTED, {"student": store.summaries()})
    assert resumed.snapshot() == after([CompletedEpisode("student", item) for item in episodes[:6]])
    for item in episodes:
        resumed.update(CompletedEpisode("student", item))
    assert resumed.snapshot() == after([CompletedEpisode("student", item) for item in episodes])


@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.randoms(use_true_random=False))
def test_a_mean_does_not_depend_on_the_order_of_its_values(values: list[float], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert ExactMean(shuffled).value == ExactMean(values).value


def test_a_mean_with_a_value_that_is_not_finite_is_not_finite() -> None:
    assert ExactMean([1.0, float("inf")]).value == float("inf")
    assert str(ExactMean([float("inf"), 1.0, float("-inf")]).value) == "nan"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9))))
def test_busy_time_is_the_number_of_seconds_that_any_interval_covers(intervals: list[tuple[int, int]]) -> None:
    busy = BusyTime()
    for start, length in intervals:
        busy.add(float(start), float(start + length))
    assert busy.seconds == len({second for start, length in intervals for second in range(start, start + length)})


def test_an_interval_that_cannot_be_is_ignored() -> None:
    busy = BusyTime()
    for start, stop in ((3.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        busy.add(start, stop)
    assert busy.seconds == 0.0


@settings(max_examples=60, deadline=None)
@given(streams(), st.integers(0, 24))
def test_figures_restored_from_tables_are_exactly_those_of_the_same_episodes_one_by_one(
    episodes: list[CompletedEpisode], cut: int
) -> None:
    completed = [each for each in episodes if not is_owed(each.summary)]
    restored = Evaluator(EXPECTED)
    for part in (completed[:cut], completed[cut:]):
        for step in STEPS:
            if summaries := [each.summary for each in part if each.step == step]:
                restored.restore(step, to_table(summaries).select(STORED_COLUMNS))
    assert restored.snapshot().to_json() == after(completed).to_json()


@given(st.lists(st.floats(), max_size=30))
def test_a_mean_of_many_values_at_once_is_that_of_one_by_one(values: list[float]) -> None:
    at_once = ExactMean()
    at_once.add_all(np.array(values))
    assert not values or repr(at_once.value) == repr(ExactMean(values).value)
