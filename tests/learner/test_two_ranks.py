"""Two processes under DDP, FSDP2 or DeepSpeed compute what one does, and resume where they were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learner.config import LearnerConfig
from learner.fit import fit
from learner.reports import StepReport
from tests.learner.test_fit import EPISODES, KL, assert_equal_weights, settings
from tests.learner.toys import small_model, toy_model, toy_tokenizer

ROOT = Path(__file__).resolve().parents[2]
EXTENSIONS = ROOT / ".pytest_cache" / "torch_extensions"
"""Where DeepSpeed compiles what it needs on a CPU, once for this checkout."""


def run_two_ranks(tmp_path: Path, configs: dict[str, LearnerConfig], kill_after: int = 0) -> list[list[dict[str, Any]]]:
    """Train each config in two processes on ``EPISODES``; return rank 0's step reports of each."""
    for name, config in configs.items():
        (tmp_path / f"{name}.json").write_text(config.model_dump_json())
    command = [sys.executable, str(Path(__file__).parent / "two_ranks.py"), str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TORCH_EXTENSIONS_DIR": str(EXTENSIONS),
    }
    for lock in EXTENSIONS.rglob("lock"):
        lock.unlink()  # of a run that was killed while it compiled: PyTorch would wait for it without a limit
    processes = [
        subprocess.Popen([*command, rank, str(kill_after), *configs], env={**environment, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    try:
        codes = [process.wait(timeout=850) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == ([0, 0] if not kill_after else [3, 3])
    return [[json.loads(line) for line in (tmp_path / f"{name}.steps").read_text().splitlines()] for name in configs]


ZERO = {stage: {"strategy": "deepspeed", "zero_stage": stage} for stage in (1, 2, 3)}
FSDP2 = {"strategy": "fsdp2"}
RECOMPUTE, OFFLOAD, HALF = {"recompute_activations": True}, {"cpu_offload": True}, {"precision": "bfloat16"}
REFERENCES: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": {"rank": 4}},
    "gpt2": {"model": "gpt2"},
    "bfloat16": HALF,
    "exact": {
        "terms": [{"stream": "generated", "divergence": "reverse_kl", "signal": "exact"}],
        "teacher": {"model": "gpt2", "precision": "float32"},
    },
}
"""Settings of one process, by name."""
QUICK: dict[str, tuple[str, dict[str, Any]]] = {
    "ddp": ("plain", {}),
    "fsdp2": ("plain", FSDP2),
}
"""Settings of two processes by name, with the name of the reference that they follow."""
SLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "ddp-lora": ("lora", {}),
    "fsdp2-lora": ("lora", FSDP2),
    "fsdp2-recompute": ("plain", FSDP2 | RECOMPUTE),
    "fsdp2-offload": ("plain", FSDP2 | OFFLOAD),
    "fsdp2-lora-recompute": ("lora", FSDP2 | RECOMPUTE),
    "fsdp2-gpt2": ("gpt2", FSDP2),
    **{f"zero{stage}": ("plain", zero) for stage, zero in ZERO.items()},
    **{f"zero{stage}-lora": ("lora", zero) for stage, zero in ZERO.items()},
    **{f"zero{stage}-offload": ("plain", zero | OFFLOAD) for stage, zero in ZERO.items()},
    "zero3-recompute": ("plain", ZERO[3] | RECOMPUTE),
    "zero3-lora-recompute": ("lora", ZERO[3] | RECOMPUTE),
    "zero3-gpt2": ("gpt2", ZERO[3]),
    "fsdp2-exact": ("exact", FSDP2),
    "zero3-exact": ("exact", ZERO[3]),
    "fsdp2-bfloat16": ("bfloat16", FSDP2),
    "zero2-bfloat16": ("bfloat16", ZERO[2]),
    "zero3-bfloat16": ("bfloat16", ZERO[3]),
}


def two_rank_config(folder: Path, reference: str, changes: dict[str, Any]) -> LearnerConfig:
    """Twenty-one steps from a folder with bfloat16 weights.

    Three episodes a step and small passes: ranks have unequal work, and gradients are accumulated.
    """
    terms = [
        *KL,
        {"stream": "format", "divergence": "cross_entropy"},
        {"stream": "generated", "divergence": "jsd", "reduction": "span_mean"},
        {"stream": "random", "divergence": "cross_entropy"},
    ]
    base = {"model": "qwen2", "terms": terms, "epochs": 3, "batch_episodes": 3, "micro_batch_tokens": 64,
            "learning_rate": 1e-3, "warmup_fraction": 0.0, "weight_decay": 0.3}  # fmt: skip
    merged = {**base, **REFERENCES[reference], **changes}
    if "teacher" in merged:
        merged["teacher"] = {**merged["teacher"], "model": str(folder / merged["teacher"]["model"])}
    return LearnerConfig.model_validate({**merged, "model": str(folder / merged["model"])})


def follows(folder: Path, name: str, reference: str, steps: list[dict[str, Any]]) -> None:
    """Train the reference in this process, unless that was done, and compare steps and weights."""
    alone, log = folder / f"{reference}-alone", folder / f"{reference}.log"
    if not alone.exists():
        reports: list[StepReport] = []
        fit(two_rank_config(folder, reference, {}), EPISODES, str(alone), on_step=reports.append)
        log.write_text(json.dumps([[report.loss, report.grad_norm] for report in reports]))
    rounding = 1e-6 if reference != "bfloat16" else 1e-2
    expected = json.loads(log.read_text())
    assert len(expected) == 21
    assert [r["loss"] for r in steps] == pytest.approx([loss for loss, _ in expected], rel=rounding)
    assert [r["grad_norm"] for r in steps] == pytest.approx([norm for _, norm in expected], rel=rounding)
    (file,) = alone.glob("*.safetensors")
    left, right = load_file(file), load_file(folder / name / file.name)
    assert left.keys() == right.keys()
    for key in left:
        # The gradient of key biases is zero but for rounding, which AdamW scales up.
        atol = 1e-5 if reference == "gpt2" or key.endswith("k_proj.bias") else rounding
        torch.testing.assert_close(right[key].float(), left[key].float(), rtol=0.0, atol=atol, msg=f"{name}: {key}")


def train_all(folder: Path, cases: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Train all cases by one pair of processes, because starting a pair takes longer; return their step reports."""
    for name, model in (("qwen2", toy_model()), ("gpt2", small_model("gpt2"))):
        model.to(torch.bfloat16).save_pretrained(folder / name)
        toy_tokenizer(folder / name)
    configs = {name: two_rank_config(folder, *case) for name, case in cases.items()}
    return dict(zip(configs, run_two_ranks(folder, configs), strict=True))


@pytest.mark.timeout(900)
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    for name, steps in train_all(tmp_path, QUICK).items():
        follows(tmp_path, name, QUICK[name][0], steps)


@pytest.fixture(scope="module")
def all_strategies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("two-ranks")
    return folder, train_all(folder, SLOW)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_compute_what_one_does_with_every_strategy(
    all_strategies: tuple[Path, dict[str, list[dict[str, Any]]]], name: str
) -> None:
    """In bfloat16, FSDP2 rounds norms and sums between layers, which autocast does not."""
    folder, steps = all_strategies
    follows(folder, name, SLOW[name][0], steps[name])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_killed_processes_resume_at_their_last_checkpoint(tmp_path: Path) -> None:
    config = settings(tmp_path, epochs=1, batch_episodes=3, strategy="fsdp2", checkpoint_every_s=1e-9)
    (whole,) = run_two_ranks(tmp_path, {"whole": config})
    (first,) = run_two_ranks(tmp_path, {"resumed": config}, kill_after=4)
    (rest,) = run_two_ranks(tmp_path, {"resumed": config})
    start = rest[0]["step"]  # they are killed while a checkpoint is written
    assert [report["step"] for report in first + rest] == [1, 2, 3, 4, *range(start, 8)]
    assert [r["loss"] for r in rest] == [r["loss"] for r in whole[start - 1 :]]
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_strategy_restores_weights_and_moments(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    sharding = {"ddp": {}, "fsdp2": FSDP2, **{f"zero{stage}": zero for stage, zero in ZERO.items()}}
    configs = {
        f"{name}{suffix}": settings(tmp_path, epochs=1, batch_episodes=3, checkpoint_every_s=1e-9, **changes)
        for name, changes in sharding.items()
        for suffix in ("", "-interrupted")
    }
    steps = dict(zip(configs, run_two_ranks(tmp_path, configs), strict=True))
    for name in sharding:
        whole, parts = steps[name], steps[f"{name}-interrupted"]
        start = parts[4]["step"]
        assert 1 < start <= 4, name
        assert [report["step"] for report in parts] == [1, 2, 3, 4, *range(start, 8)], name
        assert [r["loss"] for r in parts[4:]] == [r["loss"] for r in whole[start - 1 :]], name
        assert_equal_weights(tmp_path / name, tmp_path / f"{name}-interrupted")
