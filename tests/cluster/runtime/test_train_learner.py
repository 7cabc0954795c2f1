"""What a rank trains on: the episodes that are fit for it, in the student's own tokens."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from cluster.config.failures import LearnerPolicy
from cluster.config.recipe import LearnerRole
from cluster.run.chat_formats import trained_format
from cluster.run.directory import RunDirectory
from cluster.run.steps.train import training_warnings
from cluster.run.training_data import TrainRequest, translated, with_one_template
from cluster.runtime.train_learner import StepReporter, run_config, scaling_config, train_rank
from learner.reports import StepReport
from rollout.environment import Reset
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.retokenize import Retokenizer
from rollout.prompts.tokenizer import ChatSettings, load_tokenizer
from rollout.trajectory import Author, Trajectory
from rollout.trajectory.store import TrajectoryStore
from tests import forked
from tests.chat_models import CHATML, END_OF_TEXT, IM_END, OTHER, save_model
from tests.learner.toys import toy_top_k, toy_trajectory

TEACHER, STUDENT = "builtin:household-tokenizer", "builtin:webshop-tokenizer"
RETOKENIZER = Retokenizer(TEACHER, STUDENT)
LIMIT_S = 200.0
SMALL = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 64}


def played(role: str, *, success: bool = True) -> Trajectory:
    """An episode in the tokens of who played it, with the distributions of a teacher."""
    tokenizer = load_tokenizer(model_folder(STUDENT if role == "student" else TEACHER))
    builder, reset = PromptBuilder(tokenizer, ReActStyle("Help.")), Reset("You see a café.", "put a mug in fridge")
    turns = [("Thought: Ich suche 東京 🗼.\nAction: look", "A mug 1."), ("Thought: done\nAction: go to fridge 1", None)]
    segments = [
        dataclasses.replace(s, teacher=toy_top_k(random.Random(0), s.token_ids, 4)) if s.author is Author.MODEL else s
        for s in builder.transcript(reset, turns)
    ]
    base = toy_trajectory(0, success=success)
    return dataclasses.replace(base, identity=dataclasses.replace(base.identity, role=role), segments=tuple(segments))


def learner(**settings: Any) -> LearnerRole:
    scratch = {"tokenizer": STUDENT, **SMALL}
    chosen = {"scratch": scratch, "teacher_tokenizer": TEACHER, "epochs": 40, "batch_episodes": 1, **settings}
    return LearnerRole.model_validate(chosen)


def test_what_the_teacher_played_is_translated_and_what_the_student_played_stays() -> None:
    episodes = [played("teacher"), played("student"), played("student", success=False)]
    first, *own = translated(episodes, learner(keep="all"), RETOKENIZER)
    assert first == RETOKENIZER.translate(episodes[0]) != episodes[0]
    assert own == episodes[1:]


@pytest.mark.parametrize(("keep", "is_translated"), [("success", False), ("all", True)])
def test_an_episode_that_the_learner_leaves_out_is_not_translated(keep: str, is_translated: bool) -> None:
    lost = played("teacher", success=False)
    assert (next(translated([lost], learner(keep=keep), RETOKENIZER)) != lost) == is_translated


@pytest.mark.parametrize("divergence", ["uld", "cross_entropy"])
def test_a_student_learns_from_a_teacher_of_another_vocabulary(tmp_path: Path, divergence: str) -> None:
    """Cross-entropy also beside an episode of its own, which it sees as it played it."""
    episodes = [played("teacher")] if divergence == "uld" else [played("teacher"), played("student")]
    store = str(tmp_path / "episodes")
    TrajectoryStore(store).write(episodes)
    terms = [{"stream": "generated", "divergence": divergence, "reduction": "span_mean"}]
    role = learner(terms=terms, learning_rate=1e-2)
    train_rank(TrainRequest(role, str(tmp_path), 0, (store,), base_model=None, num_threads=1))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (result,) = [row for row in rows if row["kind"] == "trained"]
    assert result["loss_last"] < result["loss_first"] / 2
    views = [RETOKENIZER.translate(episodes[0]), *episodes[1:]]
    assert result["tokens"] == 40 * sum(len(view.token_ids) for view in views)
    config = json.loads((RunDirectory(tmp_path).checkpoint(0) / "config.json").read_text())
    assert config["vocab_size"] == len(load_tokenizer(model_folder(STUDENT)).hugging_face)


def played_with(template: str, folder: str) -> Trajectory:
    """An episode of a teacher with a chat template, in the tokens of a model."""
    builder = PromptBuilder(load_tokenizer(folder, ChatSettings(template)), ReActStyle("Help."))
    segments = builder.transcript(Reset("You see a mug.", "put it away"), [("Thought: a\nAction: look", None)])
    base = toy_trajectory(0)
    policy = dataclasses.replace(base.policy, template_digest=builder.template_digest)
    return dataclasses.replace(base, policy=policy, segments=tuple(segments))


@pytest.fixture
def base_model(tmp_path: Path) -> str:
    return save_model(tmp_path / "base", OTHER, eos="<|endoftext|>", stops=[END_OF_TEXT])


@pytest.fixture
def declared(tmp_path: Path) -> ChatSettings:
    (tmp_path / "declared.jinja").write_text(CHATML)
    return ChatSettings(str(tmp_path / "declared.jinja"))


def test_a_checkpoint_has_the_declared_template_and_ends_its_turns(
    tmp_path: Path, base_model: str, declared: ChatSettings
) -> None:
    store = str(tmp_path / "episodes")
    TrajectoryStore(store).write([played_with(str(declared.template), base_model)])
    role = LearnerRole.model_validate({"model": base_model, "epochs": 1, "batch_episodes": 1})
    train_rank(TrainRequest(role, str(tmp_path), 0, (store,), base_model=None, num_threads=1, chat=declared))
    folder = RunDirectory(tmp_path).checkpoint(0)
    assert (folder / "chat_template.jinja").read_text() == CHATML
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [IM_END, END_OF_TEXT]
    assert trained_format(str(folder), ChatSettings())[1] == trained_format(base_model, declared)[1]


def test_episodes_with_another_template_are_not_trained_on(base_model: str, declared: ChatSettings) -> None:
    _, digest = trained_format(base_model, declared)
    own = played_with(str(declared.template), base_model)
    other = played_with(base_model, base_model)
    role = LearnerRole.model_validate({"model": base_model, "epochs": 1, "batch_episodes": 1})
    older = dataclasses.replace(other, policy=dataclasses.replace(other.policy, template_digest=""))
    failed = dataclasses.replace(other, outcome=dataclasses.replace(other.outcome, success=False))
    assert list(with_one_template([own, older, failed], role, digest)) == [own, older, failed]
    with pytest.raises(UserError, match=r"recorded with another chat template.*set agent\.chat_template"):
        list(with_one_template([own, other], role, digest))


def test_a_translated_episode_has_the_digest_of_the_student_s_template() -> None:
    _, digest = trained_format(STUDENT, ChatSettings())
    assert RETOKENIZER.translate(played("teacher")).policy.template_digest == digest


def test_a_round_continues_from_the_state_of_the_one_before_which_is_then_deleted(
    tmp_path: Path, base_model: str
) -> None:
    store, directory = str(tmp_path / "episodes"), RunDirectory(tmp_path)
    TrajectoryStore(store).write([played_with(base_model, base_model)])
    role = LearnerRole.model_validate(
        {"model": base_model, "epochs": 2, "batch_episodes": 1, "saved_precision": "bfloat16"}
    )
    first = TrainRequest(role, str(tmp_path), 0, (store,), base_model=None, num_threads=1, is_last=False)
    train_rank(first)
    assert len(list(directory.training_state(0).glob("step=*/rank=0-of-1.safetensors"))) == 1
    checkpoint = str(directory.checkpoint(0))
    train_rank(dataclasses.replace(first, round=1, base_model=checkpoint, is_last=True))
    assert not directory.training_state(0).exists()
    assert not directory.training_state(1).exists()
    rows = directory.read_metrics()
    assert [row["stopped_by"] for row in rows if row["kind"] == "trained"] == ["epochs", "epochs"]
    assert [row for row in rows if row["kind"] == "note"] == []


def test_a_round_says_that_the_state_of_the_one_before_is_gone(tmp_path: Path, base_model: str) -> None:
    store = str(tmp_path / "episodes")
    TrajectoryStore(store).write([played_with(base_model, base_model)])
    role = LearnerRole.model_validate({"model": base_model, "epochs": 1, "batch_episodes": 1})
    train_rank(TrainRequest(role, str(tmp_path), 1, (store,), base_model=base_model, num_threads=1))
    (note,) = [row for row in RunDirectory(tmp_path).read_metrics() if row["kind"] == "note"]
    assert "rounded weights" in note["note"]
    assert note["role"] == "learner"


def trained_row(**figures: Any) -> dict[str, Any]:
    return {"kind": "trained", "round": 0, "steps": 50, "stopped_by": "tokens", "skipped_steps": 0, **figures}


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"schedule_fraction": 1.0}, ""),
        ({"stopped_by": "seconds", "schedule_fraction": 1.0}, ""),  # seconds are its only limit
        ({"stopped_by": "seconds", "schedule_fraction": 0.63}, "cut off by learner.max_seconds at 63% of its epochs"),
        ({"schedule_fraction": 1.0, "skipped_steps": 2}, "skipped 2 of 50 steps"),
    ],
)
def test_a_training_that_was_cut_off_or_skipped_steps_says_so(
    tmp_path: Path, figures: dict[str, Any], sentence: str
) -> None:
    directory = RunDirectory(tmp_path)
    directory.log_metrics(trained_row(**figures))
    assert sentence in " ".join(training_warnings(directory, 0))
    assert bool(training_warnings(directory, 0)) == bool(sentence)


def test_a_figure_that_is_not_finite_is_null_in_the_metrics(tmp_path: Path) -> None:
    figures = {"epoch": 0, "term_values": {"act": math.nan}, "learning_rate": 0.0, "grad_norm": math.inf}
    counts = {"tokens": 1, "trained_tokens": 1, "seconds": 0.0, "skipped_steps": 1}
    step = StepReport(step=1, loss=math.nan, fraction=0.1, updated=False, stopped_by=None, **figures, **counts)
    StepReporter(RunDirectory(tmp_path), 0).on_step(step)
    line = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in line
    assert "Infinity" not in line
    assert json.loads(line)["loss"] is None


@pytest.mark.parametrize(
    ("policy", "limits"),
    [(LearnerPolicy(), (1, -1)), (LearnerPolicy(max_failures=4, max_preemption_failures=2), (4, 2))],
)
def test_ray_train_gets_the_policys_limits(tmp_path: Path, policy: LearnerPolicy, limits: tuple[int, int]) -> None:
    config = run_config(3, tmp_path, policy)
    assert config.failure_config is not None
    assert (config.failure_config.max_failures, config.failure_config.max_preemption_failures) == limits
    assert (config.name, config.storage_path) == ("round=003", str(tmp_path))


@pytest.mark.parametrize(("gpus", "reserved"), [(0, {"CPU": 2.0}), (1, {"CPU": 2.0, "GPU": 1})])
def test_ray_train_gets_the_number_of_processes_and_what_each_reserves(gpus: int, reserved: dict[str, float]) -> None:
    config = scaling_config(learner(workers=3, resources={"cpus": 2, "gpus": gpus}))
    assert (config.num_workers, config.use_gpu, config.resources_per_worker) == (3, gpus > 0, reserved)


def train_as_rank(rank: int, request: TrainRequest) -> None:
    """What Ray Train does in each process: join the group, then train."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{request.run_dir}/meet", rank=rank, world_size=2)
    train_rank(request)
    dist.destroy_process_group()


def test_a_group_of_processes_trains_one_checkpoint(tmp_path: Path) -> None:
    """Without Ray, which needs a minute for it; the slow tests of the Ray backend do the same with Ray."""
    store = str(tmp_path / "episodes")
    episode = played("student")
    tasks = [dataclasses.replace(episode.identity, task=f"task-{number}") for number in range(6)]
    TrajectoryStore(store).write([dataclasses.replace(episode, identity=task) for task in tasks])
    request = TrainRequest(
        learner(epochs=1, batch_episodes=2, workers=2, teacher_tokenizer=None), str(tmp_path), 0, (store,), None, 1
    )
    ranks = [forked.start(train_as_rank, rank, request) for rank in range(2)]
    for process in ranks:
        process.join(LIMIT_S)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    assert (RunDirectory(tmp_path).checkpoint(0) / "model.safetensors").is_file()
    assert [row["steps"] for row in RunDirectory(tmp_path).read_metrics() if row["kind"] == "trained"] == [3]
