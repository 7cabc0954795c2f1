"""Engines are checked before the first episode; what they report is in the record, in the metrics and in the report."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from rollout.errors import UserError
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore
from tests.cluster.conftest import TOKENIZER
from tests.rollout.engines.servers import DIALECTS, Dialect, Server, owned_by, serving

MakeRecipe = Callable[..., Recipe]
KEY = "sk-do-not-tell-0123"
OLLAMA = Dialect(
    {"message": {"content": "Thought: I look.\nAction: look"}, "finish_reason": "eos_token"},
    {"system_fingerprint": "fp_ollama"},
    owned_by("library"),
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", KEY)
    with serving(OLLAMA) as server:
        yield server


def endpoint(url: str, **settings: Any) -> dict[str, Any]:
    more = {"api": "chat", "api_key_env": "STILLHOUSE_TEST_KEY", "max_retries": 0, **settings}
    return {"engine": {"type": "openai", "base_url": url, "model": "big", "tokenizer": TOKENIZER, **more}}


def play(recipe: Recipe, folder: Path) -> str:
    """Run a recipe; returns what the screen shows, in one line."""
    file = io.StringIO()
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local", screen=Screen(file))
    return " ".join(file.getvalue().split())


def one_episode(make: MakeRecipe, teacher: dict[str, Any]) -> Recipe:
    agent = {"max_steps": 2, "max_tokens": 3000, "sampling": {"max_tokens": 32}}
    return make(
        student=None, learner=None, evaluate=None, collect={"teacher_episodes": 1}, teacher=teacher, agent=agent
    )


def collected(folder: Path) -> list[Trajectory]:
    return list(TrajectoryStore(folder / "trajectories/teacher/round=000", read_only=True).read())


def test_the_record_says_what_an_endpoint_was_sent_and_the_report_what_it_ignores(
    server: Server, toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    shown = play(one_episode(toy_recipe, endpoint(server.url)), tmp_path)
    [episode] = collected(tmp_path)
    sent = json.loads(episode.policy.sampling_json)["sent"]
    body = {
        name: value for name, value in server.bodies[-1].items() if name not in ("model", "messages", "stream", "seed")
    }
    assert sent == {"dialect": "ollama", **body}
    assert body.keys() & {"top_k", "temperature"} == {"temperature"}
    [note] = json.loads((tmp_path / "report.json").read_text())["notes"]
    assert note["role"] == "teacher"
    assert "ignores top_k, min_p, repetition_penalty" in note["note"]
    assert note["note"] in shown
    assert note["note"] in (tmp_path / "report.md").read_text()


def test_no_file_of_a_run_has_the_key(server: Server, toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    server.dialect = Dialect(OLLAMA.choice, OLLAMA.top, OLLAMA.models, lambda body: echo if body["seed"] else None)
    echo = (401, {"error": {"message": f"wrong key {KEY}"}})
    try:
        shown = play(one_episode(toy_recipe, endpoint(server.url)), tmp_path)
    except UserError as error:
        shown = str(error)
    assert KEY not in shown
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("ollama", {}, "wrong key"),
        ("openai", {"dialect": "openai"}, "wrong key"),
    ],
)
def test_an_endpoint_that_refuses_the_key_stops_the_run_before_an_episode(
    name: str, settings: dict[str, Any], said: str, server: Server, toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    server.dialect = Dialect(DIALECTS[name].choice, check=lambda body: (401, {"error": {"message": "wrong key"}}))
    with pytest.raises(UserError, match=said):
        play(one_episode(toy_recipe, endpoint(server.url, **settings)), tmp_path)
    assert not list(tmp_path.glob("trajectories/**/*.parquet"))


def test_an_endpoint_that_cannot_be_reached_stops_the_run_before_an_episode(
    server: Server, toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=f"the engine cannot be used: {dead}.* cannot be reached"):
            play(one_episode(toy_recipe, endpoint(dead)), tmp_path)
    assert not list(tmp_path.glob("trajectories/**/*.parquet"))


def test_a_sampling_setting_that_the_endpoint_refuses_stops_the_run_before_an_episode(
    server: Server, toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    server.dialect = DIALECTS["openai"]
    recipe = one_episode(toy_recipe, endpoint(server.url))
    narrow = recipe.agent.sampling.model_copy(update={"top_k": 20})
    recipe = recipe.model_copy(update={"agent": recipe.agent.model_copy(update={"sampling": narrow})})
    with pytest.raises(UserError, match="refuses top_k 20"):
        play(recipe, tmp_path)


def test_the_self_test_of_the_teacher_is_in_the_report(toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path) -> None:
    terms = [{"stream": "act", "divergence": "reverse_kl"}]
    recipe = toy_recipe(
        collect={"teacher_episodes": 0, "student_episodes": 2, "train_on": ["student"]},
        score={"top_k": 4},
        evaluate=None,
        teacher={"engine": {"type": "transformers", "model": toy_model}, "resources": {"cpus": 0.5}},
        learner={
            "model": toy_model,
            "epochs": 1,
            "batch_episodes": 2,
            "keep": "all",
            "resources": {"cpus": 1},
            "terms": terms,
        },
    )
    shown = play(recipe, tmp_path)
    [note] = json.loads((tmp_path / "report.json").read_text())["notes"]
    assert note["note"].startswith("Teacher self-test: spread 0.0")
    assert "bound 0.1" in note["note"]
    assert "Teacher self-test" in shown
    assert "Teacher self-test" in (tmp_path / "report.html").read_text()
