"""Model FLOPs of a step and the peak of a GPU, for MFU: model FLOPs per second divided by the GPU's peak.

A multiplication and an addition are two FLOPs. Forward and backward together have three times those of the forward
pass. Recomputation, padding and the positions that a contender computes without need are not counted.
"""

from __future__ import annotations

from cluster.bench.learner.workload import ModelSize, Workload, backbone_parameters

PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "RTX 4090": 165.0,
}
"""Dense bfloat16 peak by a part of the device's name, from NVIDIA's data sheets; the first that fits."""


def peak_tflops(device: str) -> float | None:
    """The assumed peak of a GPU; None if it is not in the table."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in device), None)


def step_tflop(workload: Workload, lengths: list[int], trained_tokens: int) -> float:
    """Model FLOPs of one training step of the student, in units of 10**12.

    6 x (parameters without embedding) x tokens, 6 x layers x hidden x length**2 for the causal attention of each
    episode, and 6 x vocabulary x hidden x trained tokens for the head.
    """
    size: ModelSize = workload.student
    backbone = 6 * backbone_parameters(size) * sum(lengths)
    attention = 6 * size.layers * size.hidden * sum(length**2 for length in lengths)
    head = 6 * workload.vocabulary * size.hidden * trained_tokens
    return (backbone + attention + head) / 1e12


def explanation(device: str) -> str:
    """How MFU is computed for ``device``, or why it is not."""
    peak = peak_tflops(device)
    if peak is None:
        return f"MFU is not computed: the peak of {device} is not in cluster/bench/learner/flops.py"
    return (
        "MFU = (6 x parameters without embedding x tokens + 6 x layers x hidden x sum of length^2 + 6 x vocabulary x "
        f"hidden x trained tokens) / seconds of a step / {peak} TFLOP/s, the dense bfloat16 peak of {device}"
    )
