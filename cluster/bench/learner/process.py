"""Child processes of the benchmark: one for each contender, so that memory, threads and patches stay apart."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cluster.bench.learner.gate import STOP
from rollout.errors import UserError

LIMIT_S = 1800.0
"""Longest time between two messages of a child."""
_MEMORY = ("out of memory", "allocate memory", "cannot allocate")


class OutOfMemory(Exception):
    """A child needed more memory than there is, or than it may use."""


class Child:
    """A process that runs a function which sends messages.

    Args:
        function: importable; called with a ``send(message)``, which returns what `tell` passes, then ``arguments``.
        log: file for everything that the child prints.
        threads: threads of its computations.
        device: ``cpu`` hides the GPUs.
    """

    def __init__(
        self, function: Callable[..., None], *arguments: Any, log: Path, threads: int = 1, device: str = "cpu"
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._log = log
        self._process = context.Process(
            target=_run, args=(other, log, threads, device, function, arguments), daemon=True
        )
        self._process.start()
        other.close()

    def receive(self) -> Any:
        """Wait for the next message.

        Raises:
            OutOfMemory: the child ran out of memory, or was killed, as the kernel does then.
            UserError: the child raised it.
            RuntimeError: the child failed, ended, or sent nothing within `LIMIT_S`.
        """
        try:
            kind, message = self._connection.recv() if self._connection.poll(LIMIT_S) else ("failed", "no answer")
        except EOFError:
            self._process.join(LIMIT_S)
            kind, message = ("memory" if self._process.exitcode == -9 else "failed"), f"see {self._log}"
        if kind == "memory":
            raise OutOfMemory(message)
        if kind == "input":
            raise UserError(message)
        if kind == "failed":
            raise RuntimeError(f"a contender failed: {message}\n{self._tail()}")
        return message

    def tell(self, message: Any) -> None:
        """Answer the child's last message, for which it waits."""
        self._connection.send(message)

    def close(self) -> None:
        """End the process: it is told to stop, and ended if it does not."""
        with suppress(OSError):  # it has ended
            self.tell(STOP)
        self._process.join(10.0)
        self._process.terminate()
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:] if self._log.is_file() else ""


def call(function: str, *arguments: Any, log: Path, threads: int = 1, device: str = "cpu") -> Any:
    """The result of ``function``, written ``module:name``, in a process of its own. Raises as `Child.receive`."""
    child = Child(_send_result, function, arguments, log=log, threads=threads, device=device)
    try:
        return child.receive()
    finally:
        child.close()


def _send_result(send: Callable[[Any], Any], function: str, arguments: tuple[Any, ...]) -> None:
    module, name = function.split(":")
    send(getattr(import_module(module), name)(*arguments))


def _run(
    connection: Connection,
    log: Path,
    threads: int,
    device: str,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    """Run in the child."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.environ.update(environment(threads, device))
    import torch

    torch.set_num_threads(threads)

    def send(message: Any) -> Any:
        connection.send(("message", message))
        return connection.recv()

    try:
        function(send, *arguments)
    except UserError as error:
        connection.send(("input", str(error)))
    except (MemoryError, RuntimeError) as error:
        lines = traceback.format_exc().splitlines()
        kind = "memory" if isinstance(error, MemoryError) or _is_about_memory(error) else "failed"
        connection.send((kind, lines[-1] if kind == "memory" else "\n".join(lines)))
    except Exception:  # is raised again in the parent
        connection.send(("failed", traceback.format_exc()))


def _is_about_memory(error: BaseException) -> bool:
    return any(text in str(error).lower() for text in _MEMORY)


def environment(threads: int, device: str) -> dict[str, str]:
    """Variables of a child: threads of every library, no telemetry, no look at a hub."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    hub = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    return {**counts, **hub, **hidden, "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
