"""TRL's trainers on the same episodes, as they are shipped and compacted.

TRL drops the positions that are not trained on before the head, but only on GPUs. `compact` turns that on for a CPU.
Generation is left out: `DistillationTrainer` gets the recorded episodes, and `GKDTrainer` runs with ``lmbda`` 0.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cluster.bench.learner.contenders import BETAS, LEARNING_RATE, MAX_GRAD_NORM, WEIGHT_DECAY
from cluster.bench.learner.gate import Gate
from cluster.bench.learner.models import load_model, scored_episodes
from cluster.bench.learner.workload import Workload, token_ids, trained
from learner.model import load_tokenizer

COMPACTED = (
    "trl.trainer.utils._use_triton and trl.trainer.distillation_trainer._use_triton return True, so the hidden states "
    "of positions that are not trained on are dropped before the head, as on a GPU; TRL's kernels stay in plain torch"
)
SHIPPED = "none"
IGNORED = -100
"""Label of a token that is not trained on."""


def compact() -> None:
    """Patch TRL in this process as `COMPACTED` says."""
    from trl.trainer import distillation_trainer, utils

    modules: tuple[Any, ...] = (utils, distillation_trainer)
    for module in modules:
        module._use_triton = lambda _device: True


def sft_packing(workload: Workload, folder: Path, gate: Gate, *, compacted: bool) -> None:
    """Cross-entropy with packing (best fit, block-diagonal attention)."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    dataset = Dataset.from_list([_labeled(episode) for episode in scored_episodes(folder)])
    rows = len(pack_dataset(dataset, workload.micro_batch_tokens, "bfd"))
    arguments = _arguments(workload, folder, rows=1, passes=rows) | {
        "packing": True,
        "packing_strategy": "bfd",
        "max_length": workload.micro_batch_tokens,
    }
    _train(SFTTrainer, SFTConfig, arguments, workload, folder, gate, compacted, train_dataset=dataset)


def gkd(workload: Workload, folder: Path, gate: Gate, *, compacted: bool) -> None:
    """Forward KL to the teacher's logits at every position, in the padded batch."""
    from datasets import Dataset
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    dataset = Dataset.from_list([_labeled(episode) for episode in scored_episodes(folder)])
    arguments = _arguments(workload, folder, **_batches(workload)) | {"beta": 0.0, "lmbda": 0.0, "temperature": 1.0}
    parts = {"train_dataset": dataset, "data_collator": _pad, "teacher_model": load_model(workload, folder / "teacher")}
    _train(GKDTrainer, GKDConfig, arguments, workload, folder, gate, compacted, **parts)


def distillation(workload: Workload, folder: Path, gate: Gate, *, compacted: bool) -> None:
    """Forward KL to the teacher's hidden states and head, in chunks."""
    from datasets import Dataset
    from trl.trainer.distillation_config import DistillationConfig
    from trl.trainer.distillation_trainer import DistillationTrainer

    recorded = [_prompt_and_completion(_labeled(episode)) for episode in scored_episodes(folder)]

    class Recorded(DistillationTrainer):
        """Trains on the recorded episodes; a prompt is the number of one."""

        def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
            chosen = [recorded[int(prompt)] for prompt in prompts]
            return (*(list(column) for column in zip(*chosen, strict=True)), None, None)

    arguments = _arguments(workload, folder, **_batches(workload)) | {
        "beta": 0.0,
        "temperature": 1.0,
        "max_completion_length": workload.max_positions,
    }
    dataset = Dataset.from_dict({"prompt": [str(number) for number in range(len(recorded))]})
    parts = {"train_dataset": dataset, "teacher_model": load_model(workload, folder / "teacher")}
    _train(Recorded, DistillationConfig, arguments, workload, folder, gate, compacted, **parts)


def _arguments(workload: Workload, folder: Path, *, rows: int, passes: int) -> dict[str, Any]:
    """Settings that all trainers share; the optimizer is that of our contenders."""
    return {
        "output_dir": str(folder / "trl"),
        "max_steps": workload.num_steps,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": passes,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": WEIGHT_DECAY,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "max_grad_norm": MAX_GRAD_NORM,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "bf16": workload.precision == "bfloat16",
        "use_cpu": workload.device == "cpu",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }


def _batches(workload: Workload) -> dict[str, int]:
    """Passes of equally many episodes that have about ``micro_batch_tokens`` positions when padded."""
    fitting = max(1, workload.micro_batch_tokens // workload.tokens[1])
    rows = max(n for n in range(1, workload.episodes + 1) if workload.episodes % n == 0 and n <= fitting)
    return {"rows": rows, "passes": workload.episodes // rows}


def _train(
    trainer: Any,
    settings: Any,
    arguments: dict[str, Any],
    workload: Workload,
    folder: Path,
    gate: Gate,
    compacted: bool,
    **parts: Any,
) -> None:
    """Run a trainer that reports to ``gate``."""
    if compacted:
        compact()
    made = _reporting(trainer, gate)(
        model=load_model(workload, folder / "student"),
        args=settings(**arguments),
        processing_class=load_tokenizer(str(folder / "student")),
        **parts,
    )
    gate.ready(
        {
            "trainer": next(kind.__name__ for kind in trainer.__mro__ if kind.__module__.startswith("trl.")),
            **{name: value for name, value in arguments.items() if name != "output_dir"},
            "patch": COMPACTED if compacted else SHIPPED,
        }
    )
    made.train()


def _reporting(trainer: Any, gate: Gate) -> Any:
    """The trainer's class, with each optimizer step reported to ``gate``."""
    from transformers import TrainerCallback

    losses: list[torch.Tensor] = []

    class Report(TrainerCallback):
        def on_step_end(self, *_arguments: Any, **_named: Any) -> None:
            gate.step(float(torch.stack(losses).sum()))
            losses.clear()

    class Reporting(trainer):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, callbacks=[Report()], **named)

        def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*arguments, **named)
            losses.append(loss.detach())
            return loss

    return Reporting


def _labeled(episode: Any) -> dict[str, list[int]]:
    ids = token_ids(episode)
    labels = [token if learned else IGNORED for token, learned in zip(ids, trained(episode), strict=True)]
    return {"input_ids": ids, "labels": labels}


def _pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A batch that is padded on the right."""
    fill: dict[str, Callable[[dict[str, Any]], tuple[list[int], int]]] = {
        "input_ids": lambda row: (row["input_ids"], 0),
        "labels": lambda row: (row["labels"], IGNORED),
        "attention_mask": lambda row: ([1] * len(row["input_ids"]), 0),
    }
    length = max(len(row["input_ids"]) for row in rows)
    columns = {name: [get(row) for row in rows] for name, get in fill.items()}
    return {
        name: torch.tensor([values + [padding] * (length - len(values)) for values, padding in column])
        for name, column in columns.items()
    }


def _prompt_and_completion(row: dict[str, list[int]]) -> tuple[list[int], list[int], list[int]]:
    """Tokens before the first trained one, the others, and which of these are trained on (TRL's tool mask)."""
    ids, labels = row["input_ids"], row["labels"]
    first = next(place for place, label in enumerate(labels) if label != IGNORED)
    return ids[:first], ids[first:], [int(label != IGNORED) for label in labels[first:]]
