"""The screen: bars on a terminal, plain lines every few seconds elsewhere; rates are those of this start of the run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cluster.run.progress import PLAIN_INTERVAL_S, Screen
from rollout.trajectory import Counts, Failure, Identity, Outcome, Policy, StopReason, Times, Trajectory


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def summary(success: bool, failure: Failure | None = None, total_s: float = 60.0) -> Trajectory:
    stop = StopReason.SUCCESS if success else StopReason.STEP_LIMIT
    return Trajectory(
        Identity("run", "teacher", 0, "task", 0, "household", "train"),
        Policy("model", 0, "react"),
        Outcome(float(success), success, stop, failure),
        (),
        Counts(steps=3, output_tokens=50),
        Times(total_s=total_s),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plain(clock: Clock) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(file, clock), file


def test_off_a_terminal_a_row_prints_its_start_its_end_and_a_line_every_few_seconds(
    plain: tuple[Screen, io.StringIO], clock: Clock
) -> None:
    screen, file = plain
    with screen.shown():
        screen.begin("collect", "teacher collects", 100)
        for _ in range(10):
            screen.episode("collect", summary(True))
        clock.now_s += PLAIN_INTERVAL_S
        screen.episode("collect", summary(False))
        screen.end("collect")
    lines = file.getvalue().splitlines()
    assert lines[0] == "teacher collects: 0 of 100 episodes"
    assert lines[1] == "teacher collects: 11 of 100 episodes · 2.2 episodes/s · 110 tokens/s · success 91%"
    assert len(lines) == 3
    assert lines[2].endswith("· 5.0 s")


def test_episodes_of_an_earlier_start_count_as_done_but_not_in_the_rates(
    plain: tuple[Screen, io.StringIO], clock: Clock
) -> None:
    screen, file = plain
    screen.begin("collect", "teacher collects", 100, resumed=90)
    clock.now_s += 10
    screen.episode("collect", summary(True))
    assert "91 of 100 episodes · 0.1 episodes/s" in file.getvalue()
    assert "success 100%" in file.getvalue()


def test_episodes_that_ended_by_an_error_are_counted_in_sight(plain: tuple[Screen, io.StringIO], clock: Clock) -> None:
    screen, file = plain
    screen.begin("collect", "teacher collects", 2)
    clock.now_s += PLAIN_INTERVAL_S
    screen.episode("collect", summary(False, Failure("engine", "TimeoutError", "no answer")))
    assert "1 ended by an error" in file.getvalue()


def test_what_waited_behind_other_work_is_timed_from_its_first_episode(
    plain: tuple[Screen, io.StringIO], clock: Clock
) -> None:
    screen, file = plain
    screen.begin("evaluate", "evaluate teacher", 9)
    clock.now_s += 100
    screen.episode("evaluate", summary(True, total_s=4))
    assert "0.2 episodes/s" in file.getvalue()


def test_training_shows_percent_and_its_figures(plain: tuple[Screen, io.StringIO], clock: Clock) -> None:
    screen, file = plain
    screen.begin("train", "train round 0", 100, unit="%")
    clock.now_s += PLAIN_INTERVAL_S
    screen.progress("train", 37, {"step": 1200, "loss": 0.25, "tokens/s": 3456.7})
    assert "train round 0: 37 % · step 1,200 · loss 0.2500 · tokens/s 3,457" in file.getvalue()


def test_text_in_square_brackets_is_shown_as_it_is(plain: tuple[Screen, io.StringIO]) -> None:
    screen, file = plain
    screen.note("kept in runs/[red]x[/red]")
    assert "[red]x[/red]" in file.getvalue()


def test_a_terminal_shows_one_line_a_row_with_title_count_and_success(clock: Clock) -> None:
    screen = Screen(io.StringIO(), clock)
    screen.begin("a", "teacher collects", 4)
    screen.begin("b", "student engine starts", 0, unit="")
    clock.now_s += 2
    screen.episode("a", summary(True))
    console = Console(file=io.StringIO(), force_terminal=True, width=140, color_system=None)
    with console.capture() as shown:
        console.print(screen.render())
    lines = shown.get().splitlines()
    assert len(lines) == 2
    assert "teacher collects" in lines[0]
    assert "1 of 4 episodes" in lines[0]
    assert "success 100%" in lines[0]
    assert "student engine starts" in lines[1]


def test_a_report_becomes_a_table_of_one_row_an_agent_and_environment(plain: tuple[Screen, io.StringIO]) -> None:
    screen, file = plain
    figures = {"n": 120, "success": 0.5, "success_ci95": [0.41, 0.59], "steps": 12.25, "output_tokens": 301.0}
    screen.report({"agents": {"teacher": {"household": figures}, "student": {}}})
    row = next(line for line in file.getvalue().splitlines() if "teacher" in line)
    assert all(cell in row for cell in ("household", "120", "50.0%", "41% – 59%", "12.2", "301"))
