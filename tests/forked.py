"""Processes that start at once: forks of a server that imported torch, transformers and the learner when it started."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["cluster.driver", "learner.fit", "learner.export", "peft", "transformers.models.qwen2.modeling_qwen2"]
)


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that calls a function of a module."""
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    return process
