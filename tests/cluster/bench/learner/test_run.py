"""The whole benchmark in child processes: what is in its result, and what is not without TRL or without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.bench.learner.gate import Record
from cluster.bench.learner.models import gpu_name
from cluster.bench.learner.registry import has_trl
from cluster.bench.learner.result import Findings
from cluster.bench.learner.run import bench_learner
from cluster.bench.learner.workload import QUICK, gpu_workload
from rollout.errors import UserError

ROOT = Path(__file__).resolve().parents[4]
HEAD = {"head_peak_mib_1k", "rss_mib_2k_episodes", "data_wait_share"}
PLAN = {"packing_efficiency", "packing_efficiency_8_ranks", "efficiency_8_ranks"}


def record(step_s: float, peak_mib: float = 10.0) -> Record:
    times = {1: [step_s] * 3, 2: [step_s / 2] * 3}
    return Record({"name": "x"}, [5.0], times, times, peak_mib)


def test_figures_and_ratios_have_the_threads_in_their_names_and_samples_are_kept() -> None:
    findings = Findings()
    findings.add(QUICK, {"kl": record(2.0), "kl_floor": record(1.0, 20.0)})
    result = findings.result()
    assert result["ratios"] == {"kl_vs_floor": 0.5, "kl_vs_floor_2_threads": 0.5, "peak_memory_kl_vs_floor": 0.5}
    assert result["figures"]["kl_step_ms"] == 2000.0
    assert result["figures"]["kl_step_ms_2_threads"] == 1000.0
    assert result["figures"]["kl_peak_mib"] == 10.0
    kept = result["measurements"]["quick"]["kl"]
    assert kept["step_s"] == {1: [2.0, 2.0, 2.0], 2: [1.0, 1.0, 1.0]}
    assert kept["median_step_s"] == {1: 2.0, 2: 1.0}
    assert result["workloads"]["quick"]["vocabulary"] == QUICK.vocabulary
    assert set(result) == {
        *("seeds", "figures", "ratios", "versions", "workloads", "measurements", "notes"),
    }
    json.dumps(result)


def test_tokens_per_second_and_mfu_of_a_known_gpu_and_no_mfu_of_another() -> None:
    workload = gpu_workload(4096)
    records = {"ce": Record({}, [5.0], {4: [0.5]}, {4: [0.5]})}
    known, other = Findings(), Findings()
    known.add_mfu(workload, records, "NVIDIA H200", "_4k")
    other.add_mfu(workload, records, "another", "_4k")
    assert known.figures["ce_tokens_per_s_4k"] == other.figures["ce_tokens_per_s_4k"] == 2 * 4096 / 0.5
    assert 0.0 < known.figures["ce_mfu_4k"] < 1.0
    assert set(other.figures) == {"ce_tokens_per_s_4k"}
    assert "989.0 TFLOP/s" in known.notes["mfu"]
    assert "not in cluster/bench/learner/flops.py" in other.notes["mfu"]


def test_an_unknown_device_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="there is no device tpu; choose cpu or cuda"):
        bench_learner("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_a_sentence_says_so() -> None:
    with pytest.raises(UserError, match="no GPU that PyTorch can use, so --device cuda is not measured"):
        gpu_name()


def test_the_module_is_imported_without_ray_vllm_and_torch() -> None:
    code = "import cluster.bench.learner.__main__, sys; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"ray", "vllm", "torch", "trl", "typer", "rich"} & set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trl", [False, True])
def test_a_quick_run_has_every_figure_or_a_note(trl: bool) -> None:
    if trl and not has_trl():
        pytest.skip("TRL is not installed: pip install stillhouse[bench]")
    lines: list[str] = []
    result = bench_learner(quick=True, trl=trl, notify=lines.append)
    assert set(result["figures"]) >= HEAD | PLAN | {"ce_step_ms", "kl_step_ms_2_threads", "kl_peak_mib"}
    assert {"ce_vs_floor", "kl_vs_floor", "kl_vs_floor_2_threads"} <= set(result["ratios"])
    assert any("round 2 of 2" in line for line in lines)
    assert any("'micro_batch_tokens': 192" in line for line in lines)
    measured = result["measurements"]["quick"]
    assert all(len(entry["step_s"][threads]) == 2 for entry in measured.values() for threads in (1, 2))
    if trl:
        assert {"kl_vs_trl_gkd", "kl_scored_vs_trl_gkd", "peak_memory_vs_trl_gkd"} <= set(result["ratios"])
        assert result["versions"]["trl"].startswith("1.16")
    else:
        assert result["notes"]["trl"] == "not installed: pip install stillhouse[bench]"
        assert not any("trl" in name for name in (*result["ratios"], *result["figures"], *measured))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_module_refuses_cuda_without_a_gpu() -> None:
    command = [sys.executable, "-m", "cluster.bench.learner", "--device", "cuda"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no GPU that PyTorch can use" in done.stderr
    assert "Traceback" not in done.stderr
