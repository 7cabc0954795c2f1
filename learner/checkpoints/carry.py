"""The training state that a round leaves to the next one: float32 weights and the optimizer's state.

The checkpoint of a round is for engines and may be rounded to bfloat16. Small updates would be lost if the next round
started from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from learner.checkpoints.tensor_files import DamagedError, TensorFiles, parts_to_write, write_parts
from learner.distributed import Distributed
from learner.trainer import Trainer
from rollout.models.handover import read_handover


def save_state(folder: Path, trainer: Trainer, distributed: Distributed) -> None:
    """Write the training state, each rank its part. Called on all ranks; complete when all have returned.

    Raises:
        UserError: no space is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = parts_to_write(trainer.state(), distributed.rank, distributed.world_size)
    write_parts(folder, parts, distributed.rank, distributed.world_size, {})


def load_state(
    folder: Path,
    checkpoint: str,
    trainer: Trainer,
    distributed: Distributed,
    *,
    optimizer: bool,
    notify: Callable[[str], None],
) -> None:
    """Continue from the training state that belongs to a checkpoint, which the trainer has been made from.

    If it cannot be used, training starts from the weights of the checkpoint, and ``notify`` gets a sentence that says
    why.

    Args:
        folder: where the round kept its states.
        optimizer: whether to continue with the optimizer's state as well.
    """
    problem = ""
    try:
        handover = read_handover(Path(checkpoint))
        files = TensorFiles(folder / (handover.state if handover and handover.state else "none"))
        files.check(range(distributed.rank, files.world_size, distributed.world_size))
        state = trainer.state(optimizer=optimizer)
        files.require(state, distributed.rank, distributed.world_size)
    except DamagedError as error:
        problem = str(error)
    if distributed.all_reduce_sum([bool(problem)])[0]:
        notify(
            f"training starts from the rounded weights of {checkpoint} and a new optimizer: the training state of the "
            f"round before cannot be used ({problem or 'another process found it damaged'})"
        )
        return
    files.copy_into(state, distributed.rank, distributed.world_size)
    trainer.restored()
