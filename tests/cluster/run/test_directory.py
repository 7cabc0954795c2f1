"""Run directories: one recipe, one driver at a time, and atomic writes."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cluster.config.load import load_recipe
from cluster.config.recipe import Recipe
from cluster.run.directory import (
    DISK_FULL,
    RunDirectory,
    default_run_directory,
    digest_tasks,
    open_read_only,
    open_run,
    translate_os_errors,
)
from rollout.environment import Task
from rollout.errors import UserError

ROOT = Path(__file__).parents[3]
ENDPOINT = [
    "teacher.engine={type: openai, base_url: 'http://localhost:1/v1', model: m, tokenizer: x/y}",
    "retrieval={corpus: passages.jsonl}",
]
"""Overrides that add requests with their own timeouts and retries."""


def add_episode(folder: Path) -> None:
    """A file where a run keeps episodes."""
    store = folder / "trajectories" / "teacher" / "round=000"
    store.mkdir(parents=True)
    (store / "shard.parquet").write_bytes(b"")


def refuse(run: RunDirectory, after: Callable[[Path], None] = lambda _: None) -> None:
    run.log_metrics({"kind": "phase"})
    after(run.path)
    raise UserError("refused")


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("smoke")


def test_a_new_run_records_its_recipe_and_provenance(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path / "run", recipe, command=["stillhouse", "run", "smoke"]) as run:
        manifest = run.manifest()
    assert load_recipe(str(tmp_path / "run")) == recipe
    assert manifest["seeds"] == [recipe.seed]
    assert "pydantic" in manifest["versions"]
    assert manifest["commands"][0]["argv"] == ["stillhouse", "run", "smoke"]


def test_the_same_recipe_resumes_the_run_and_adds_its_command(tmp_path: Path, recipe: Recipe) -> None:
    for command in ("first", "second"):
        with open_run(tmp_path, recipe, command=[command]) as run:
            commands = [entry["argv"] for entry in run.manifest()["commands"]]
    assert commands == [["first"], ["second"]]


def test_another_recipe_is_refused_with_the_settings_that_differ(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe):
        add_episode(tmp_path)
    other = load_recipe("smoke", ["collect.teacher_episodes=7", "seed=5"])
    with (
        pytest.raises(UserError, match=r"differs in seed, collect.teacher_episodes.*--run-dir"),
        open_run(tmp_path, other),
    ):
        pass
    assert open_read_only(tmp_path).manifest()["seeds"] == [recipe.seed]


def test_a_run_may_be_resumed_with_more_workers(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe):
        pass
    wider = load_recipe("smoke", ["teacher.workers=3", "teacher.resources.cpus=2", "description=wider"])
    with open_run(tmp_path, wider):
        pass
    assert load_recipe(str(tmp_path)).teacher.workers == 3


@pytest.mark.parametrize(
    "change",
    [
        "failures.teacher.max_restarts=0",
        "failures.learner.max_failures=5",
        "failures.episode={max_retries: 3, close_timeout_s: 2}",
        "teacher.engine.timeout_s=600",
        "teacher.engine.max_retries=0",
        "retrieval.client={timeout_s: 20, retries: 1, retry_wait_s: 0.5}",
    ],
)
def test_a_run_may_be_resumed_with_other_failure_policies(tmp_path: Path, change: str) -> None:
    with open_run(tmp_path, load_recipe("smoke", ENDPOINT)):
        pass
    with open_run(tmp_path, load_recipe("smoke", [*ENDPOINT, change])):
        pass
    assert load_recipe(str(tmp_path)) == load_recipe("smoke", [*ENDPOINT, change])


@pytest.mark.parametrize("change", ["agent.step_timeout_s=60", "agent.time_limit_s=60", "retrieval.k=7"])
def test_limits_that_decide_how_an_episode_ends_make_another_recipe(tmp_path: Path, change: str) -> None:
    with open_run(tmp_path, load_recipe("smoke", ENDPOINT)):
        add_episode(tmp_path)
    with (
        pytest.raises(UserError, match=rf"differs in {change.partition('=')[0]}\)"),
        open_run(tmp_path, load_recipe("smoke", [*ENDPOINT, change])),
    ):
        pass


def test_a_run_made_before_there_were_failure_policies_is_read_and_resumed(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe) as run:
        saved = yaml.safe_load(run.recipe_file.read_text())
        del saved["failures"]
        run.recipe_file.write_text(yaml.safe_dump(saved))
    assert load_recipe(str(tmp_path)) == recipe
    with open_run(tmp_path, load_recipe("smoke", ["failures.student.max_restarts=9"])):
        pass
    assert load_recipe(str(tmp_path)).failures.student.max_restarts == 9


def test_a_run_made_before_a_setting_existed_is_resumed_with_its_default(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe) as run:
        add_episode(tmp_path)
    saved = yaml.safe_load(run.recipe_file.read_text())
    del saved["agent"]["tools"], saved["agent"]["passages"]
    run.recipe_file.write_text(yaml.safe_dump(saved))
    with open_run(tmp_path, recipe):
        pass
    other = load_recipe("smoke", ["agent.passages=3"])
    with pytest.raises(UserError, match=r"differs in agent\.passages"), open_run(tmp_path, other):
        pass


def test_a_folder_without_episodes_is_taken_by_another_recipe(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe) as run:
        run.record_split("train", [])
        run.log_metrics({"kind": "phase"})
        Path(run.evaluation("teacher")).mkdir(parents=True)
    other = load_recipe("smoke", ["seed=5"])
    with open_run(tmp_path, other) as run:
        assert run.manifest()["seeds"] == [5]
        assert "splits" not in run.manifest()
        assert run.read_metrics() == []
        assert run.stores() == {}
    assert load_recipe(str(tmp_path)) == other


@pytest.mark.parametrize("parents", [(), ("runs", "mine")])
def test_a_refused_run_leaves_no_folder(tmp_path: Path, recipe: Recipe, parents: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="refused"), open_run(tmp_path.joinpath(*parents), recipe) as run:
        refuse(run)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_keeps_its_folder_once_there_is_an_episode(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(UserError, match="refused"), open_run(tmp_path / "run", recipe) as run:
        refuse(run, after=add_episode)
    with open_run(tmp_path / "run", recipe) as run:
        assert len(run.manifest()["commands"]) == 2


@pytest.mark.parametrize("name", ["manifest.json", "report.md", "hints.parquet", "logs/mine.txt"])
def test_files_of_others_are_never_deleted_even_if_a_run_would_name_them_so(
    tmp_path: Path, recipe: Recipe, name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="but no recipe.yaml"), open_run(tmp_path, recipe):
        pass
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "3"])
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, recipe: Recipe, content: str) -> None:
    with open_run(tmp_path, recipe) as run:
        add_episode(tmp_path)
    run.manifest_file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest.json is no JSON object .*delete it"), open_run(tmp_path, recipe):
        pass


@pytest.mark.parametrize("content", ["", "[1]", "{", "a: &a [*a]", "\0"])
def test_a_damaged_saved_recipe_is_one_sentence_where_there_are_episodes(
    tmp_path: Path, recipe: Recipe, content: str
) -> None:
    with open_run(tmp_path, recipe) as run:
        pass
    run.recipe_file.write_text(content, encoding="utf-8")
    with open_run(tmp_path, recipe):
        add_episode(tmp_path)
    assert load_recipe(str(tmp_path)) == recipe
    run.recipe_file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"recipe.yaml (cannot be read|holds no settings)"), open_run(tmp_path, recipe):
        pass


def test_a_second_driver_is_refused_while_the_first_is_alive(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe), pytest.raises(UserError, match="another driver"), open_run(tmp_path, recipe):
        pass
    with open_run(tmp_path, recipe):
        pass


def test_a_killed_driver_leaves_no_lock(tmp_path: Path, recipe: Recipe) -> None:
    hold = (
        "import sys, time; from cluster.config.load import load_recipe; from cluster.run.directory import open_run\n"
        "with open_run(sys.argv[1], load_recipe('smoke')): print('held', flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {driver.pid}"), open_run(tmp_path, recipe):
        pass
    driver.kill()
    driver.communicate()
    with open_run(tmp_path, recipe):
        pass


def test_a_folder_with_other_files_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="thesis.tex"), open_run(tmp_path, recipe):
        pass
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_file_at_the_path_of_the_folder_is_a_clear_error(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="choose another folder"), open_run(path, recipe):
            pass


@pytest.mark.parametrize(
    "path", ["/proc/x", "/proc/x/y", "/sys/x", "/dev/null/x", "x" * 300, f"a/{'x' * 300}/b", "", " "]
)
def test_a_place_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, recipe: Recipe, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--run-dir") as caught, open_run(path, recipe):
        pass
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_does_not_exist_is_one_sentence(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="does not begin with ~"), open_run("~nobody-of-this-name/x", recipe):
        pass


def test_a_full_disk_is_one_sentence_and_other_errors_propagate(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="no space left on the disk of .*shard"),
        translate_os_errors(DISK_FULL, tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "shard")
    with pytest.raises(ConnectionRefusedError), translate_os_errors(DISK_FULL, tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_metrics_are_flushed_at_once_and_only_a_partial_line_is_lost(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe) as run:
        run.log_metrics({"step": 1})
        assert [row["step"] for row in open_read_only(tmp_path).read_metrics()] == [1]
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "lo')
    with open_run(tmp_path, recipe) as run:
        run.log_metrics({"step": 3})
    assert [row["step"] for row in open_read_only(tmp_path).read_metrics()] == [1, 3]


def test_stores_are_found_by_role_and_round(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe) as run:
        for uri in (run.trajectories("teacher", 0), run.trajectories("teacher", 12), run.evaluation("student")):
            Path(uri).mkdir(parents=True)
        assert Path(run.trajectories("teacher", 12)).name == "round=012"
        assert list(run.stores()) == [("teacher", 0), ("teacher", 12), ("student", None)]


def test_splits_are_recorded_by_a_digest_of_their_tasks(tmp_path: Path, recipe: Recipe) -> None:
    tasks = [Task(id=f"household/train/{i}", environment="household", split="train", task_type="x") for i in range(3)]
    with open_run(tmp_path, recipe) as run:
        run.record_split("train", tasks)
        run.record_split("valid_unseen", tasks[:1])
    splits = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["splits"]
    assert splits["train"] == {"tasks": 3, "sha256": digest_tasks(tasks)}
    assert splits["valid_unseen"]["sha256"] != splits["train"]["sha256"]


def test_a_folder_that_is_no_run_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_read_only(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"has no recipe\.yaml"):
        open_read_only(tmp_path)


def test_a_run_is_named_after_its_recipe(recipe: Recipe) -> None:
    assert default_run_directory(recipe).parent == Path("runs")
    assert default_run_directory(recipe).name.startswith("smoke-")


def test_the_saved_recipe_is_plain_yaml(tmp_path: Path, recipe: Recipe) -> None:
    with open_run(tmp_path, recipe) as run:
        saved = yaml.safe_load(run.recipe_file.read_text(encoding="utf-8"))
    assert Recipe.model_validate(saved) == recipe
