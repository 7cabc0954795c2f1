"""Measures the memory that head and loss take above weights and hidden states.

It is a program of its own, so that memory which other code released does not count; see `head_peak_mib`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from learner.data.batching import Batch
from learner.losses.chunked import ChunkedLoss
from learner.teacher import FrozenTeacher
from learner.terms import ForwardKLTerm, JSDTerm, Term

VOCABULARY, HIDDEN, TOP_K = 151_936, 64, 16
LIMIT_S = 600.0


def head_peak_mib(tokens: int, *, vocabulary: int = VOCABULARY, hidden: int = HIDDEN, kind: str = "kl") -> float:
    """Return the peak of forward and backward on the CPU in MiB, measured in a process of its own.

    It is the resident memory above that of the head's weight, the hidden states and the gradient of these, and includes
    the gradient of the weight. Linux only.

    Args:
        tokens: number of trained tokens in the micro-batch.
        kind: ``kl`` is the forward KL on the teacher's top k; ``exact`` is the JSD over the whole vocabulary.
    """
    command = [sys.executable, "-m", "learner.head_memory", str(tokens), str(vocabulary), str(hidden), kind]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    return float(json.loads(finished.stdout)["peak_mib"])


class _HeadOnly(nn.Module):
    """A causal language model whose decoder returns fixed hidden states."""

    def __init__(self, tokens: int, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocabulary)
        self.decoder = _FixedStates(tokens, hidden)
        self.lm_head = nn.Linear(hidden, vocabulary, bias=False)

    def get_decoder(self) -> nn.Module:
        return self.decoder

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, **inputs: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.decoder(**inputs)[0]))


class _FixedStates(nn.Module):
    def __init__(self, tokens: int, hidden: int) -> None:
        super().__init__()
        self.states_1NH = nn.Parameter(torch.randn(1, tokens, hidden))

    def forward(self, **_: Any) -> tuple[torch.Tensor]:
        return (self.states_1NH,)


def fixed_batch(tokens: int, vocabulary: int) -> Batch:
    """A batch whose tokens all have weight 1 and random teacher scores."""
    generator = np.random.default_rng(0)
    ids = generator.integers(0, vocabulary // TOP_K, (tokens, TOP_K)) * TOP_K + np.arange(TOP_K)
    return Batch(
        input_ids=np.zeros((1, tokens), np.int64),
        positions=np.arange(tokens),
        labels=ids[:, 0].copy(),
        weights=np.ones((1, tokens), np.float32),
        teacher_rows=np.arange(tokens),
        teacher_sizes=np.ones(tokens, np.int64),
        teacher_ids=ids,
        teacher_logprobs=np.full((tokens, TOP_K), np.log(0.9 / TOP_K), np.float32),
        teacher_tail=np.full(tokens, 0.1, np.float32),
    )


def measure(tokens: int, vocabulary: int, hidden: int, kind: str) -> dict[str, float]:
    """Run forward and backward once; return the peak in MiB and the seconds."""
    exact = kind == "exact"
    term: Term = JSDTerm(stream="act", signal="exact") if exact else ForwardKLTerm(stream="act")
    model = _HeadOnly(tokens, vocabulary, hidden)
    teacher = FrozenTeacher(_HeadOnly(tokens, vocabulary, hidden)) if exact else None
    loss_of, batch = ChunkedLoss(model, (term,), teacher), fixed_batch(tokens, vocabulary)
    inputs = {"input_ids": torch.from_numpy(batch.input_ids)}
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    states_gradient_mib = tokens * hidden * 4 / 2**20
    before, started_s = _status_mib("VmRSS") + states_gradient_mib, time.perf_counter()
    loss, _ = loss_of(inputs, batch, [1.0 / tokens])
    loss.backward()
    return {"peak_mib": _status_mib("VmHWM") - before, "seconds": time.perf_counter() - started_s}


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
