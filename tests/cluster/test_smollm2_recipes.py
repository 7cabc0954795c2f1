"""The recipes of the real model: refused without it, run in small with another model, and in small with it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from cluster.config.load import load_recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from evaluation.report import Report
from rollout.models import smollm2_folder
from rollout.trajectory import Kind
from rollout.trajectory.store import TrajectoryStore

RECIPES = ("smollm2-household", "smollm2-math")
SMALL = (
    "agent.max_steps=3",
    "collect.teacher_episodes=6",
    "learner.keep=all",
    "learner.max_seconds=null",
    "learner.epochs=null",
    "learner.max_tokens=1500",
    "evaluate.episodes=2",
)


def go(name: str, folder: Path, *overrides: str) -> Report:
    recipe = load_recipe(name, [*SMALL, *overrides])
    with open_run(folder, recipe) as directory:
        return run(recipe, directory, address="local", screen=Screen(io.StringIO()))


def read(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / "checkpoints" / "round=000" / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_without_the_model_a_recipe_says_how_to_prepare_it(
    name: str, option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as ended:
        main(["run", name, "--run-dir", str(tmp_path / "run"), *option])
    assert ended.value.code in (1, 2)
    assert "run `make real-model`" in " ".join("".join(capsys.readouterr()).split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_of_the_real_model_runs_with_another_one(name: str, toy_model: str, tmp_path: Path) -> None:
    engine = f"student.engine={{type: transformers, model: {toy_model}, max_model_len: 2048}}"
    made = go(name, tmp_path, f"teacher.engine.tokenizer={toy_model}", engine, "agent.sampling.max_tokens=80")
    assert set(made["agents"]) == {"teacher", "student_before", "student"}
    assert read(tmp_path, "config.json")["dtype"] == "bfloat16"


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not (smollm2_folder() / "config.json").is_file(), reason="SmolLM2 is not prepared: `make real-model`"
)
def test_the_real_model_is_trained_and_its_checkpoint_stops_at_its_own_end_token(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = go("smollm2-math", tmp_path, "evaluate.agents=[student]", "agent.sampling.max_tokens=48")
    assert made["agents"]["student"]["math"]["errors"] == 0
    turns = [
        segment
        for episode in TrajectoryStore(str(tmp_path / "evaluation" / "student"), read_only=True).read()
        for segment in episode.segments
        if segment.kind is Kind.FORMAT and segment.text.endswith("<|im_end|>")
    ]
    assert turns
    checkpoint = tmp_path / "checkpoints" / "round=000"
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == read(tmp_path, "generation_config.json")["eos_token_id"]
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=64, do_sample=False)
    assert output[0, -1] == tokenizer.eos_token_id
