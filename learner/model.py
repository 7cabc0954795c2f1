"""The student as a Hugging Face model: loading, random initialization, and saving in the standard folder format."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.config import LearnerConfig, LoraConfig, ScratchConfig
from learner.export import TrainedFormat, export_format
from learner.generation_config import repair
from learner.widen import widen
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.models.attention import keep_attention_cap
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
    """Return the model to train, in float32 on the CPU, and the folder or hub name of its tokenizer.

    Raises:
        UserError: no model is named, or it cannot be loaded.
    """
    import torch

    source = model_folder(starting_point(config, base_model))
    torch.manual_seed(config.seed)
    if config.scratch is not None and base_model is None:
        return from_scratch(config.scratch), source
    model = load_model(_adapted_model(source, config))
    if config.widen > 1:
        model = widen(model, config.widen)
    if config.recompute_activations:
        model.gradient_checkpointing_enable()
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


def load_model(source: str) -> PreTrainedModel:
    """Load a causal language model of a folder or hub name, in float32 on the CPU.

    Raises:
        UserError: there is no model that can be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with _no_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
    except (OSError, ValueError) as error:
        raise UserError(f"no model could be loaded from {source!r}; name a Hugging Face model folder.") from error
    repair(model.generation_config)
    keep_attention_cap(model)
    return model


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
    return peft.get_peft_model(model, lora)  # type: ignore[return-value]


def save_model(
    model: PreTrainedModel,
    weights: dict[str, torch.Tensor],
    tokenizer: str,
    folder: str,
    dtype: torch.dtype,
    trained: TrainedFormat | None = None,
) -> None:
    """Write a model folder or adapter folder atomically.

    Plain transformers and vLLM prompt the model as it was trained and stop at the end of its turn (`learner.export`).

    Args:
        model: provides architecture and names only; its own tensors may be sharded.
        weights: the full state dict, on the CPU.
        tokenizer: folder or hub name of the tokenizer that is saved with the model.
        folder: target folder; must not exist.
        dtype: type of the saved floating-point weights.
        trained: chat format of the training data; None is that of the tokenizer.

    Raises:
        UserError: the disk is full.
    """
    weights = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    with atomic_write(Path(folder)) as temporary, _no_progress_bars():
        if hasattr(model, "peft_config"):
            model.save_pretrained(str(temporary), state_dict=weights)
        else:
            _unsharded_model(model, weights, dtype).save_pretrained(str(temporary))
        _copy_tokenizer(tokenizer, temporary)
        export_format(temporary, load_tokenizer(tokenizer), trained)


def _unsharded_model(model: PreTrainedModel, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> PreTrainedModel:
    import torch

    with torch.device("meta"):
        full = type(model)._from_config(copy.deepcopy(model.config), dtype=dtype)
    full.load_state_dict(weights, assign=True)
    full.tie_weights()
    full.generation_config = model.generation_config
    return full


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _copy_tokenizer(source: str, folder: Path) -> None:
    if not Path(source).is_dir():
        load_tokenizer(source).save_pretrained(str(folder))
        return
    for name in TOKENIZER_FILES:
        if (Path(source) / name).is_file():
            shutil.copyfile(Path(source) / name, folder / name)
