"""From measurements to figures, ratios and the JSON result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from cluster.bench.learner import flops
from cluster.bench.learner.gate import Record
from cluster.bench.learner.registry import memory_ratios, time_ratios
from cluster.bench.learner.workload import SEED, Workload, description, episodes, token_ids, trained
from cluster.bench.result import BenchResult
from cluster.run.provenance import package_version, versions

PEERS = ("trl", "accelerate", "datasets", "liger-kernel")
"""Packages of the contenders, in addition to ours."""


class LearnerResult(BenchResult):
    """The result with everything that it was computed from.

    ``workloads`` has the sizes. ``measurements`` has, for each workload and contender, the configuration, the losses
    that were compared, and all samples and medians by number of threads. ``notes`` says why something is missing.
    """

    versions: dict[str, str]
    workloads: dict[str, dict[str, Any]]
    measurements: dict[str, dict[str, dict[str, Any]]]
    notes: dict[str, str]


@dataclass
class Findings:
    """What has been measured so far."""

    figures: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    measurements: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, workload: Workload, records: Mapping[str, Record], suffix: str = "") -> None:
        """Add the contenders of one workload; ``suffix`` is appended to the names of figures and ratios.

        Times of more threads than the first number have it in their names as well.
        """
        self.workloads[workload.name] = description(workload)
        self.measurements[workload.name] = {name: _measurement(record) for name, record in records.items()}
        lengths, learned = _sizes(workload)
        peaks = {name: record.peak_mib for name, record in records.items()}
        self.figures |= {
            f"tokens_per_step{suffix}": float(sum(lengths)),
            f"trained_share{suffix}": learned / sum(lengths),
            **{f"{name}_peak_mib{suffix}": peak for name, peak in peaks.items()},
        }
        self.ratios |= {f"{name}{suffix}": value for name, value in memory_ratios(peaks).items()}
        for threads in workload.threads:
            ending = suffix if threads == workload.threads[0] else f"{suffix}_{threads}_threads"
            samples = {name: record.step_s[threads] for name, record in records.items()}
            self.figures |= {f"{name}_step_ms{ending}": 1e3 * median(times) for name, times in samples.items()}
            self.ratios |= {f"{name}{ending}": value for name, value in time_ratios(samples).items()}

    def add_mfu(self, workload: Workload, records: Mapping[str, Record], device: str, suffix: str) -> None:
        """Add tokens per second and MFU of the contenders that train."""
        lengths, learned = _sizes(workload)
        peak = flops.peak_tflops(device)
        for name, record in records.items():
            if name == "teacher_scoring":
                continue
            seconds = median(record.step_s[workload.threads[0]])
            self.figures[f"{name}_tokens_per_s{suffix}"] = sum(lengths) / seconds
            if peak is not None:
                self.figures[f"{name}_mfu{suffix}"] = flops.step_tflop(workload, lengths, learned) / seconds / peak
        self.notes["mfu"] = flops.explanation(device)

    def result(self) -> LearnerResult:
        """The whole result."""
        peers = {name: version for name in PEERS if (version := package_version(name)) is not None}
        return LearnerResult(
            seeds=[SEED],
            figures=self.figures,
            ratios=self.ratios,
            versions=versions() | peers,
            workloads=self.workloads,
            measurements=self.measurements,
            notes=self.notes,
        )


def _sizes(workload: Workload) -> tuple[list[int], int]:
    """Length of each episode, and trained tokens of all."""
    made = episodes(workload)
    return [len(token_ids(episode)) for episode in made], sum(sum(trained(episode)) for episode in made)


def _measurement(record: Record) -> dict[str, Any]:
    medians = {threads: median(samples) for threads, samples in record.step_s.items()}
    medians_cpu = {threads: median(samples) for threads, samples in record.step_cpu_s.items()}
    return {**asdict(record), "median_step_s": medians, "median_step_cpu_s": medians_cpu}
