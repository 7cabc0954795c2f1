"""What FSDP2 shards and gathers, and in which precision, tested in a process group of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from learner.config import LearnerConfig
from learner.data.batching import Batch, collate
from learner.data.training_set import load_data
from learner.distributed import Distributed
from learner.model import decoder_layers
from learner.strategies.torch_trainer import TorchTrainer
from learner.teacher import FrozenTeacher
from tests.learner.toys import small_model, toy_model, toy_trajectory

TERMS = ({"stream": "generated", "divergence": "cross_entropy"},)


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group with this process only."""
    rendezvous = tmp_path_factory.mktemp("group") / "meet"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def config(**changes: Any) -> LearnerConfig:
    return LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 1, "terms": TERMS, **changes})


def sharded_trainer(model: Any, **changes: Any) -> TorchTrainer:
    """Create a trainer that shards, by claiming that there are two ranks."""
    return TorchTrainer(config(strategy="fsdp2", **changes), model, Distributed(0, 2, Distributed.current().device))


def micro_batch() -> Batch:
    data = load_data(config(), [toy_trajectory(0)], 512)
    return collate(data.sequences[:1], [term.weight_name for term in config().terms])


def with_adapters(model: Any) -> Any:
    import peft

    return peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))


@pytest.mark.parametrize("kind", ["qwen2", "opt", "gpt2"])
@pytest.mark.parametrize("adapters", [False, True])
def test_fsdp2_gathers_one_layer_at_a_time_in_bfloat16_and_keeps_shards_in_float32(kind: str, adapters: bool) -> None:
    model = with_adapters(small_model(kind)) if adapters else small_model(kind)
    first, second = decoder_layers(model)
    seen: list[tuple[set[torch.dtype], bool]] = []

    def record(layer: torch.nn.Module, *_: object) -> None:
        others_are_sharded = all(isinstance(p, DTensor) for p in second.parameters())
        seen.append(({p.dtype for p in layer.parameters()}, others_are_sharded))

    first.register_forward_hook(record)
    trainer = sharded_trainer(model, precision="bfloat16")
    trainer.accumulate(micro_batch(), [1.0], last=True)
    assert seen == [({torch.bfloat16}, True)]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_fsdp2_keeps_gradients_sharded_and_in_float32_after_each_micro_batch(precision: str) -> None:
    model = small_model("gpt2")
    trainer = sharded_trainer(model, precision=precision)
    trainer.accumulate(micro_batch(), [1.0], last=False)
    once = [p.grad for p in model.parameters()]
    assert all(isinstance(gradient, DTensor) and gradient.dtype == torch.float32 for gradient in once)
    before = [gradient.full_tensor().clone() for gradient in once if isinstance(gradient, DTensor)]
    trainer.accumulate(micro_batch(), [1.0], last=True)
    for parameter, single in zip(model.parameters(), before, strict=True):
        assert isinstance(parameter.grad, DTensor)
        torch.testing.assert_close(parameter.grad.full_tensor(), 2 * single)


def test_fsdp2_shards_the_layers_of_an_exact_teacher_and_computes_the_same_loss() -> None:
    changes: dict[str, Any] = {
        "terms": ({"stream": "generated", "divergence": "reverse_kl", "signal": "exact"},),
        "teacher": {"model": "toy"},
    }
    values = []
    for world_size in (1, 2):
        teacher = FrozenTeacher(toy_model(seed=1))
        layers = decoder_layers(teacher.model)
        distributed = Distributed(0, world_size, Distributed.current().device)
        trainer = TorchTrainer(config(strategy="fsdp2", **changes), toy_model(), distributed, teacher)
        values += [trainer.accumulate(micro_batch(), [1.0], last=last) for last in (False, True)]
        sharded = [isinstance(p, DTensor) for layer in layers for p in layer.parameters()]
        assert sharded == [world_size == 2] * len(sharded)
        assert all(p.grad is None for p in teacher.model.parameters())
    assert values == [pytest.approx(values[0], rel=1e-5)] * 4
    assert values[0][0] > 0.1
