"""The command line: fast start, errors in one sentence, and runs that can be resumed."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from cluster.cli import main
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
ENDLESS = ("collect.teacher_episodes=5000", "teacher.engine.latency_s=0.02")
"""Episodes for more minutes than a test waits. Each does little, so that the wait costs little."""


def stillhouse(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process; gives the exit code and what it wrote to both streams."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0), out.getvalue(), err.getvalue()


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of scripted engines in one process."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    code, out, err = stillhouse("run", "smoke", "--run-dir", str(folder), "--address", "local")
    assert code == 0, err
    assert out.splitlines()[-1] == str(folder)
    return folder


def test_reading_a_recipe_imports_neither_torch_nor_ray() -> None:
    heavy = "{'torch', 'ray', 'transformers', 'vllm', 'deepspeed'}"
    code = (
        "import sys; from cluster.config.load import load_recipe, recipe_names\n"
        f"[load_recipe(name) for name in recipe_names()]; print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_help_names_every_command() -> None:
    code, out, _ = stillhouse("--help")
    assert code == 0
    for command in ("run", "rollout", "train", "evaluate", "submit", "status", "report", "list", "doctor", "bench"):
        assert command in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "quikstart"], "did you mean quickstart?"),
        (["run", "smoke", "sed=3"], "did you mean seed?"),
        (["run", "smoke", "rounds"], "write key=value"),
        (
            ["run", "smoke", "collect.teacher_episodes=-1"],
            "collect.teacher_episodes: must be greater than or equal to 0",
        ),
        (["status", "nowhere"], "is not a run directory"),
        (["report", "nowhere"], "is not a run directory"),
        (["list", "recipe"], "did you mean recipes?"),
        (["bench", "environment"], "did you mean environments?"),
        (["submit", "smoke", "--address", "ray://head:10001"], "http://HEAD:8265"),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_input_leaves_no_traceback_in_a_real_process() -> None:
    done = in_a_process("run", "smoke", "rounds=0")
    assert done.returncode == 2
    assert (
        done.stderr
        == "stillhouse: recipe smoke: rounds: must be greater than or equal to 1 (got 0); the default is 1.\n"
    )


def test_list_shows_recipes_engines_environments_and_tools(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def listed(what: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["list", what])
        assert end.value.code == 0
        return capsys.readouterr().out

    recipes = listed("recipes")
    assert all(name in recipes for name in ("quickstart", "household", "teacher", "base-student", "smoke"))
    assert "scripted" in listed("engines")
    assert "household" in listed("environments")
    tools = {line.split("  ")[0] for line in listed("tools").splitlines()}
    assert {"python", "search", "household act", "webshop click", "hotpotqa lookup"} <= tools


def test_doctor_exits_with_0_unless_a_check_is_broken() -> None:
    code, out, _ = stillhouse("doctor")
    assert "python" in out
    assert (code == 0) == ("broken" not in out)


def test_a_finished_run_has_every_file_of_the_layout(finished: Path) -> None:
    for name in ("recipe.yaml", "manifest.json", "metrics.jsonl", "report.json", "report.md", "report.html"):
        assert (finished / name).is_file(), name
    assert list((finished / "trajectories" / "teacher" / "round=000").glob("*.parquet"))
    assert list((finished / "evaluation" / "teacher").glob("*.parquet"))


def test_status_reports_finished_phases_and_steps(finished: Path) -> None:
    found = json.loads(stillhouse("status", str(finished), "--json")[1])
    assert set(found["phases"].values()) == {"done"}
    rows = {step["name"]: (step["done"], step["total"]) for step in found["steps"] if step["kind"] == "collect"}
    assert rows == {"collect/teacher/0": (4, 4), "collect/student/0": (2, 2)}
    assert "done" in stillhouse("status", str(finished))[1]


def test_report_is_rebuilt_from_the_stored_records(finished: Path) -> None:
    before = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    for name in ("report.json", "report.md", "report.html"):
        (finished / name).unlink()
    code, _, err = stillhouse("report", str(finished))
    assert code == 0, err
    assert json.loads((finished / "report.json").read_text(encoding="utf-8")) == before
    assert (finished / "report.html").is_file()


def test_running_a_finished_run_directory_changes_nothing(finished: Path) -> None:
    shards = sorted((finished / "trajectories").rglob("*.parquet"))
    code, out, err = stillhouse("run", str(finished), "--address", "local")
    assert code == 0, err
    assert out.splitlines()[-1] == str(finished)
    assert sorted((finished / "trajectories").rglob("*.parquet")) == shards


def test_another_recipe_in_the_same_folder_is_refused(finished: Path) -> None:
    code, _, err = stillhouse("run", "smoke", "seed=9", "--run-dir", str(finished))
    assert code == 2
    assert "differs in seed" in err


def restore_signals() -> None:
    """Restore Ctrl-C and the end of a terminal, which processes in the background of a shell or under nohup ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def interrupt_after_first_new_shard(arguments: list[str], folder: Path, number: signal.Signals) -> tuple[int, str, str]:
    before = len(list(folder.rglob("*.parquet")))
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.cli", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=restore_signals,
    )
    wait_until(lambda: len(list(folder.rglob("*.parquet"))) > before or process.poll() is not None, "a new shard")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def stored_episodes(folder: Path) -> int:
    found = json.loads(stillhouse("status", str(folder), "--json")[1])
    assert found["phases"]["rollout"] == "started"
    return sum(step["done"] for step in found["steps"] if step["kind"] == "collect")


def test_an_interrupted_run_keeps_finished_episodes_and_prints_how_to_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = ["rollout", "smoke", *ENDLESS, "--run-dir", str(folder), "--address", "local"]
    code, out, err = interrupt_after_first_new_shard(first, folder, signal.SIGINT)
    assert code == 130, err
    assert f"stillhouse rollout {folder} --address local" in err
    assert out.splitlines()[-1] == str(folder)
    assert "Traceback" not in err
    after_first = stored_episodes(folder)
    assert 0 < after_first < 5000

    again = ["rollout", str(folder), "--address", "local"]
    code, _, err = interrupt_after_first_new_shard(again, folder, signal.SIGTERM)
    assert code == 130, err
    assert after_first < stored_episodes(folder) < 5000


def test_a_terminal_that_closes_before_the_first_episode_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["run", "smoke", *ENDLESS, "--run-dir", str(folder), "--address", "local"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.cli", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=restore_signals,
    )
    wait_until(lambda: (folder / "manifest.json").exists() or process.poll() is not None, "the folder")
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=120)
    # Python ends by the signal itself if it came while a library executed a string; a shell reports both as 130.
    assert process.returncode in (130, -signal.SIGINT), err
    assert f"stillhouse run {folder} --address local" in err
    assert "Traceback" not in err


def test_bench_writes_figures_with_their_provenance(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    done = in_a_process("bench", "environments", "--seconds", "0.2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text(encoding="utf-8"))
    assert set(result) == {"name", "command", "versions", "hardware", "seeds", "figures", "ratios"}
    assert result["command"] == f"stillhouse bench environments --seconds 0.2 --json {file}"
    assert result["figures"]
