"""Where a contender reports its steps: the gate times them, and makes the contender wait for its turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.bench.learner.memory import MIB, peak_rss_mib, rss_mib
from cluster.bench.learner.workload import Workload

STOP = 0
"""Instead of a number of threads: there are no more rounds."""


class Finished(Exception):
    """Raised in a contender that was told to stop."""


@dataclass
class Record:
    """Measurements of one contender.

    Attributes:
        configuration: all its settings.
        losses: loss of each step of the warm-up.
        step_s, step_cpu_s: mean wall-clock and CPU seconds of a step, one value for each round, by number of threads.
        peak_mib: largest memory above libraries and weights.
    """

    configuration: dict[str, Any] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    step_s: dict[int, list[float]] = field(default_factory=dict)
    step_cpu_s: dict[int, list[float]] = field(default_factory=dict)
    peak_mib: float = 0.0


class Gate:
    """Times the steps of one contender.

    Args:
        wait: called with the measurements so far, after the warm-up and after each round. It returns when it is this
            contender's turn again, with the number of threads of the next round, or with `STOP`.
    """

    def __init__(self, workload: Workload, wait: Callable[[Record], int]) -> None:
        self.record = Record()
        self._workload = workload
        self._wait = wait
        self._meter = make_meter(workload.device)
        self._left = workload.warm_up
        self._threads = STOP
        self._started = (0.0, 0.0)

    def ready(self, configuration: dict[str, Any], *, missing_parameters: int = 0) -> None:
        """Called when the models are loaded, except for ``missing_parameters``, and training begins."""
        self.record.configuration = configuration
        self._meter.start(missing_parameters * 4 / MIB)

    def step(self, loss: float) -> None:
        """Called after each optimizer step.

        Raises:
            Finished: there are no more rounds.
        """
        now = self._meter.clocks()
        self._left -= 1
        if self._threads == STOP:
            self.record.losses.append(loss)
        if self._left:
            return
        self.record.peak_mib = self._meter.peak_mib()
        if self._threads != STOP:
            wall, cpu = (end - start for end, start in zip(now, self._started, strict=True))
            self.record.step_s.setdefault(self._threads, []).append(wall / self._workload.steps)
            self.record.step_cpu_s.setdefault(self._threads, []).append(cpu / self._workload.steps)
        self._threads, self._left = self._wait(self.record), self._workload.steps
        if self._threads == STOP:
            raise Finished
        self._meter.set_threads(self._threads)
        self._started = self._meter.clocks()


class Meter:
    """Clocks and memory of this process."""

    _before_mib = 0.0

    def start(self, missing_mib: float) -> None:
        """Count memory from now on, without ``missing_mib`` that will be allocated."""
        self._before_mib = rss_mib() + missing_mib

    def clocks(self) -> tuple[float, float]:
        """Wall-clock and CPU seconds."""
        return time.perf_counter(), time.process_time()

    def peak_mib(self) -> float:
        """Largest memory since `start`."""
        return peak_rss_mib() - self._before_mib

    def set_threads(self, threads: int) -> None:
        """Set the number of threads of PyTorch and its libraries."""
        import torch

        torch.set_num_threads(threads)


class _CudaMeter(Meter):
    """Clocks after all work of the GPU is done, and the allocator's memory."""

    def start(self, missing_mib: float) -> None:
        import torch

        self._before_mib = torch.cuda.memory_allocated() / MIB + missing_mib
        torch.cuda.reset_peak_memory_stats()

    def clocks(self) -> tuple[float, float]:
        import torch

        torch.cuda.synchronize()
        return super().clocks()

    def peak_mib(self) -> float:
        import torch

        return torch.cuda.max_memory_allocated() / MIB - self._before_mib


def make_meter(device: str) -> Meter:
    """Create the meter of ``cpu`` or ``cuda``."""
    return _CudaMeter() if device == "cuda" else Meter()
