"""Repair of a model's generation settings: transformers loads contradictory ones, and refuses to save them."""

from __future__ import annotations

from typing import Any

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
"""Settings that are read only with ``do_sample``."""
BEAMS = ("early_stopping", "length_penalty")
"""Settings that are read only with several beams."""


def repair(config: Any) -> None:
    """Make a ``GenerationConfig`` that is not valid valid in place, where no meaning is lost.

    Sampling settings without ``do_sample`` mean that the model samples, as vLLM reads them. With ``do_sample: false``
    or a temperature of 0 they mean nothing and are dropped, like those of beams without beams. Other mistakes stay.
    """
    if config is None or is_valid(config):
        return
    if config.num_beams in (None, 1):
        _drop(config, BEAMS)
    if is_valid(config):
        return
    if config.do_sample is None and config.temperature != 0:
        config.do_sample = True
    elif not config.do_sample:
        _drop(config, SAMPLING)


def is_valid(config: Any) -> bool:
    """Whether transformers would save the settings."""
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True


def _drop(config: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name, None) is not None:
            setattr(config, name, None)
