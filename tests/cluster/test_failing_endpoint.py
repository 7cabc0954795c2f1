"""A run whose teacher is an HTTP server that fails: none of that is a result, and the same command completes it."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from cluster.config.recipe import Recipe
from cluster.driver import PHASES, run
from cluster.run.directory import open_read_only, open_run, recipe_yaml
from cluster.run.failed_episodes import IncompleteError
from cluster.run.progress import Screen
from cluster.run.status import describe, run_status
from rollout.errors import UserError
from rollout.trajectory import StopReason
from rollout.trajectory.store import TrajectoryStore

MakeRecipe = Callable[..., Recipe]
EPISODES, TURNS = 8, 2
HEALTHY = 7 * TURNS
"""Requests that are answered before the server fails: a few episodes, and what an engine asks before the first one."""
Fail = Callable[[str], "int | None"]


class Server(ThreadingHTTPServer):
    """Completes prompts. After ``healthy`` requests it answers those that ``fail`` names with a status; 0 closes the
    connection without an answer, and -1 never answers."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.healthy = 10**9
        self.fail: Fail = lambda prompt: None
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def status(self, prompt: str) -> int:
        with self.lock:
            self.healthy -= 1
            status = self.fail(prompt) if self.healthy < 0 else None
        return 200 if status is None else status

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.status(str(body["prompt"]))
        if status == -1:
            self.server.release.wait(20)
        if status <= 0:
            self.close_connection = True
            return
        choice = {"index": 0, "text": "Thought: hm\nAction: look", "finish_reason": "stop", "logprobs": None}
        answer = {"id": "1", "object": "text_completion", "created": 0, "model": "big", "choices": [choice]}
        content = json.dumps(answer if status == 200 else {"error": {"message": "the server says no"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def teacher(server: Server) -> dict[str, Any]:
    """A teacher at the endpoint, which never solves a task."""
    engine = {
        "type": "openai",
        "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "model": "big",
        "tokenizer": "builtin:household-tokenizer",
        "api_key_env": None,
        "prompt": "text",
        "extensions": False,
        "timeout_s": 1.0,
        "max_retries": 0,
    }
    return {
        "agent": {"max_steps": TURNS, "max_tokens": 3000, "sampling": {"max_tokens": 64}},
        "teacher": {"engine": engine, "concurrency": 2},
        "student": None,
        "failures": {"episode": {"retry_wait_s": 0.01, "max_retries": 1}},
    }


@pytest.fixture
def recipe(teacher: dict[str, Any], toy_recipe: MakeRecipe) -> Recipe:
    """An evaluation of the teacher."""
    evaluate = {"episodes": EPISODES, "agents": ["teacher"]}
    return toy_recipe(**teacher, learner=None, collect={"teacher_episodes": 0}, evaluate=evaluate)


@pytest.fixture
def training(teacher: dict[str, Any], toy_recipe: MakeRecipe, toy_model: str) -> Recipe:
    """A training on the teacher's episodes."""
    learner = {"model": toy_model, "epochs": 1, "batch_episodes": 4, "keep": "all", "resources": {"cpus": 1}}
    collect = {"teacher_episodes": EPISODES, "keep": None}
    return toy_recipe(**teacher, learner=learner, collect=collect, evaluate=None)


def with_failures(recipe: Recipe, **failures: Any) -> Recipe:
    """The recipe with other failure policies."""
    return recipe.model_validate({**recipe.model_dump(), "failures": failures})


class Poison:
    """Fails the first episode of which it sees a prompt, until it is cured."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.is_cured = False

    def __call__(self, prompt: str) -> int | None:
        self.prompts.append(prompt)
        return 500 if prompt.startswith(self.prompts[0]) and not self.is_cured else None


def go(recipe: Recipe, folder: Path) -> str:
    """Run in this process; gives what the screen showed."""
    file = io.StringIO()
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local", phases=PHASES, screen=Screen(file))
    return file.getvalue()


def figures(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text())["agents"]["teacher"]["household"])


def stored(folder: Path) -> dict[str, StopReason]:
    summaries = TrajectoryStore(folder / "evaluation" / "teacher", read_only=True).summaries()
    return {summary.identity.task: summary.outcome.stop_reason for summary in summaries}


@pytest.mark.parametrize(
    ("status", "cause", "message"),
    [
        (401, "setup", "401"),
        (403, "setup", "403"),
        (429, "engine", "429"),
        (500, "engine", "500"),
        (503, "engine", "503"),
        (0, "engine", "127.0.0.1"),
        (-1, "engine", "127.0.0.1"),
    ],
    ids=lambda value: str(value),
)
def test_an_endpoint_that_fails_during_a_run_makes_no_results_and_the_same_command_completes_every_key(
    server: Server, recipe: Recipe, tmp_path: Path, status: int, cause: str, message: str
) -> None:
    server.healthy, server.fail = HEALTHY, lambda prompt: status
    with pytest.raises(IncompleteError, match="evaluate teacher: .*Finished episodes are kept") as refused:
        go(recipe, tmp_path)
    assert refused.value.exit_code == 1
    done, found = stored(tmp_path), figures(tmp_path)
    assert 0 < len(done) < EPISODES
    assert set(done.values()) == {StopReason.STEP_LIMIT}
    assert not list(TrajectoryStore(tmp_path / "evaluation" / "teacher", read_only=True).owed())
    assert (found["n"], found["success"], set(found["causes"])) == (len(done), 0.0, {cause})
    assert message in found["message"]
    assert not found["complete"]
    assert not (tmp_path / "tombstones").exists()
    text = describe(run_status(open_read_only(tmp_path)))
    assert f"errors {found['errors']} ({cause} {found['errors']}; mostly" in text
    server.healthy = 10**9
    go(recipe, tmp_path)
    found = figures(tmp_path)
    assert (found["n"], found["errors"], found["complete"]) == (EPISODES, 0, True)
    assert not (tmp_path / "owed" / "evaluate-teacher.jsonl").exists()
    again = {key: reason for key, reason in stored(tmp_path).items() if key in done}
    assert (again, len(stored(tmp_path))) == (done, EPISODES)


def test_an_endpoint_that_is_dead_from_the_start_is_one_sentence_and_no_rate(
    server: Server, recipe: Recipe, tmp_path: Path
) -> None:
    port = server.server_address[1]
    server.stop()
    with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
        go(recipe, tmp_path)
    assert stored(tmp_path) == {}
    revived = Server(port)
    try:
        go(recipe, tmp_path)
    finally:
        revived.stop()
    assert len(stored(tmp_path)) == EPISODES


def test_an_endpoint_that_is_overloaded_for_a_while_costs_nothing(
    server: Server, recipe: Recipe, tmp_path: Path
) -> None:
    hits: list[int] = []

    def overloaded(prompt: str) -> int | None:
        hits.append(1)
        return 429 if len(hits) < 6 else None

    server.healthy, server.fail = HEALTHY, overloaded
    go(with_failures(recipe, episode={"retry_wait_s": 0.01, "max_retries": 5}), tmp_path)
    assert (figures(tmp_path)["n"], figures(tmp_path)["errors"]) == (EPISODES, 0)


def test_a_task_that_the_endpoint_never_completes_is_given_up_and_named_and_not_tried_again(
    server: Server, recipe: Recipe, tmp_path: Path
) -> None:
    poison = Poison()
    server.healthy, server.fail = HEALTHY, poison
    with pytest.raises(IncompleteError, match=r"1 of 8 .*given up.*max_failed_share \(0\.05\).*tombstones"):
        go(with_failures(recipe, episode={"retry_wait_s": 0.01}), tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    [row] = report["failed"]
    assert (row["step"], row["given_up"], row["attempts"], row["cause"]) == ("evaluate/teacher", True, 3, "engine")
    assert row["task"] not in stored(tmp_path)
    assert row["task"] in (tmp_path / "report.md").read_text()
    assert (figures(tmp_path)["n"], figures(tmp_path)["errors"]) == (EPISODES - 1, 1)
    [status] = run_status(open_read_only(tmp_path))["steps"]
    assert (status["state"], status["done"], status["given_up"]) == ("done", EPISODES - 1, 1)
    before = len(poison.prompts)
    shown = go(with_failures(recipe, max_failed_share=0.2), tmp_path)
    assert "engine starts" not in shown
    assert len(poison.prompts) == before


def test_training_does_not_start_while_episodes_are_owed(server: Server, training: Recipe, tmp_path: Path) -> None:
    poison = Poison()
    server.healthy, server.fail = HEALTHY, poison
    with pytest.raises(IncompleteError, match=r"teacher collects: 1 of 8 .*answered 500.* Training needs them"):
        go(training, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["rollouts"]["episodes"], report["rollouts"]["errors"]) == (EPISODES - 1, 1)
    poison.is_cured = True
    go(training, tmp_path)
    assert (tmp_path / "checkpoints" / "round=000").is_dir()
    store = TrajectoryStore(tmp_path / "trajectories" / "teacher" / "round=000", read_only=True)
    assert sorted(summary.outcome.retries for summary in store.summaries()) == [0] * (EPISODES - 1) + [2]


def test_training_goes_on_without_the_few_episodes_that_are_given_up(
    server: Server, training: Recipe, tmp_path: Path
) -> None:
    server.healthy, server.fail = HEALTHY, Poison()
    go(with_failures(training, max_failed_share=0.2, episode={"retry_wait_s": 0.01}), tmp_path)
    assert (tmp_path / "checkpoints" / "round=000").is_dir()
    [row] = json.loads((tmp_path / "report.json").read_text())["failed"]
    assert (row["step"], row["given_up"]) == ("collect/teacher/0", True)


def test_the_command_fails_with_one_sentence_and_the_command_that_completes_the_run(
    server: Server, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.healthy, server.fail = HEALTHY, lambda prompt: 500
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe))
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as left:
        main(["run", str(tmp_path / "recipe.yaml"), "--run-dir", str(folder), "--address", "local"])
    shown = capsys.readouterr()
    assert left.value.code == 1
    assert shown.err.startswith("stillhouse: evaluate teacher: ")
    assert shown.err.endswith(f"Resume with:\n  stillhouse run {folder} --address local\n")
    assert "Traceback" not in shown.err
    server.healthy = 10**9
    with pytest.raises(SystemExit) as left:
        main(["run", str(folder), "--address", "local"])
    assert left.value.code == 0
    assert len(stored(folder)) == EPISODES
