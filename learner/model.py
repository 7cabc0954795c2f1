"""The student as a Hugging Face model: loading, random initialization, and saving in the standard folder format."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.checkpoints.handover import write_handover
from learner.config import LearnerConfig, LoraConfig, ScratchConfig
from learner.export import TrainedFormat, export_format
from learner.generation_config import repair
from learner.weight_files import load_weights, no_progress_bars, write_weights
from learner.widen import widen
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.storage.atomic import atomic_write

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


_ADAPTER = "adapter_config.json"


def load_tokenizer(source: str) -> Any:
    """Load the tokenizer of a folder or hub name, without remote code.

    Raises:
        UserError: there is no tokenizer that can be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer could be loaded from {source!r}; name a folder that has one.") from error


def starting_point(config: LearnerConfig, base_model: str | None) -> str:
    """Return the name of the initial model, or of the tokenizer if the model is trained from random initialization.

    Either one provides the student's tokenizer.

    Args:
        base_model: folder, ``builtin:`` name or hub name; overrides ``config.model`` and ``config.scratch``.

    Raises:
        UserError: neither is given.
    """
    if name := base_model or config.model:
        return name
    if config.scratch is None:
        raise UserError("the learner has no initial model; set learner.model or learner.scratch.")
    return config.scratch.tokenizer


def make_model(config: LearnerConfig, base_model: str | None) -> tuple[PreTrainedModel, str]:
    """Return the model to train and the folder or hub name of its tokenizer.

    Weights from files are on the CPU in the precision of the files; a trainer makes them float32.

    Raises:
        UserError: no model is named, it cannot be loaded, or it does not fit the settings.
    """
    import torch

    source = model_folder(starting_point(config, base_model))
    torch.manual_seed(config.seed)
    if config.scratch is not None and base_model is None:
        model = from_scratch(config.scratch)
    else:
        model = load_model(_adapted_model(source, config), _quantization(config))
    if config.widen > 1:
        model = widen(model.float(), config.widen)
    _check_router_loss(model.config)
    if config.recompute_activations:
        if not model.supports_gradient_checkpointing:
            raise UserError(
                f"models of type {model.config.model_type!r} cannot recompute activations; set "
                "learner.recompute_activations to false."
            )
        # ZeRO-3 frees gathered weights, which the non-reentrant form takes for a change of what it saved.
        reentrant = config.strategy == "deepspeed" and config.zero_stage == 3
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    if (Path(source) / _ADAPTER).is_file():
        import peft

        return peft.PeftModel.from_pretrained(model, source, is_trainable=True), source  # type: ignore[return-value]
    return (_with_adapters(model, config.lora) if config.lora else model), source


def _adapted_model(source: str, config: LearnerConfig) -> str:
    """The model under the adapters in the folder ``source``, which are trained further; without adapters ``source``."""
    if not (Path(source) / _ADAPTER).is_file():
        return source
    if config.lora is None:
        raise UserError(
            f"{source} holds adapters, not a model; set learner.lora to train them further, or name the model that "
            "they adapt."
        )
    try:
        adapted = json.loads((Path(source) / _ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        adapted = None
    if not isinstance(adapted, str):
        raise UserError(
            f"{Path(source) / _ADAPTER} does not name the model that its adapters adapt; set base_model_name_or_path "
            "there."
        )
    return adapted


def load_model(source: str, options: dict[str, Any] | None = None) -> PreTrainedModel:
    """Load a causal language model of a folder or hub name on the CPU, in the precision of its files.

    Args:
        options: further arguments of ``from_pretrained``.

    Raises:
        UserError: there is no model that can be loaded; see `learner.weight_files.load_weights`.
    """
    model = load_weights(source, **(options or {}))
    repair(model.generation_config)
    return model


def _quantization(config: LearnerConfig) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for frozen weights in 4 bits; empty without `LoraConfig.quantize`."""
    if config.lora is None or config.lora.quantize is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise UserError("learner.lora.quantize needs an NVIDIA GPU; remove it, or train where there is one.")
    if find_spec("bitsandbytes") is None:
        raise UserError("learner.lora.quantize needs the package bitsandbytes; install the extra qlora, or remove it.")
    dtype = getattr(torch, config.precision)
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.lora.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "dtype": dtype, "device_map": {"": torch.cuda.current_device()}}


def _check_router_loss(config: Any) -> None:
    """Refuse a mixture of experts that asks for its auxiliary loss, which the learner does not add."""
    if getattr(config, "output_router_logits", False) and getattr(config, "router_aux_loss_coef", 0.0):
        raise UserError(
            f"the config.json of this {config.model_type} model asks for the load-balancing loss of its router "
            "(output_router_logits), which the learner does not add; set output_router_logits to false there to train "
            "without it."
        )


def from_scratch(config: ScratchConfig) -> PreTrainedModel:
    """Create a randomly initialized decoder in float32, with the vocabulary size of its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    tokenizer = load_tokenizer(model_folder(config.tokenizer))
    make = {"qwen2": Qwen2Config, "llama": LlamaConfig}[config.family]
    architecture = make(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=config.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(architecture, dtype=torch.float32, attn_implementation="sdpa")


def decoder_layers(model: Any) -> list[Any]:
    """Return the decoder layers in order, for any architecture. With adapters, those of the base model.

    They are found by ``_no_split_modules``, with which transformers models declare the classes of their layers.

    Raises:
        UserError: the model does not declare a layer class.
    """
    bare = model.get_base_model() if hasattr(model, "peft_config") else model
    kinds = set(bare._no_split_modules or ())
    layers: dict[str, Any] = {}
    for name, module in bare.get_decoder().named_modules():
        inside = any(name.startswith(f"{layer}.") for layer in layers)  # some models also list submodules of layers
        if type(module).__name__ in kinds and not inside:
            layers[name] = module
    if not layers:
        raise UserError(
            f"models of type {bare.config.model_type!r} do not declare their layer class; "
            "set learner.strategy to ddp or deepspeed and learner.optimizer to adamw."
        )
    return list(layers.values())


def _with_adapters(model: PreTrainedModel, config: LoraConfig) -> PreTrainedModel:
    import peft

    targets = config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules)
    lora = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number works
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    _check_targets(model, config)
    return peft.get_peft_model(model, lora)  # type: ignore[return-value]


def _check_targets(model: PreTrainedModel, config: LoraConfig) -> None:
    """Raise `UserError` if a name, or the pattern, in ``target_modules`` matches no layer that can be adapted."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    if config.target_modules == "all-linear":
        return
    targets = config.target_modules
    layers = [name for name, module in model.named_modules() if isinstance(module, Linear | Conv1D)]
    if isinstance(targets, str):
        unmatched = [] if any(re.fullmatch(targets, name) for name in layers) else [targets]
    else:
        unmatched = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in layers)]
    if unmatched:
        known = sorted({name.rpartition(".")[2] for name in layers})
        raise UserError(
            f"learner.lora.target_modules names {', '.join(unmatched)}, which this {model.config.model_type} model "
            f"does not have; choose from {', '.join(known)}, or all-linear."
        )


def save_model(
    model: PreTrainedModel,
    weights: Iterable[tuple[str, torch.Tensor]],
    tokenizer: str,
    folder: str,
    dtype: torch.dtype,
    trained: TrainedFormat | None = None,
    state: str = "",
) -> None:
    """Write a model folder or adapter folder atomically.

    Plain transformers and vLLM prompt the model as it was trained and stop at the end of its turn (`learner.export`).
    Large models have several files of weights and an index; one file at a time is in memory.

    Args:
        model: provides architecture and names only; its own tensors may be sharded.
        weights: the tensors of the full state dict by name; with adapters, theirs are enough. Each is read once.
        tokenizer: folder or hub name of the tokenizer that is saved with the model.
        folder: target folder; must not exist.
        dtype: type of the saved floating-point weights.
        trained: chat format of the training data; None is that of the tokenizer.
        state: name of the training state that the weights belong to; see `rollout.models.handover`.

    Raises:
        UserError: the disk is full, or the weights are not finite.
    """
    with atomic_write(Path(folder)) as temporary, no_progress_bars():
        if hasattr(model, "peft_config"):
            model.save_pretrained(str(temporary), state_dict={name: tensor.to(dtype) for name, tensor in weights})
        else:
            temporary.mkdir()
            write_weights(_empty_model(model, dtype), weights, temporary, dtype)
        _copy_tokenizer(tokenizer, temporary)
        loaded = load_tokenizer(tokenizer)
        export_format(temporary, loaded, trained)
        write_handover(temporary, loaded, state)


def _empty_model(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The architecture and generation settings of a model, without weights."""
    import torch

    with torch.device("meta"):
        empty = type(model)._from_config(copy.deepcopy(model.config), dtype=dtype)
    empty.tie_weights()
    empty.generation_config = model.generation_config
    return empty


def _copy_tokenizer(source: str, folder: Path) -> None:
    if not Path(source).is_dir():
        load_tokenizer(source).save_pretrained(str(folder))
        return
    for name in TOKENIZER_FILES:
        if (Path(source) / name).is_file():
            shutil.copyfile(Path(source) / name, folder / name)
