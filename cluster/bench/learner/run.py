"""The whole benchmark on a CPU or on a GPU."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.bench.learner import plan
from cluster.bench.learner.gate import Record
from cluster.bench.learner.measure import Notify, measure_in_turns
from cluster.bench.learner.process import OutOfMemory, call
from cluster.bench.learner.registry import MISSING_TRL, Contender, available, has_trl
from cluster.bench.learner.result import Findings, LearnerResult
from cluster.bench.learner.workload import CPU, GPU_TOKENS, QUICK, HeadCase, Workload, gpu_workload
from rollout.errors import UserError

HEAD_SIZES = (1, 16)
"""Trained tokens of the head's measurements, in thousands."""
JSD_VOCABULARY, TINY_VOCABULARY = 128_000, 512
PACKAGE = "cluster.bench.learner"


def notify(line: str) -> None:
    """Write a line of progress."""
    print(line, file=sys.stderr, flush=True)


def bench_learner(
    device: str = "cpu", *, quick: bool = False, trl: bool | None = None, notify: Notify = notify
) -> LearnerResult:
    """Measure the learner against the floor and TRL.

    Args:
        device: ``cpu`` or ``cuda``.
        quick: tiny models and few samples, to check that everything works.
        trl: whether to measure TRL; None measures it if it is installed.
        notify: called with lines of progress.

    Raises:
        UserError: there is no such device, or the losses of two contenders differ.
    """
    if device not in ("cpu", "cuda"):
        raise UserError(f"there is no device {device}; choose cpu or cuda.")
    findings = Findings()
    with_trl = has_trl() if trl is None else trl
    if not with_trl:
        findings.notes["trl"] = MISSING_TRL
        notify(f"TRL is {MISSING_TRL}")
    with tempfile.TemporaryDirectory(prefix="stillhouse-bench-") as name:
        measure = _on_cpu if device == "cpu" else _on_gpu
        measure(findings, available(trl=with_trl), Path(name), quick, notify)
    return findings.result()


def _on_cpu(findings: Findings, contenders: Mapping[str, Contender], folder: Path, quick: bool, notify: Notify) -> None:
    workload = QUICK if quick else CPU
    _compete(findings, workload, contenders, folder / workload.name, "", notify)
    notify("planning an epoch for one and for 8 ranks")
    findings.figures |= plan.figures()
    notify("timing the batches of a step")
    data_s = call(f"{PACKAGE}.data_wait:data_wait_s", workload, folder / workload.name, log=folder / "data.log")
    findings.figures["data_wait_share"] = 1e3 * data_s / findings.figures["kl_step_ms"]
    cases = [HeadCase(1024, 4096)] if quick else [HeadCase(1024 * size) for size in HEAD_SIZES]
    for case in cases:
        _head(findings, f"head_peak_mib_{case.trained_tokens // 1024}k", folder, notify, case)
    episodes = 2000 if quick else 100_000
    figure = f"rss_mib_{episodes // 1000}k_episodes"
    _try(findings, figure, notify, lambda: _memory("episodes_rss_mib", folder / figure, episodes, 300))


def _on_gpu(findings: Findings, contenders: Mapping[str, Contender], folder: Path, quick: bool, notify: Notify) -> None:
    device = call(f"{PACKAGE}.models:gpu_name", log=folder / "gpu.log", device="cuda")
    notify(f"measuring on {device}")
    workloads = [gpu_workload(tokens) for tokens in GPU_TOKENS]
    if quick:
        workloads = [replace(QUICK, name="cuda_quick", device="cuda", precision="bfloat16")]
    for workload in workloads:
        suffix = f"_{workload.name.removeprefix('cuda_')}"
        records = _compete(findings, workload, contenders, folder / workload.name, suffix, notify)
        findings.add_mfu(workload, records, device, suffix)
    for size in HEAD_SIZES:
        _head(findings, f"head_peak_mib_{size}k", folder, notify, HeadCase(1024 * size, device="cuda"))
    jsd = HeadCase(8192, JSD_VOCABULARY, "jsd", "cuda")
    _head(findings, "jsd_peak_mib_8k", folder, notify, jsd)


def _compete(
    findings: Findings,
    workload: Workload,
    contenders: Mapping[str, Contender],
    folder: Path,
    suffix: str,
    notify: Notify,
) -> dict[str, Record]:
    """Measure all contenders on one workload, whose models and episodes are written first."""
    folder.mkdir()
    notify(f"{workload.name}: writing the models and the teacher's scores")
    call(f"{PACKAGE}.models:prepare", workload, folder, log=folder / "prepare.log", device=workload.device)
    records, failures = measure_in_turns(workload, contenders, folder, notify)
    findings.add(workload, records, suffix)
    findings.notes |= {f"{name}{suffix}": reason for name, reason in failures.items()}
    return records


def _head(findings: Findings, figure: str, folder: Path, notify: Notify, case: HeadCase) -> None:
    """Memory of the head: that of a step minus that of the same step with a tiny vocabulary."""

    def measure() -> float:
        rest = replace(case, vocabulary=TINY_VOCABULARY)
        return _memory("head_peak_mib", folder / figure, case, device=case.device) - _memory(
            "head_peak_mib", folder / f"{figure}-rest", rest, device=case.device
        )

    _try(findings, figure, notify, measure)


def _memory(function: str, folder: Path, *arguments: Any, device: str = "cpu") -> float:
    folder.mkdir()
    return float(call(f"{PACKAGE}.peaks:{function}", *arguments, folder, log=folder / "log", device=device))


def _try(findings: Findings, figure: str, notify: Notify, measure: Callable[[], float]) -> None:
    """Add a figure, or a note that there was not enough memory for it."""
    notify(f"measuring {figure}")
    try:
        findings.figures[figure] = measure()
    except OutOfMemory as error:
        findings.notes[figure] = f"out of memory: {error}"
        notify(f"  {findings.notes[figure]}")
