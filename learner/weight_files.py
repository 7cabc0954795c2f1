"""Model folders with safetensors files: loading without a copy in main memory, and writing in parts.

Loaded weights keep the precision of their files and are mapped into memory. A rank reads a weight when it copies it to
its device or into its shard, so no rank holds the whole model in float32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from rollout.errors import UserError
from rollout.messages import first_line
from rollout.models.attention import keep_attention_cap

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

MAX_FILE_BYTES = 5 * 10**9
"""Size at which a file of weights is full, by default."""
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def load_weights(source: str, **options: Any) -> PreTrainedModel:
    """Load a causal language model of a folder or hub name on the CPU, in the precision of its files.

    Args:
        options: further arguments of ``from_pretrained``.

    Raises:
        UserError: there is no model, its files are damaged or incomplete, or they are those of another model.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    options = {"dtype": "auto", **options}
    load: Any = AutoModelForCausalLM.from_pretrained
    model: PreTrainedModel
    try:
        with no_progress_bars():
            model, report = load(source, **options, ignore_mismatched_sizes=True, output_loading_info=True)
            _check_weights(source, model, report)
            stored = stored_dtype(_folder(source))
            if options["dtype"] == "auto" and stored not in (None, model.dtype):  # config.json names another one
                model = load(source, **{**options, "dtype": stored})
    except UnpicklingError as error:
        raise UserError(
            f"the pickled weights of {source!r} contain more than tensors, which is not safe to load; convert them to "
            "safetensors."
        ) from error
    except SafetensorError as error:
        raise UserError(
            f"a weight file of {source!r} is damaged or incomplete ({first_line(error)}); copy or download it again."
        ) from error
    except StrictDataclassError as error:
        raise UserError(
            f"the config.json of {source!r} contradicts itself ({first_line(error.__cause__ or error)}); correct it."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"no model could be loaded from {source!r} ({first_line(error)}); name a complete Hugging Face model "
            "folder."
        ) from error
    keep_attention_cap(model)
    return model


def _check_weights(source: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Refuse weights that do not belong to the configuration beside them."""
    known = {_any_layer(name) for name in model.state_dict()}
    more = sorted(name for name in report["unexpected_keys"] if _any_layer(name) in known)
    for names, fault in (
        (sorted(name for name, *_ in report["mismatched_keys"]), "have another shape"),
        (sorted(report["missing_keys"]), "are missing"),
        (more, "belong to layers that it does not have"),
    ):
        if names:
            raise UserError(
                f"the weights of {source!r} do not fit its config.json: {len(names)} {fault}, such as {names[0]}; they "
                "are incomplete or those of another model."
            )


def _folder(source: str) -> Path:
    """The folder of a model that was loaded, which for a hub name is in the cache."""
    from transformers.utils.hub import cached_file

    return Path(source) if Path(source).is_dir() else Path(str(cached_file(source, "config.json"))).parent


def _any_layer(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name)


def stored_dtype(folder: Path) -> torch.dtype | None:
    """Precision of the safetensors files in a folder: float32 if they have several, None if there are no such files."""
    import torch
    from safetensors import safe_open

    found = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            found |= {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
    names = {_DTYPES[kind] for kind in found if kind in _DTYPES}
    return None if not names else getattr(torch, names.pop()) if len(names) == 1 else torch.float32


def write_weights(
    empty: PreTrainedModel,
    weights: Iterable[tuple[str, Tensor]],
    folder: Path,
    dtype: torch.dtype,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> None:
    """Write configuration and weights to a folder, as ``save_pretrained`` does, one file of weights at a time.

    Args:
        empty: the model without weights, on the meta device.
        weights: tensors of the state dict by name, layer by layer; each is read once.
        dtype: type of the written floating-point weights.
        max_file_bytes: size at which a file is full; it is exceeded by at most one decoder layer.
    """
    import torch

    with torch.no_grad():
        parts = _parts(empty, weights, dtype, max_file_bytes)
        count = 0
        for count, part in enumerate(parts, start=1):
            empty.save_pretrained(folder / f"part-{count}", state_dict=part, max_shard_size="1000TB")
    places: dict[str, str] = {}
    for number in range(1, count + 1):
        part_folder = folder / f"part-{number}"
        name = "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
        places |= dict.fromkeys(_names(part_folder / "model.safetensors"), name)
        (part_folder / "model.safetensors").rename(folder / name)
        for file in part_folder.iterdir():
            file.replace(folder / file.name)
        part_folder.rmdir()
    if count > 1:
        size = sum((folder / name).stat().st_size for name in set(places.values()))
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _parts(
    empty: PreTrainedModel, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, max_bytes: int
) -> Iterator[dict[str, Tensor]]:
    """Yield the weights in parts that end between layers, because a library may fuse or split those of one layer."""
    distinct = {id(tensor): name for name, tensor in reversed(empty.state_dict(keep_vars=True).items())}.values()
    kept = ((name, tensor) for name, tensor in weights if name in set(distinct))
    part: dict[str, Tensor] = {}
    for _, layer in groupby(kept, lambda pair: re.match(r"(.*?\.\d+\.)?", pair[0])[0]):  # type: ignore[index]
        if sum(tensor.nbytes for tensor in part.values()) >= max_bytes:
            yield part
            part = {}
        for name, tensor in layer:
            part[name] = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
    yield part


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from showing progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
