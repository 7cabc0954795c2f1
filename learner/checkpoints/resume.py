"""Intermediate checkpoints of a fit, from which it resumes when it was killed.

    .NAME.resume/step=00000120.FINGERPRINT.SESSION/rank=0-of-2.{safetensors,json}, ...

Each rank copies its part to main memory, and a thread writes it while training goes on
(`learner.checkpoints.tensor_files`).
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from learner.checkpoints.fingerprint import Fingerprint, depends_on_budget
from learner.checkpoints.folders import resume_folder
from learner.checkpoints.random_state import (
    random_json,
    random_tensors,
    seed_rank,
    set_random_json,
    set_random_tensors,
)
from learner.checkpoints.tensor_files import DamagedError, Part, TensorFiles, parts_to_write, write_parts
from learner.config import LearnerConfig
from learner.distributed import Distributed
from learner.progress import Progress
from learner.trainer import Trainer
from rollout.errors import UserError

MAX_INTERVAL_S = 30.0
INTERVAL_FRACTION = 0.05
"""By default, a checkpoint is written after this fraction of the budget, but at least every `MAX_INTERVAL_S`."""
MIN_COPY_INTERVALS = 20
"""The default interval is at least this many times the time for which a copy holds up training."""
WRITE_LIMIT_S = 1800.0
"""Seconds within which a checkpoint must have been written at the end of training."""
_NAME = re.compile(r"step=(\d+)\.([0-9a-f]{8})\.[0-9a-f]{8}")


class ResumeCheckpoint:
    """The intermediate checkpoints of one fit, in a hidden folder beside the output folder. Used on all ranks.

    Args:
        notify: called with a sentence when a checkpoint cannot be used, and why.
    """

    def __init__(
        self,
        output_folder: str,
        config: LearnerConfig,
        fingerprint: Fingerprint,
        distributed: Distributed,
        notify: Callable[[str], None],
    ) -> None:
        self._folder = resume_folder(Path(output_folder))
        self._config, self._fingerprint, self._distributed = config, fingerprint, distributed
        self._notify = notify
        self._session: str = distributed.broadcast(uuid.uuid4().hex[:8])
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._saved_at_s, self._copy_s = 0.0, 0.0
        self._rejected: set[str] = set()

    def name(self, progress: Progress) -> str:
        """Name of a checkpoint at this step of this process group."""
        return f"step={progress.step:08d}.{self._fingerprint.digest}.{self._session}"

    def load(self, trainer: Trainer) -> Progress:
        """Restore trainer and random numbers from the newest checkpoint that is whole and belongs to this fit.

        Without one, it returns a new progress.
        """
        distributed = self._distributed
        seed_rank(self._config.seed, distributed.rank)
        distributed.barrier()  # other ranks of this machine may still have been writing for an earlier fit
        names = [path.name for path in _newest_first(self._folder, self._fingerprint.digest)]
        for name in distributed.broadcast(names):
            files, problem = self._open(self._folder / name)
            problem = distributed.broadcast(problem)
            damaged = distributed.all_reduce_sum([files is None])[0] > 0
            if problem or damaged or files is None:
                self._notify(f"the checkpoint {name} is not used: {problem or 'it is incomplete or damaged'}")
                self._rejected.add(name)
                continue
            try:
                files.copy_into(trainer.state(), distributed.rank, distributed.world_size)
            except DamagedError as error:  # checksums are right, so it was made in another way
                raise UserError(
                    f"{error}; start with the same learner.strategy and as many processes as before, or delete "
                    f"{self._folder} to train from the beginning."
                ) from error
            trainer.restored()
            progress = Progress(**files.about[0]["progress"])
            self._restore_random(files, progress)
            self._saved_at_s = progress.seconds
            return progress
        return Progress()

    def is_due(self, progress: Progress) -> bool:
        """Whether a checkpoint is due by rank 0's clock; false on other ranks."""
        if self._distributed.rank or not self._config.keep_checkpoints:
            return False
        interval_s = self._config.checkpoint_every_s
        if interval_s is None:
            if progress.step == 0:
                return False
            budget_s = progress.seconds / max(progress.fraction(self._config), 1e-9)
            interval_s = max(min(MAX_INTERVAL_S, INTERVAL_FRACTION * budget_s), MIN_COPY_INTERVALS * self._copy_s)
        return progress.seconds - self._saved_at_s >= interval_s

    @property
    def is_busy(self) -> bool:
        """Whether this rank is still writing."""
        return self._writing is not None and not self._writing.done()

    @property
    def has_failed(self) -> bool:
        """Whether this rank could not write its last checkpoint."""
        return self._writing is not None and self._writing.done() and self._writing.exception() is not None

    def raise_failure(self) -> None:
        """Raise the error of the last write, which may have been another rank's."""
        if self._writing is not None and self._writing.done():
            self._writing.result()
        raise UserError("another training process could not write its checkpoint; its own message says why.")

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Copy this rank's part and begin to write it. No earlier write may be going on."""
        started_s = time.monotonic()
        distributed = self._distributed
        state = {**trainer.state(), **random_tensors(distributed.device)}
        parts = parts_to_write(state, distributed.rank, distributed.world_size)
        more = self._about(progress)
        self._saved_at_s, self._copy_s = progress.seconds, time.monotonic() - started_s
        self._writing = self._thread.submit(self._write, self._folder / self.name(progress), parts, more)

    def finish(self) -> None:
        """Wait for the last write. Raises its error."""
        if self._writing is not None:
            self._writing.result(timeout=WRITE_LIMIT_S)

    def close(self) -> None:
        """Wait for the last write, whatever its outcome, and end the thread."""
        wait([self._writing] if self._writing is not None else [], timeout=WRITE_LIMIT_S)
        self._thread.shutdown(wait=False)

    def remove(self) -> None:
        """Delete all checkpoints, when the fit is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _about(self, progress: Progress) -> dict[str, Any]:
        return {"progress": asdict(progress), "fingerprint": asdict(self._fingerprint), "random": random_json()}

    def _write(self, folder: Path, parts: dict[str, Part], more: dict[str, Any]) -> None:
        """Write this rank's part, unless a value is not finite: the checkpoint stays incomplete and is not used."""
        if not all(_is_finite(part) for part in parts.values()):
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_parts(folder, parts, self._distributed.rank, self._distributed.world_size, more)
        if self._distributed.rank == 0:
            self._remove_old()

    def _remove_old(self) -> None:
        """Delete what is older than the newest complete checkpoints of this fit, those of other fits and rejected ones.

        A rejected one may be of a later step than all that are whole.
        """
        digest = self._fingerprint.digest
        found = [path for path in _newest_first(self._folder, digest) if path.name not in self._rejected]
        own = [path for path in found if _is_own(path, digest)]
        complete = [path for path in own if _is_complete(path)][: self._config.keep_checkpoints]
        if not complete:
            return
        kept = {*complete, *own[: own.index(complete[0])]}
        for path in self._folder.iterdir():
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _open(self, folder: Path) -> tuple[TensorFiles | None, str]:
        """The files of a checkpoint, if this rank finds its share of them whole, and why it cannot be used."""
        distributed = self._distributed
        try:
            files = TensorFiles(folder)
            problem = self._why_not(files.about[0])
            if not problem:
                files.check(range(distributed.rank, files.world_size, distributed.world_size))
            return files, problem
        except DamagedError as error:
            return None, str(error)

    def _why_not(self, about: dict[str, Any]) -> str:
        """Why a whole checkpoint does not belong to this fit; empty if it does."""
        saved, fingerprint = about.get("fingerprint"), self._fingerprint
        counters = about.get("progress")
        if not isinstance(saved, dict) or not isinstance(counters, dict):
            return "another program has written it"
        if {*counters} != _names_of(Progress) or {*saved} != _names_of(Fingerprint):
            return "another version of Stillhouse has written it"
        if changed := fingerprint.difference(saved):
            return f"it was made with other values of {changed}, so training starts from the beginning"
        changed = fingerprint.budget_difference(saved)
        if changed and depends_on_budget(self._config, Progress(**counters).schedule(self._config)):
            return f"{changed} changed, which the learning rate depends on, so training starts from the beginning"
        return ""

    def _restore_random(self, files: TensorFiles, progress: Progress) -> None:
        """Restore the random numbers. With another number of processes or another device they begin anew."""
        distributed = self._distributed
        tensors = random_tensors(distributed.device)
        same = files.world_size == distributed.world_size
        if not same or not tensors.keys() <= files.about[distributed.rank]["tensors"].keys():
            seed_rank(self._config.seed, distributed.rank, progress.step)
            return
        files.copy_into(tensors, distributed.rank, distributed.world_size)
        set_random_tensors(tensors, distributed.device)
        set_random_json(files.about[distributed.rank]["random"])


def _is_finite(part: Part) -> bool:
    return not part.tensor.is_floating_point() or bool(part.tensor.isfinite().all())


def _newest_first(folder: Path, digest: str) -> list[Path]:
    """All checkpoints, those of this fit first."""
    found = [path for path in folder.glob("step=*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_is_own(path, digest), path.name), reverse=True)


def _is_own(path: Path, digest: str) -> bool:
    matched = _NAME.fullmatch(path.name)
    return matched is not None and matched[2] == digest


def _is_complete(path: Path) -> bool:
    """Whether all ranks have written; checksums are compared when it is loaded."""
    try:
        TensorFiles(path)
    except DamagedError:
        return False
    return True


def _names_of(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}
