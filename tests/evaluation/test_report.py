"""The report follows the schema-1 contract: constant keys, finite JSON numbers and a self-contained HTML page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evaluation.records import episode_record
from evaluation.report import LearnerFigures, RolloutFigures, build_report, write_report
from evaluation.tables import render_markdown
from rollout.trajectory import Cause, Counts, Failure, Identity, Outcome, Policy, StopReason, Times, Trajectory

FIGURES = {
    "n",
    "errors",
    "causes",
    "message",
    "complete",
    "success",
    "success_ci95",
    "score",
    "steps",
    "prompt_tokens",
    "output_tokens",
    "reason_tokens",
    "invalid_action_rate",
    "seconds",
}


def episode(task: str, *, success: bool = True, role: str = "student", steps: int = 4, **identity: Any) -> Trajectory:
    """A summary: no segments."""
    where = {"environment": "household", "split": "valid_unseen", "task_type": "look", **identity}
    return Trajectory(
        identity=Identity(run="demo", role=role, round=0, task=task, attempt=0, **where),
        policy=Policy("tiny", 0, "react"),
        outcome=Outcome(float(success), success, StopReason.SUCCESS if success else StopReason.STEP_LIMIT),
        segments=(),
        counts=Counts(steps, prompt_tokens=50 * steps, output_tokens=5 * steps, reason_tokens=2 * steps),
        times=Times(total_s=0.5 * steps),
    )


def failed(task: str, cause: Cause = Cause.ENGINE) -> Trajectory:
    whole = episode(task, success=False, steps=0)
    outcome = Outcome(0.0, False, StopReason.ERROR, Failure("engine", "TimeoutError", "no answer", cause))
    return Trajectory(whole.identity, whole.policy, outcome, ())


def full_report() -> dict[str, Any]:
    agents = {
        "teacher": [episode(f"t{index}", steps=4) for index in range(4)],
        "student_before": [episode(f"t{index}", success=False, steps=10) for index in range(4)],
        "student": [episode(f"t{index}", success=index > 0, steps=6) for index in range(4)],
    }
    return build_report(
        agents,
        rollouts=RolloutFigures(episodes=120, seconds=60.0, errors=2),
        learner=LearnerFigures(steps=10, tokens_per_second=5000.0, loss_first=2.0, loss_last=0.5),
        wall_seconds={"collect": 60.0, "learn": 30.0, "evaluate": 5.0},
        run="demo",
    )


def test_the_report_has_the_keys_of_the_contract() -> None:
    report = full_report()
    assert list(report) == ["schema", "run", "agents", "comparisons", "failed", "rollouts", "learner", "wall_seconds"]
    assert report["schema"] == 1
    assert list(report["agents"]) == ["teacher", "student_before", "student"]
    assert set(report["agents"]["student"]["household"]) >= FIGURES
    assert report["rollouts"] == {"episodes": 120, "episodes_per_second": 2.0, "errors": 2}
    assert report["learner"] == {"steps": 10, "tokens_per_second": 5000.0, "loss_first": 2.0, "loss_last": 0.5}
    for row in report["comparisons"]:
        assert set(row) == {"a", "b", "environment", "metric", "difference", "ci95", "n_pairs", "n_dropped"}


def test_figures_are_means_per_episode() -> None:
    figures = full_report()["agents"]["student"]["household"]
    assert (figures["n"], figures["success"], figures["steps"], figures["seconds"]) == (4, 0.75, 6.0, 3.0)
    assert (figures["prompt_tokens"], figures["output_tokens"], figures["reason_tokens"]) == (300.0, 30.0, 12.0)
    assert figures["success_ci95"] == pytest.approx([0.30064, 0.95441], abs=1e-5)


def test_each_agent_is_compared_with_every_agent_before_it() -> None:
    rows = {(row["a"], row["b"], row["metric"]): row for row in full_report()["comparisons"]}
    assert rows["student", "student_before", "success"]["difference"] == 0.75
    assert rows["student", "teacher", "steps"]["difference"] == 2.0
    assert ("teacher", "student", "success") not in rows
    assert all(row["n_pairs"] == 4 for row in rows.values())


def test_figures_are_broken_down_by_task_type() -> None:
    episodes = [episode("t1", task_type="look"), episode("t2", task_type="heat", success=False)]
    kinds = build_report({"student": episodes})["agents"]["student"]["household"]["task_types"]
    assert {name: (kind["n"], kind["success"]) for name, kind in kinds.items()} == {"heat": (1, 0.0), "look": (1, 1.0)}


def test_further_scores_of_an_environment_are_reported_if_there_are_any() -> None:
    whole = episode("t1", environment="hotpotqa")
    scored = replace(whole, outcome=replace(whole.outcome, scores={"f1": 0.8}))
    report = build_report({"student": [scored, episode("t2", environment="hotpotqa"), episode("t1")]})
    assert report["agents"]["student"]["hotpotqa"]["scores"] == {"f1": 0.4}
    assert "scores" not in report["agents"]["student"]["household"]
    assert "| student | hotpotqa | f1 | 2 | 0 | 0.400 |" in render_markdown(report)


def test_environments_are_reported_separately() -> None:
    episodes = [episode("t1"), episode("t1", environment="shop", success=False)]
    report = build_report({"a": [episode("t1")], "b": episodes})
    assert {name: figures["n"] for name, figures in report["agents"]["b"].items()} == {"household": 1, "shop": 1}
    assert {row["environment"] for row in report["comparisons"]} == {"household"}


def test_an_episode_that_failed_through_no_fault_of_the_agent_is_in_no_rate() -> None:
    episodes = [episode("t1"), failed("t2")]
    figures = build_report({"student": episodes})["agents"]["student"]["household"]
    assert (figures["n"], figures["success"], figures["steps"], figures["errors"]) == (1, 1.0, 4.0, 1)
    assert (figures["causes"], figures["message"]) == ({"engine": 1}, "TimeoutError: no answer")
    assert figures["task_types"]["look"]["errors"] == 1


def test_a_failure_that_the_agent_caused_is_a_result() -> None:
    episodes = [episode("t1"), failed("t2", Cause.AGENT)]
    figures = build_report({"student": episodes})["agents"]["student"]["household"]
    assert (figures["n"], figures["success"], figures["errors"]) == (2, 0.5, 0)


def test_a_rate_is_marked_as_incomplete_if_more_than_5_percent_of_the_episodes_failed(tmp_path: Path) -> None:
    done = [episode(f"t{number}") for number in range(19)]
    for errors, mark in ((1, ""), (2, " (incomplete)")):
        write_report(tmp_path, build_report({"student": [*done, *(failed(f"e{number}") for number in range(errors))]}))
        assert f"| student | household | 19 | {errors} (engine {errors}) | 1.000 [0.832, 1.000]{mark} |" in (
            (tmp_path / "report.md").read_text()
        )
        assert ("(incomplete)" in (tmp_path / "report.html").read_text()) == bool(mark)


def test_an_agent_of_which_no_episode_was_completed_has_no_rate(tmp_path: Path) -> None:
    write_report(tmp_path, build_report({"teacher": [episode("t1")], "student": [failed("t1"), failed("t2")]}))
    figures = json.loads((tmp_path / "report.json").read_text())["agents"]["student"]["household"]
    assert (figures["n"], figures["errors"], figures["success"], figures["success_ci95"]) == (0, 2, None, None)
    assert "| student | household | 0 | 2 (engine 2) | – (incomplete) |" in (tmp_path / "report.md").read_text()
    assert "none completed" in (tmp_path / "report.html").read_text()


def test_an_episode_that_one_agent_did_not_complete_is_dropped_for_all_agents_in_comparisons() -> None:
    """Also where that agent is not part of the comparison, so that all differences are over the same tasks."""
    agents = {
        "teacher": [episode("t1"), episode("t2")],
        "student_before": [episode("t1", success=False), episode("t2")],
        "student": [failed("t1"), episode("t2")],
    }
    report = build_report(agents)
    rows = {(row["a"], row["b"]): row for row in report["comparisons"] if row["metric"] == "success"}
    assert {pair: (row["n_pairs"], row["n_dropped"]) for pair, row in rows.items()} == {
        ("student_before", "teacher"): (1, 1),
        ("student", "teacher"): (1, 1),
        ("student", "student_before"): (1, 1),
    }
    assert rows["student_before", "teacher"]["difference"] == 0.0
    assert report["agents"]["teacher"]["household"]["n"] == 2


def test_only_the_attempt_that_failed_is_dropped() -> None:
    second = [
        replace(done, identity=replace(done.identity, attempt=1)) for done in (episode("t1"), episode("t1", steps=8))
    ]
    report = build_report({"a": [failed("t1"), second[0]], "b": [episode("t1", steps=100), second[1]]})
    [row] = [row for row in report["comparisons"] if row["metric"] == "steps"]
    assert (row["difference"], row["n_pairs"]) == (4.0, 1)


def test_failed_episodes_are_named() -> None:
    row = {"step": "evaluate/student", "task": "t7", "attempt": 0, "cause": "environment", "type": "KeyError"}
    row |= {"message": "'x'", "attempts": 3, "given_up": True}
    text = render_markdown(build_report({}, failed=[row]))
    assert "| evaluate/student | t7 | 0 | environment | KeyError: 'x' | 3 | given up |" in text


def test_the_invalid_action_rate_is_a_fraction_of_the_steps() -> None:
    whole = episode("t1")
    half = Trajectory(whole.identity, whole.policy, whole.outcome, (), Counts(steps=4, invalid_actions=2))
    assert episode_record(half).invalid_action_rate == 0.5
    assert episode_record(failed("t2")).invalid_action_rate == 0.0


def test_a_run_without_evaluation_still_has_a_report(tmp_path: Path) -> None:
    report = build_report({"teacher": [], "student": []}, comparisons=[("student", "nobody")])
    write_report(tmp_path, report)
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["agents"] == {"teacher": {}, "student": {}}
    assert saved["comparisons"] == []
    assert saved["rollouts"] == {"episodes": 0, "episodes_per_second": None, "errors": 0}
    assert "No episodes" in (tmp_path / "report.html").read_text()


def test_report_files_are_finite_sorted_and_replaced_atomically(tmp_path: Path) -> None:
    write_report(tmp_path, full_report())
    report = full_report() | {"learner": {"steps": 1, "tokens_per_second": 1.0, "loss_first": 9.0, "loss_last": 1e999}}
    write_report(tmp_path, report)
    text = (tmp_path / "report.json").read_text()
    saved = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON number"))
    assert saved["learner"]["loss_last"] is None
    assert text == json.dumps(saved, indent=2, sort_keys=True) + "\n"
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md", "report.html"}


def test_markdown_shows_every_agent_with_its_interval(tmp_path: Path) -> None:
    write_report(tmp_path, full_report())
    text = (tmp_path / "report.md").read_text()
    assert "| student | household | 4 | 0 | 0.750 [0.301, 0.954] |" in text
    assert "| student − student_before | household | success | +0.750 |" in text
    assert "| learn | 30.0 |" in text


class Tags(HTMLParser):
    """Collects the tags, attributes and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.addresses: list[str | None] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_the_page_escapes_names_and_loads_nothing(tmp_path: Path) -> None:
    name = "<script>alert('x')</script>|&\" onload=\"alert(1)"
    write_report(tmp_path, build_report({name: [episode("t1", environment=name, task_type=name)]}, run=name))
    page = Tags()
    page.feed((tmp_path / "report.html").read_text())
    assert page.addresses == []
    assert "script" not in page.tags
    assert page.attributes == {"lang", "charset", "name", "content", "class", "style"}
    assert page.tags.count("tr") >= 4
    assert name in page.cells
    assert "<script" not in (tmp_path / "report.md").read_text()
