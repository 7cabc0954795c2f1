"""Progress display: bars on a terminal, plain lines every few seconds elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cluster.run.progress import PLAIN_INTERVAL_S, Screen
from evaluation.evaluator import StepFigures
from evaluation.failures import FailureFigures


class Clock:
    """A clock that only advances when the test sets it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


FIGURES = StepFigures(
    n=11, expected=100, success=10 / 11, episodes_per_second=2.2, output_tokens=550, output_tokens_per_second=110.0
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plain(clock: Clock) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(file, clock), file


def test_without_a_terminal_a_row_prints_its_start_its_end_and_a_line_every_few_seconds(
    plain: tuple[Screen, io.StringIO], clock: Clock
) -> None:
    screen, file = plain
    with screen.display():
        screen.begin("collect", "teacher collects", 100)
        for n in range(1, 11):
            screen.episodes("collect", replace(FIGURES, n=n))
        clock.now_s += PLAIN_INTERVAL_S
        screen.episodes("collect", FIGURES)
        screen.end("collect")
    lines = file.getvalue().splitlines()
    assert lines[0] == "teacher collects: 0 of 100 episodes"
    assert lines[1] == "teacher collects: 11 of 100 episodes · 2.2 episodes/s · 110 tokens/s · success 91%"
    assert len(lines) == 3
    assert lines[2].endswith("· 5.0 s")


@pytest.mark.parametrize("n", [0, 11])
def test_failed_episodes_are_counted_by_cause_with_the_most_common_message(
    plain: tuple[Screen, io.StringIO], clock: Clock, n: int
) -> None:
    screen, file = plain
    screen.begin("collect", "teacher collects", 100)
    clock.now_s += PLAIN_INTERVAL_S
    failures = FailureFigures({"engine": 5, "tool": 1}, "EngineUnavailable: no route")
    screen.episodes("collect", replace(FIGURES, n=n, success=0.5 if n else None, failures=failures))
    screen.end("collect")
    lines = file.getvalue().splitlines()
    assert lines[1].startswith(f"teacher collects: {n} of 100 episodes")
    assert lines[1].endswith("errors 6 (engine 5, tool 1; mostly EngineUnavailable: no route)")
    assert lines[2].startswith(f"teacher collects: {n} of 100 episodes")


def test_training_shows_percent_and_its_figures(plain: tuple[Screen, io.StringIO], clock: Clock) -> None:
    screen, file = plain
    screen.begin("train", "train round 0", 100, unit="%")
    clock.now_s += PLAIN_INTERVAL_S
    screen.progress("train", 37, {"step": 1200, "loss": 0.25, "tokens/s": 3456.7})
    assert "train round 0: 37 % · step 1,200 · loss 0.2500 · tokens/s 3,457" in file.getvalue()


def test_text_in_square_brackets_is_printed_literally(plain: tuple[Screen, io.StringIO]) -> None:
    screen, file = plain
    screen.note("kept in runs/[red]x[/red]")
    assert "[red]x[/red]" in file.getvalue()


def test_a_terminal_shows_each_row_on_one_line_with_title_count_and_success(clock: Clock) -> None:
    screen = Screen(io.StringIO(), clock)
    screen.begin("a", "teacher collects", 4)
    screen.begin("b", "student engine starts", 0, unit="")
    screen.episodes("a", replace(FIGURES, n=1, success=1.0))
    console = Console(file=io.StringIO(), force_terminal=True, width=140, color_system=None)
    with console.capture() as shown:
        console.print(screen.render())
    lines = shown.get().splitlines()
    assert len(lines) == 2
    assert "teacher collects" in lines[0]
    assert "1 of 4 episodes" in lines[0]
    assert "success 100%" in lines[0]
    assert "student engine starts" in lines[1]


def test_a_report_is_printed_as_a_table_of_agents_and_environments(
    plain: tuple[Screen, io.StringIO],
) -> None:
    screen, file = plain
    figures = {"n": 120, "errors": 30, "complete": False, "success": 0.5, "success_ci95": [0.41, 0.59]}
    figures |= {"steps": 12.25, "output_tokens": 301.0}
    dead = {**dict.fromkeys(figures), "n": 0, "errors": 6}
    screen.report({"agents": {"teacher": {"household": figures}, "student_before": {"household": dead}, "student": {}}})
    lines = file.getvalue().splitlines()
    row = next(line for line in lines if "teacher" in line)
    assert row.split(maxsplit=4) == ["teacher", "household", "120", "30", row.split(maxsplit=4)[-1]]
    assert all(cell in row for cell in ("50.0% (incomplete)", "41% – 59%", "12.2", "301"))
    assert next(line for line in lines if "student_before" in line).split()[2:] == ["0", "6", *"––––"]
