"""Intermediate checkpoints: exact, of this fit only, the newest whole one, never with values that are not finite."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cluster.config.recipe import LearnerRole
from learner.checkpoints.fingerprint import Fingerprint, depends_on_budget, model_digest
from learner.checkpoints.resume import ResumeCheckpoint
from learner.config import LearnerConfig
from learner.data.training_set import Data, load_data
from learner.distributed import Distributed
from learner.fit import fit
from learner.progress import Progress
from learner.reports import StepReport
from rollout.trajectory import Trajectory
from tests.learner.toys import small_model, toy_tokenizer, toy_trajectory

EPISODES = [toy_trajectory(seed, k=4) for seed in range(12)]
SMALL = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 16}
KL = ({"stream": "generated", "divergence": "forward_kl"},)


def settings(tmp_path: Path, kind: type[LearnerConfig] = LearnerConfig, **changes: Any) -> LearnerConfig:
    scratch = {"tokenizer": toy_tokenizer(tmp_path / "tokenizer"), **SMALL}
    base = {"scratch": scratch, "terms": KL, "batch_episodes": 4, "epochs": 2, "checkpoint_every_s": 1e-9}
    return kind.model_validate({**base, **changes})


class KilledError(Exception):
    """Simulates SIGKILL between two steps."""


def killed(tmp_path: Path, config: LearnerConfig, episodes: Sequence[Trajectory] = EPISODES) -> list[Path]:
    """Train for five of six steps. Returns the folders of the checkpoints, newest first."""

    def kill(report: StepReport) -> None:
        if report.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        fit(config, episodes, str(tmp_path / "out"), on_step=kill)
    return sorted((tmp_path / ".out.resume").iterdir(), reverse=True)


def again(
    tmp_path: Path, config: LearnerConfig, episodes: Sequence[Trajectory] = EPISODES, out: str = "out"
) -> tuple[int, list[str]]:
    """Train to the end. Returns the first step and the notes."""
    steps: list[int] = []
    notes: list[str] = []
    fit(config, episodes, str(tmp_path / out), on_step=lambda report: steps.append(report.step), on_note=notes.append)
    return steps[0], notes


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name[5:13])


def assert_equal_weights(tmp_path: Path) -> None:
    """The weights of ``out`` are those of an uninterrupted fit, ``whole``."""
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_fit_with_dropout_resumes_bit_for_bit(tmp_path: Path) -> None:
    model = small_model("gpt2")
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop"):
        setattr(model.config, name, 0.1)
    model.save_pretrained(tmp_path / "gpt2")
    toy_tokenizer(tmp_path / "gpt2")
    config = settings(tmp_path, scratch=None, model=str(tmp_path / "gpt2"))
    killed(tmp_path, config)
    assert again(tmp_path, config)[0] > 1
    again(tmp_path, config, out="whole")
    assert_equal_weights(tmp_path)


@pytest.mark.parametrize("damage", ["half-written", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    config = settings(tmp_path)
    newest, before, *rest = killed(tmp_path, config)
    assert rest == []  # two are kept
    if damage == "half-written":
        (newest / "rank=0-of-1.json").unlink()
    else:
        content = bytearray((newest / "rank=0-of-1.safetensors").read_bytes())
        content[-9] ^= 0xFF
        (newest / "rank=0-of-1.safetensors").write_bytes(content)
    first, notes = again(tmp_path, config)
    assert first == step_of(before) + 1
    assert len(notes) == 1
    assert newest.name in notes[0]
    again(tmp_path, config, out="whole")
    assert_equal_weights(tmp_path)
    assert not (tmp_path / ".out.resume").exists()


def rescored(episode: Trajectory) -> Trajectory:
    """The same episode with other scores of the teacher."""
    changed = []
    for segment in episode.segments:
        if segment.teacher is not None:
            logprobs = tuple(tuple(value - 0.01 for value in row) for row in segment.teacher.logprobs)
            segment = dataclasses.replace(segment, teacher=dataclasses.replace(segment.teacher, logprobs=logprobs))
        changed.append(segment)
    return dataclasses.replace(episode, segments=tuple(changed))


def renamed(episode: Trajectory) -> Trajectory:
    return dataclasses.replace(episode, identity=dataclasses.replace(episode.identity, attempt=1))


def test_a_checkpoint_of_other_settings_is_named_and_kept_until_there_is_another(tmp_path: Path) -> None:
    old = killed(tmp_path, settings(tmp_path))
    other, seen = settings(tmp_path, seed=5), []

    def look(report: StepReport) -> None:
        seen.append(all(path.exists() for path in old))

    notes: list[str] = []
    fit(other, EPISODES, str(tmp_path / "out"), on_step=look, on_note=notes.append)
    assert seen[0]
    assert len(seen) == 6
    assert all("learner.seed" in note and "from the beginning" in note for note in notes)
    assert notes


def fingerprint(config: LearnerConfig, episodes: Sequence[Trajectory], model: str = "model") -> Fingerprint:
    return Fingerprint.of(config, load_data(config, episodes, 512), model)


@pytest.mark.parametrize("change", [rescored, renamed], ids=["scores", "keys"])
def test_other_scores_or_episodes_are_another_fit(tmp_path: Path, change: Any) -> None:
    config = settings(tmp_path)
    saved = dataclasses.asdict(fingerprint(config, EPISODES))
    changed = fingerprint(config, [change(EPISODES[0]), *EPISODES[1:]])
    assert changed.difference(saved) == "the episodes, their weights or their teacher's scores"
    assert fingerprint(config, EPISODES).difference(saved) == ""


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"workers": 4, "resources": {"cpus": 2, "gpus": 1}}, ""),
        ({"checkpoint_every_s": 7.0, "keep_checkpoints": 5, "micro_batch_tokens": 64, "strategy": "fsdp2"}, ""),
        ({"epochs": 9}, ""),
        ({"learning_rate": 1e-4}, "learner.learning_rate"),
        ({"weight_decay": 0.5, "batch_episodes": 3}, "learner.batch_episodes, learner.weight_decay"),
        ({"terms": [{"stream": "act", "divergence": "forward_kl"}]}, "learner.terms"),
    ],
)
def test_only_settings_that_the_result_depends_on_make_another_fit(
    tmp_path: Path, changes: dict[str, Any], differs: str
) -> None:
    saved = json.loads(json.dumps(dataclasses.asdict(fingerprint(settings(tmp_path, LearnerRole), EPISODES))))
    difference = fingerprint(settings(tmp_path, LearnerRole, **changes), EPISODES).difference(saved)
    assert difference.startswith(differs)
    assert bool(difference) == bool(differs)


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    small_model("qwen2").save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert model_digest(str(tmp_path / "one")) == model_digest(str(tmp_path / "copy"))
    content = bytearray((tmp_path / "copy" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "copy" / "model.safetensors").write_bytes(content)
    assert model_digest(str(tmp_path / "one")) != model_digest(str(tmp_path / "copy"))
    assert model_digest("org/a") != model_digest("org/b")


@pytest.mark.parametrize("decay", ["constant", "linear"])
def test_a_larger_budget_continues_if_the_learning_rate_does_not_depend_on_it(tmp_path: Path, decay: str) -> None:
    config = settings(tmp_path, decay=decay, warmup_fraction=0.0)
    killed(tmp_path, config)
    first, notes = again(tmp_path, config.model_copy(update={"epochs": 3}))
    assert (first > 1) == (decay == "constant")
    assert [("learner.epochs changed" in note) for note in notes] == (
        [] if decay == "constant" else [True] * len(notes)
    )
    assert bool(notes) == (decay == "linear")


def test_the_budget_matters_during_the_warmup(tmp_path: Path) -> None:
    config = settings(tmp_path, decay="constant", warmup_fraction=0.5)
    assert depends_on_budget(config, 0.4)
    assert not depends_on_budget(config, 0.6)


ALONE = Distributed(0, 1, torch.device("cpu"))


class Weights:
    """The part of a trainer that a checkpoint needs."""

    def __init__(self, value: float) -> None:
        self.tensor = torch.full((3,), value)

    def state(self, *, optimizer: bool = True) -> dict[str, torch.Tensor]:
        return {"weights": self.tensor}

    def restored(self) -> None: ...


@pytest.fixture(scope="module")
def data() -> Data:
    config = LearnerConfig(epochs=1, batch_episodes=1)
    return load_data(config, EPISODES[:1], 512)


def checkpoints(tmp_path: Path, data: Data, **changes: Any) -> ResumeCheckpoint:
    config = LearnerConfig.model_validate({"batch_episodes": 1, "max_seconds": 100.0, **changes})
    return ResumeCheckpoint(str(tmp_path / "out"), config, Fingerprint.of(config, data, "model"), ALONE, print)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_never_saved(tmp_path: Path, data: Data, bad: float) -> None:
    saver: Any = checkpoints(tmp_path, data)
    for step, value in enumerate([1.0, 2.0, bad], start=1):
        saver.save(Weights(value), Progress(step=step, tokens=step))
        saver.finish()
    saver.close()
    restored, loader = Weights(0.0), checkpoints(tmp_path, data)
    assert loader.load(restored).step == 2  # type: ignore[arg-type]
    assert restored.tensor.tolist() == [2.0] * 3


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_checkpoints_are_kept(tmp_path: Path, data: Data, keep: int) -> None:
    saver: Any = checkpoints(tmp_path, data, keep_checkpoints=keep)
    for step in range(1, 6):
        saver.save(Weights(1.0), Progress(step=step))
        saver.finish()
    assert [step_of(path) for path in sorted((tmp_path / ".out.resume").iterdir())] == list(range(6 - keep, 6))


def test_a_damaged_checkpoint_of_a_later_step_does_not_displace_whole_ones(tmp_path: Path, data: Data) -> None:
    first: Any = checkpoints(tmp_path, data, keep_checkpoints=1)
    first.save(Weights(1.0), Progress(step=9))
    first.finish()
    (damaged,) = (tmp_path / ".out.resume").iterdir()
    (damaged / "rank=0-of-1.safetensors").write_bytes(b"damaged")
    second: Any = checkpoints(tmp_path, data, keep_checkpoints=1)
    assert second.load(Weights(0.0)).step == 0
    second.save(Weights(2.0), Progress(step=3))
    second.finish()
    assert [step_of(path) for path in (tmp_path / ".out.resume").iterdir()] == [3]
    restored: Any = Weights(0.0)
    assert checkpoints(tmp_path, data).load(restored).step == 3
    assert restored.tensor.tolist() == [2.0] * 3


@pytest.mark.parametrize(
    ("changes", "seconds", "tokens", "is_due"),
    [
        ({"max_seconds": 100.0}, 4.9, 0, False),
        ({"max_seconds": 100.0}, 5.1, 0, True),  # 5 % of the budget
        ({"max_seconds": 1e6}, 29.0, 0, False),
        ({"max_seconds": 1e6}, 31.0, 0, True),  # at most 30 s
        ({"max_seconds": None, "max_tokens": 1000}, 10.0, 200, True),  # it will take 50 s, of which 5 % are 2.5 s
        ({"max_seconds": None, "max_tokens": 1000}, 10.0, 40, False),  # it will take 250 s
        ({"checkpoint_every_s": 60.0}, 59.0, 0, False),
        ({"checkpoint_every_s": 60.0}, 61.0, 0, True),
        ({"keep_checkpoints": 0}, 99.0, 0, False),
    ],
)
def test_a_checkpoint_is_due_after_a_share_of_the_budget(
    tmp_path: Path, data: Data, changes: dict[str, Any], seconds: float, tokens: int, is_due: bool
) -> None:
    progress = Progress(step=3, seconds=seconds, tokens=tokens)
    assert checkpoints(tmp_path, data, **changes).is_due(progress) == is_due


def test_a_checkpoint_that_cannot_be_written_ends_the_fit_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / ".out.resume").write_text("a file in the place of the folder")
    with pytest.raises(OSError, match=r"\.out\.resume"):
        again(tmp_path, settings(tmp_path, epochs=40))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_version_is_ignored(tmp_path: Path, data: Data) -> None:
    saver: Any = checkpoints(tmp_path, data)
    saver.save(Weights(1.0), Progress(step=1))
    saver.finish()
    (about,) = (tmp_path / ".out.resume").glob("*/*.json")
    saved = json.loads(about.read_text())
    saved["progress"]["places"] = saved["progress"].pop("padded_tokens")
    about.write_text(json.dumps(saved))
    assert checkpoints(tmp_path, data).load(Weights(0.0)).step == 0  # type: ignore[arg-type]
