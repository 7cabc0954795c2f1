"""Figures of a study's arms: over completed episodes only, compared over those that all arms completed."""

from __future__ import annotations

from cluster.study.results import arm_metrics, pair_arms
from evaluation.records import EpisodeRecord
from rollout.errors import Cause, Failure


def test_an_episode_that_an_arm_did_not_complete_is_in_no_figure_and_dropped_for_all_arms_of_its_seed() -> None:
    failure = Failure("engine", "EngineUnavailable", "no answer", Cause.ENGINE)
    fields = {"environment": "math", "split": "test", "task_type": "", "score": 0.0, "scores": {}, "steps": 4}
    fields |= dict.fromkeys(("prompt_tokens", "output_tokens", "reason_tokens"), 9) | {"seconds": 1.0}

    def records(outcomes: str) -> list[EpisodeRecord]:
        """One episode per task: 1 is a success, x was not completed."""
        return [
            EpisodeRecord(**fields, invalid_action_rate=0.0, task=f"t{number}", success=outcome == "1")  # type: ignore[arg-type]
            if outcome != "x"
            else EpisodeRecord(**fields, invalid_action_rate=0.0, task=f"t{number}", success=False, failure=failure)  # type: ignore[arg-type]
            for number, outcome in enumerate(outcomes)
        ]

    episodes = {"a": {0: records("1x1"), 1: records("111")}, "b": {0: records("000")}, "c": {0: records("010")}}
    assert (arm_metrics(episodes["a"])["n"], arm_metrics(episodes["a"])["errors"]) == (5, 1)
    assert arm_metrics(episodes["a"])["success"] == 1.0
    paired, dropped = pair_arms(episodes)
    assert dropped == 1
    assert {arm: {seed: len(found) for seed, found in by_seed.items()} for arm, by_seed in paired.items()} == {
        "a": {0: 2, 1: 3},
        "b": {0: 2},
        "c": {0: 2},
    }
