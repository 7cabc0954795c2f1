"""A frozen teacher in the learner's process, for terms with the signal ``exact``.

It reads the same rows as the student. Its hidden states are kept for the trained tokens only, and its head is applied
chunk by chunk, so that its whole distribution is used without an array of the size tokens times vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from learner.config import LearnerConfig
from learner.head import Head, check_head, selected_states
from learner.model import load_model, load_tokenizer
from rollout.errors import UserError
from rollout.models import model_folder


class FrozenTeacher:
    """A causal language model that gives its logits at chosen positions.

    It is no module, so a strategy that wraps the student's loss neither trains nor saves it.

    Attributes:
        decoder: the module whose forward runs the decoder, for sharding. The head needs its weights afterwards.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.decoder = _SelectedStates(self.model)

    @torch.no_grad()
    def read(self, inputs: Mapping[str, Tensor], positions_N: Tensor) -> Callable[[slice], Tensor]:
        """Run the decoder; return a function that gives the logits ``[R, U]`` of some of the positions."""
        with torch.autocast(positions_N.device.type, enabled=False):
            states_NH, output = self.decoder(inputs, positions_N)
            head = Head(self.model, output)

        @torch.no_grad()
        def logits(rows: slice) -> Tensor:
            with torch.autocast(positions_N.device.type, enabled=False):
                return head(states_NH[rows])

        return logits


class _SelectedStates(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Mapping[str, Tensor], positions_N: Tensor) -> tuple[Tensor, Any]:
        return selected_states(self.model, inputs, positions_N)


def load_teacher(config: LearnerConfig, student_tokenizer: str) -> FrozenTeacher | None:
    """Load the teacher on the CPU, if a term needs its whole distribution.

    Args:
        student_tokenizer: folder or hub name of the student's tokenizer.

    Raises:
        UserError: the teacher cannot be loaded, or its tokenizer is not the student's.
    """
    if config.teacher is None:
        return None
    if config.teacher.model is None:
        raise UserError("the signal exact needs the teacher's weights; set learner.teacher.model.")
    source = model_folder(config.teacher.model)
    if not _same_ids(load_tokenizer(source).get_vocab(), load_tokenizer(student_tokenizer).get_vocab()):
        raise UserError(
            f"the tokenizers of {source} (learner.teacher.model) and {student_tokenizer} differ, so their "
            "distributions cannot be compared token by token; choose a teacher with the student's tokenizer, or the "
            "divergence uld with signal top_k_tail."
        )
    model: Any = load_model(source)
    model = model.to(getattr(torch, config.teacher.precision))
    check_head(model)
    return FrozenTeacher(model)


def _same_ids(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether ids that both vocabularies use mean the same token; a variant of a model may add tokens at the end."""
    tokens = {number: token for token, number in one.items()}
    return all(tokens.get(number, token) == token for token, number in other.items())
