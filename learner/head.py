"""The language-model head, applied only to positions that contribute to the loss.

Most tokens of agent episodes are observations, which are not trained on. Dropping their hidden states before the head
saves computation and memory in proportion.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rollout.errors import UserError

_CHECKED_ROWS, _CHECKED_TOKENS = 2, 8
_BLOCK_ROWS = 16_384
"""Vocabulary rows whose half-precision gradient is computed at once before it is added in float32."""


class Head:
    """The part of a causal language model that follows its decoder: hidden states to logits.

    It is a copy of the model that shares the parameters. The decoder is replaced by given hidden states and the output
    embeddings by `_Projection`. So the model's own forward scales, caps or shifts the logits, for every architecture.
    The copy runs no module hooks: gathering sharded weights once per chunk would deadlock ranks with different numbers
    of chunks. The weights must be gathered while it is created and called.

    Attributes:
        parameters: trained parameters of the head; those of the decoder are left out unless they are tied.
    """

    def __init__(self, model: Any, decoder_output: Any) -> None:
        """Create the head of ``model``, whose decoder returned ``decoder_output``."""
        bare = bare_model(model)
        decoder, output = bare.get_decoder(), bare.get_output_embeddings()
        self._decoder = _GivenStates(decoder, decoder_output)
        replaced: dict[nn.Module, nn.Module] = {decoder: self._decoder}
        self._projection = _Projection(output) if type(output) is nn.Linear else None
        if self._projection is not None:
            replaced[output] = self._projection
        self._model: Any = _copied(bare, replaced)
        self._others = [p for p in self._model.parameters() if p.requires_grad]
        projected = self._projection.trained if self._projection is not None else []
        self.parameters = [*projected, *self._others]
        self._other_gradients: list[Tensor | None] = [None] * len(self._others)

    def __call__(self, states_RH: Tensor) -> Tensor:
        """Return logits ``[R, V]``."""
        self._decoder.give(states_RH[None])
        token_11 = torch.zeros(1, 1, dtype=torch.int64, device=states_RH.device)
        logits_1RV: Tensor = self._model.forward(input_ids=token_11, use_cache=False).logits
        return logits_1RV[0]

    def backward(self, loss: Tensor, states_RH: Tensor) -> Tensor:
        """Add the gradient of ``loss`` to those of the parameters; return the gradient of its input ``states_RH``."""
        gradient_RH, *others = torch.autograd.grad(loss, (states_RH, *self._others), allow_unused=True)
        for i, gradient in enumerate(others):
            if gradient is not None:
                before = self._other_gradients[i]
                self._other_gradients[i] = gradient.float() if before is None else before.add_(gradient)
        return gradient_RH

    def gradients(self) -> list[Tensor | None]:
        """The gradients of ``parameters`` so far, summed in float32; None if the logits do not depend on one."""
        projected = self._projection.gradients if self._projection is not None else []
        return [*projected, *self._other_gradients]


class _GivenStates(nn.Module):
    """Stands in for a decoder; returns its output with other hidden states.

    It has the decoder's attributes, such as a scale that a model's head reads from it, but not its weights.
    """

    def __init__(self, decoder: nn.Module, output: Any) -> None:
        super().__init__()
        self._decoder = (decoder,)  # in a tuple, so that its parameters are not the head's
        self._output = output

    def __getattr__(self, name: str) -> Any:
        (decoder,) = self.__dict__.get("_decoder", (None,))
        value = getattr(decoder, name)
        if isinstance(value, nn.Module | Tensor):
            raise UserError(
                f"the head uses {name} of its decoder, which is not supported; choose another student model."
            )
        return value

    def give(self, states_1RH: Tensor) -> None:
        """Set the hidden states."""
        self._output = _with_states(self._output, states_1RH)

    def forward(self, *_: Any, **__: Any) -> Any:
        return self._output


def _with_states(output: Any, states_1RH: Tensor) -> Any:
    """Replace the hidden states in a decoder's output; an output that is not a tuple is changed in place."""
    if isinstance(output, tuple):
        return (states_1RH, *output[1:])
    output.last_hidden_state = states_1RH
    return output


class _Projection(nn.Module):
    """Stands in for a linear layer; its backward adds to ``gradients`` in place.

    So there is one gradient of the size of the weight, however many chunks there are. Under autocast the weight is cast
    once.

    Attributes:
        trained: trained parameters of the layer.
        gradients: their gradients in float32; None before the first backward.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, bias, kind = linear.weight, linear.bias, linear.weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        # Plain attributes: parameters of the layer must not be found twice.
        self.values = tuple(None if p is None else p.detach().to(dtype) for p in (weight, bias))
        self.trained = [p for p in (weight, bias) if p is not None and p.requires_grad and torch.is_grad_enabled()]
        self.gradients: list[Tensor | None] = [None] * len(self.trained)

    def forward(self, states_1RH: Tensor) -> Tensor:
        logits_1RV: Tensor = _AccumulatingLinear.apply(states_1RH, self)
        return logits_1RV

    def accumulate(self, states_RH: Tensor, gradient_RV: Tensor) -> None:
        """Add the gradients of weight and bias, given that of the output."""
        for i, parameter in enumerate(self.trained):
            total = self.gradients[i]
            if parameter.ndim == 1:
                bias_V = gradient_RV.sum(0, dtype=torch.float32)
                self.gradients[i] = bias_V if total is None else total.add_(bias_V)
            elif gradient_RV.dtype != torch.float32:
                total = torch.zeros_like(parameter, dtype=torch.float32) if total is None else total
                for start in range(0, gradient_RV.shape[1], _BLOCK_ROWS):
                    rows = slice(start, start + _BLOCK_ROWS)
                    total[rows] += gradient_RV[:, rows].T @ states_RH
                self.gradients[i] = total
            elif total is None:
                self.gradients[i] = gradient_RV.T @ states_RH
            else:
                total.addmm_(gradient_RV.T, states_RH)


class _AccumulatingLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states_1RH: Tensor, projection: _Projection) -> Tensor:
        weight, bias = projection.values
        assert weight is not None
        ctx.projection, ctx.dtype = projection, states_1RH.dtype
        states_1RH = states_1RH.to(weight.dtype)
        ctx.save_for_backward(states_1RH)
        return nn.functional.linear(states_1RH, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_1RV: Tensor) -> tuple[Tensor, None]:
        (states_1RH,) = ctx.saved_tensors
        ctx.projection.accumulate(states_1RH[0], gradient_1RV[0])
        return (gradient_1RV @ ctx.projection.values[0]).to(ctx.dtype), None


def _copied(module: nn.Module, replaced: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """A copy that shares parameters and buffers, without hooks, and with other modules in place of some."""
    if module in replaced:
        return replaced[module]
    same = copy.copy(module)
    hooks: dict[str, dict[int, Any]] = {
        name: {} for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    }
    children = {name: child and _copied(child, replaced) for name, child in module._modules.items()}
    same.__dict__.update(hooks, _modules=children)
    return same


def selected_states(model: Any, inputs: Mapping[str, Tensor], positions_N: Tensor) -> tuple[Tensor, Any]:
    """Run the decoder of a causal language model.

    Args:
        inputs: keyword arguments of the model's forward, for rows ``[B, L]``.
        positions_N: indices into B*L.

    Returns:
        The hidden states ``[N, H]`` at the positions, and the decoder's output for `Head`.
    """
    output = bare_model(model).get_decoder()(**inputs, use_cache=False)
    states_NH = output[0].flatten(0, 1).index_select(0, positions_N)
    return states_NH, _with_states(output, states_NH[None])  # frees the states at the other positions


def bare_model(model: Any) -> Any:
    """The causal language model below PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


@torch.no_grad()
def check_head(model: Any) -> None:
    """Compare the logits of `Head` with those of ``model(...)`` on random tokens.

    Raises:
        UserError: they differ, so the loss would not be that of the model.
    """
    bare, was_training = bare_model(model), model.training
    generator = torch.Generator().manual_seed(0)
    vocabulary = bare.get_input_embeddings().weight.shape[0]
    ids_BL = torch.randint(vocabulary, (_CHECKED_ROWS, _CHECKED_TOKENS), generator=generator).to(bare.device)
    positions_N = torch.arange(1, ids_BL.numel(), 2, device=bare.device)
    model.eval()
    try:
        expected_NV = bare(input_ids=ids_BL, use_cache=False).logits.flatten(0, 1)[positions_N]
        states_NH, output = selected_states(model, {"input_ids": ids_BL}, positions_N)
        selected_NV = Head(model, output)(states_NH)
    finally:
        model.train(was_training)
    if expected_NV.shape != selected_NV.shape or not torch.allclose(
        expected_NV.float(), selected_NV.float(), rtol=1e-2, atol=1e-3 * float(expected_NV.abs().max())
    ):
        raise UserError(
            f"models of type {bare.config.model_type!r} compute logits that depend on more than the hidden state of "
            "their position, so they cannot be computed for the trained tokens alone; choose another student model."
        )
