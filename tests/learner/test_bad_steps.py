"""Steps whose loss or gradients are not finite, or that have nothing to train: they change no weight."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learner.checkpoints.fingerprint import Fingerprint
from learner.checkpoints.resume import ResumeCheckpoint
from learner.config import LearnerConfig
from learner.data.reader import StepReader
from learner.data.training_set import load_data
from learner.distributed import Distributed
from learner.fit import StepReport, _Training, fit
from learner.progress import Progress
from learner.strategies.torch_trainer import TorchTrainer
from rollout.errors import UserError
from rollout.trajectory import Trajectory
from tests.learner.toys import toy_model, toy_tokenizer, toy_trajectory

SMALL = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 16}
KL = ({"stream": "generated", "divergence": "forward_kl"},)
ALONE = Distributed(0, 1, torch.device("cpu"))


def settings(tmp_path: Path, **changes: Any) -> LearnerConfig:
    scratch = {"tokenizer": toy_tokenizer(tmp_path / "tokenizer"), **SMALL}
    base = {"scratch": scratch, "terms": KL, "batch_episodes": 1, "epochs": 1, "checkpoint_every_s": 1e-9}
    return LearnerConfig.model_validate({**base, **changes})


def broken(seed: int) -> Trajectory:
    """An episode with an impossible log-probability, whose exponential is infinite."""
    episode = toy_trajectory(seed, k=4)
    segments = list(episode.segments)
    for i, segment in enumerate(segments):
        if segment.teacher is not None:
            logprobs = tuple((200.0, *row[1:]) for row in segment.teacher.logprobs)
            segments[i] = dataclasses.replace(segment, teacher=dataclasses.replace(segment.teacher, logprobs=logprobs))
    return dataclasses.replace(episode, segments=tuple(segments))


def test_a_step_with_an_infinite_loss_is_skipped_counted_and_saved(tmp_path: Path) -> None:
    episodes = [toy_trajectory(seed, k=4) for seed in range(5)]
    reports: list[StepReport] = []
    result = fit(settings(tmp_path), [*episodes, broken(9)], str(tmp_path / "out"), on_step=reports.append)
    (bad,) = [report for report in reports if not report.updated]
    assert not math.isfinite(bad.loss)
    assert result.steps == 6
    assert result.skipped_steps == reports[-1].skipped_steps == 1
    assert math.isfinite(result.loss_last)
    (file,) = (tmp_path / "out.bad-steps").iterdir()
    saved = json.loads(file.read_text())
    assert saved["step"] == bad.step
    assert [(e["episode"], e["token_ids"]) for e in saved["episodes"]] == [
        (broken(9).key.session, list(broken(9).token_ids))
    ]


def test_training_stops_after_several_such_steps_in_a_row(tmp_path: Path) -> None:
    config = settings(tmp_path, max_bad_steps=3, epochs=2)
    reports: list[StepReport] = []
    with pytest.raises(UserError, match=r"3 steps in a row.*lower learner\.learning_rate.*out\.bad-steps"):
        fit(config, [broken(seed) for seed in range(5)], str(tmp_path / "out"), on_step=reports.append)
    assert len(reports) == 2
    assert len(list((tmp_path / "out.bad-steps").iterdir())) == 3
    assert not (tmp_path / "out").exists()


def test_a_training_without_any_update_saves_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no step could update them"):
        fit(settings(tmp_path), [broken(seed) for seed in range(3)], str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def trainer_of(config: LearnerConfig) -> TorchTrainer:
    return TorchTrainer(config, toy_model(), ALONE)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_update_with_bad_gradients_changes_neither_weights_nor_moments(
    tmp_path: Path, bad: float, optimizer: str
) -> None:
    trainer = trainer_of(settings(tmp_path, optimizer=optimizer))
    for parameter in trainer._parameters:
        parameter.grad = torch.ones_like(parameter)
    trainer.update(0.5)
    before = copy.deepcopy(trainer.state())
    for parameter in trainer._parameters:
        parameter.grad = torch.ones_like(parameter)
    assert trainer._parameters[0].grad is not None
    trainer._parameters[0].grad[0] = bad
    _, norm = trainer.update(0.5)
    assert not math.isfinite(norm)
    after = trainer.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in trainer._parameters)


def test_a_step_without_weight_anywhere_changes_nothing(tmp_path: Path) -> None:
    """Not even by weight decay, and its loss is not NaN."""
    config = settings(tmp_path, weight_decay=0.5)
    data = load_data(config, [toy_trajectory(0, k=4)], 512)
    data = dataclasses.replace(data, term_counts=np.zeros_like(data.term_counts))
    trainer, progress = trainer_of(config), Progress()
    resume = ResumeCheckpoint(str(tmp_path / "out"), config, Fingerprint.of(config, data, "model"), ALONE, print)
    training = _Training(config, data, trainer, ALONE, progress, resume, tmp_path / "bad", None)
    before = copy.deepcopy(trainer.state(optimizer=False))
    reader = StepReader(config, data, rank=0, world_size=1, packed=False)
    (step,) = reader.read(reader.plan(0))
    report, _ = training.step(step)
    assert (report.loss, report.updated, report.skipped_steps) == (0.0, False, 0)
    assert progress.step == progress.step_in_epoch == 1
    assert progress.tokens == len(toy_trajectory(0).token_ids)
    after = trainer.state(optimizer=False)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (tmp_path / "bad").exists()
