"""Our contenders and the floor. Each trains on all episodes in every step and reports the step to its gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.bench.learner.gate import Gate
from cluster.bench.learner.models import load_model, scored_episodes, selected_logits, top_k
from cluster.bench.learner.workload import Workload, parameters, trained
from learner.config import LearnerConfig
from learner.fit import fit
from learner.reports import StepReport
from rollout.errors import UserError
from rollout.trajectory import TopK, Trajectory

LEARNING_RATE, BETAS, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-4, (0.9, 0.98), 0.01, 1.0
"""Settings of AdamW and of clipping, for every contender."""


def ours(workload: Workload, folder: Path, gate: Gate, divergence: str) -> None:
    """`learner.fit.fit` on recorded episodes, in the settings that a recipe has by default."""
    config = LearnerConfig.model_validate(
        {
            "model": str(folder / "student"),
            "terms": [{"stream": "generated", "divergence": divergence}],
            "epochs": workload.num_steps,
            "batch_episodes": workload.episodes,
            "micro_batch_tokens": workload.micro_batch_tokens,
            "learning_rate": LEARNING_RATE,
            "warmup_fraction": 0.0,
            "decay": "constant",
            "weight_decay": WEIGHT_DECAY,
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "max_grad_norm": MAX_GRAD_NORM,
            "precision": workload.precision,
            "keep_checkpoints": 0,
        }
    )
    recorded = scored_episodes(folder)
    expected = sum(sum(trained(episode)) for episode in recorded)

    def on_step(report: StepReport) -> None:
        if report.trained_tokens != report.step * expected:
            raise UserError(
                f"after {report.step} steps the learner has trained on {report.trained_tokens} tokens, not on "
                f"{report.step * expected}, so its steps cannot be compared; change the benchmark's LearnerConfig."
            )
        gate.step(report.loss)

    load_model(workload, folder / "student")  # imports what `fit` would import, before memory is counted
    settings = config.model_dump(mode="json") | {"model": "student"}
    gate.ready(settings, missing_parameters=parameters(workload, workload.student))
    fit(config, recorded, str(folder / f"out-{divergence}"), on_step=on_step)


def floor(workload: Workload, folder: Path, gate: Gate, loss_of: Callable[[Tensor, Tensor, TopK], Tensor]) -> None:
    """Forward, backward and AdamW in plain PyTorch: one pass per episode without padding, the head on trained tokens.

    There is no data loading, clipping, report or checkpoint.
    """
    model = load_model(workload, folder / "student").train()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)
    recorded = scored_episodes(folder)
    scores = [_scores(episode) for episode in recorded]
    total = sum(map(len, scores))
    gate.ready(
        {
            "what": (floor.__doc__ or "").split("\n")[0],
            "loss": loss_of.__doc__,
            "learning_rate": LEARNING_RATE,
            "betas": BETAS,
            "weight_decay": WEIGHT_DECAY,
            "precision": workload.precision,
        }
    )
    while True:
        losses = []
        for episode, top in zip(recorded, scores, strict=True):
            with torch.autocast(workload.device, torch.bfloat16, enabled=workload.precision == "bfloat16"):
                logits_NV, labels_N = selected_logits(model, episode)
            loss = loss_of(logits_NV.float(), labels_N, top) / total
            loss.backward()
            losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        gate.step(float(torch.stack(losses).sum()))


def cross_entropy(logits_NV: Tensor, labels_N: Tensor, _scores: TopK) -> Tensor:
    """Sum of -log q(label)."""
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="sum")


def forward_kl(logits_NV: Tensor, _labels_N: Tensor, scores: TopK) -> Tensor:
    """Sum of KL(teacher || student) over the teacher's entries; the tail, which is empty here, is left out."""
    ids_Nk = torch.tensor(scores.token_ids, device=logits_NV.device)
    log_p_Nk = torch.tensor(scores.logprobs, device=logits_NV.device)
    log_q_Nk = logits_NV.log_softmax(dim=1).gather(1, ids_Nk)
    return (log_p_Nk.exp() * (log_p_Nk - log_q_Nk)).sum()


def scoring(workload: Workload, folder: Path, gate: Gate) -> None:
    """The teacher's scoring pass alone: one forward pass per episode, the top-k and the tail at each trained token."""
    teacher = load_model(workload, folder / "teacher").eval()
    recorded = scored_episodes(folder)
    gate.ready({"what": (scoring.__doc__ or "").strip(), "top_k": workload.top_k, "precision": workload.precision})
    while True:
        tail = torch.zeros((), device=workload.device)
        for episode in recorded:
            with torch.autocast(workload.device, torch.bfloat16, enabled=workload.precision == "bfloat16"):
                tail = tail + top_k(teacher, episode, workload.top_k)[2].sum()
        gate.step(float(tail))


def _scores(episode: Trajectory) -> TopK:
    tops: list[Any] = [segment.teacher for segment in episode.segments if segment.teacher is not None]
    return TopK(
        tuple(row for top in tops for row in top.token_ids),
        tuple(row for top in tops for row in top.logprobs),
        tuple(mass for top in tops for mass in top.tail_mass),
    )
