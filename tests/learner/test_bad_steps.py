"""Steps whose loss or gradients are not finite, or that have nothing to train: they change no weight."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import learner.fit
from learner.checkpoints.fingerprint import Fingerprint
from learner.checkpoints.resume import ResumeCheckpoint
from learner.config import LearnerConfig
from learner.data.reader import StepReader
from learner.data.training_set import load_data
from learner.distributed import Distributed
from learner.fit import _Training, fit
from learner.progress import Progress
from learner.reports import StepReport
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


def broken(seed: int, logprob: float = 200.0) -> Trajectory:
    """An episode with impossible log-probabilities; the exponential of 200 is infinite."""
    episode = toy_trajectory(seed, k=4)
    segments = list(episode.segments)
    for i, segment in enumerate(segments):
        if segment.teacher is not None:
            logprobs = tuple((logprob, *row[1:]) for row in segment.teacher.logprobs)
            segments[i] = dataclasses.replace(segment, teacher=dataclasses.replace(segment.teacher, logprobs=logprobs))
    return dataclasses.replace(episode, segments=tuple(segments))


@pytest.mark.parametrize("logprob", [200.0, math.nan])
def test_a_step_with_a_bad_loss_is_skipped_counted_and_saved(tmp_path: Path, logprob: float) -> None:
    episodes = [toy_trajectory(seed, k=4) for seed in range(5)]
    reports: list[StepReport] = []
    result = fit(settings(tmp_path), [*episodes, broken(9, logprob)], str(tmp_path / "out"), on_step=reports.append)
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


class Spoiled:
    """Makes models whose gradients are NaN in some backward passes, although their losses are finite."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bad: Collection[int]) -> None:
        self._bad, self._passes, self._original = bad, 0, learner.fit.make_model
        monkeypatch.setattr(learner.fit, "make_model", self._make)

    def _make(self, config: LearnerConfig, base_model: str | None) -> tuple[Any, str]:
        model: Any
        model, tokenizer = self._original(config, base_model)
        model.model.layers[0].mlp.down_proj.weight.register_hook(self._spoil)
        return model, tokenizer

    def _spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        self._passes += 1
        return gradient * math.nan if self._passes in self._bad else gradient


def is_finite(file: Path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in load_file(file).values())


def test_bad_gradients_of_a_finite_loss_are_skipped_and_only_those_in_a_row_stop_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Spoiled(monkeypatch, bad=(1, 3, 5))
    reports: list[StepReport] = []
    episodes = [toy_trajectory(seed, k=4) for seed in range(6)]
    fit(settings(tmp_path, max_bad_steps=2), episodes, str(tmp_path / "out"), on_step=reports.append)
    assert [report.updated for report in reports] == [False, True, False, True, False, True]
    assert [report.skipped_steps for report in reports] == [1, 1, 2, 2, 3, 3]
    assert all(math.isfinite(report.loss) for report in reports)
    assert is_finite(tmp_path / "out" / "model.safetensors")


def test_the_same_command_goes_on_from_finite_weights_after_bad_steps_stopped_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, episodes = settings(tmp_path, max_bad_steps=2, epochs=2), [toy_trajectory(seed, k=4) for seed in range(6)]
    Spoiled(monkeypatch, bad=range(5, 99))
    with pytest.raises(UserError, match="2 steps in a row, up to step 6"):
        fit(config, episodes, str(tmp_path / "out"))
    files = list((tmp_path / ".out.resume").glob("*/*.safetensors"))
    assert files
    assert all(map(is_finite, files))
    monkeypatch.undo()
    reports: list[StepReport] = []
    result = fit(config, episodes, str(tmp_path / "out"), on_step=reports.append)
    assert reports[0].step > 1
    assert result.steps == 12
    assert is_finite(tmp_path / "out" / "model.safetensors")


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
    reader = StepReader(config, data, rank=0, world_size=1, packed=False)
    models: Any = None  # a step uses the trainer only
    training = _Training(config, models, data, reader, trainer, ALONE, resume, tmp_path / "bad", None, print, progress)
    training.started_s = 0.0
    before = copy.deepcopy(trainer.state(optimizer=False))
    (step,) = reader.read(reader.plan(0))
    report, _ = training.step(step)
    assert (report.loss, report.updated, report.skipped_steps) == (0.0, False, 0)
    assert progress.step == progress.step_in_epoch == 1
    assert progress.tokens == len(toy_trajectory(0).token_ids)
    after = trainer.state(optimizer=False)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (tmp_path / "bad").exists()
