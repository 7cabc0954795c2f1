"""Functions of the worker that code may call: arguments and answers travel as JSON, bounded in number and size."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rollout.tools.sandbox.errors import ToolError

ToolFunction = Callable[..., Any]
"""Takes and gives JSON values; may be a coroutine function. Raises `ToolError` for what the code did wrong."""

Wait = Callable[[Awaitable[Any]], Any]


def answer(function: ToolFunction | None, name: str, arguments: str, limit_chars: int, wait: Wait) -> dict[str, object]:
    """The reply to a call.

    Args:
        function: None if the code invented it.
        name: as the code called it.
        arguments: JSON text from the interpreter, not yet looked at.
        limit_chars: longest text of arguments and of the answer.
        wait: how to wait for a coroutine function's answer.

    Raises:
        Exception: what ``function`` raises other than `ToolError`.
    """
    try:
        if function is None:
            raise ToolError(f"there is no function {name[:50]!r}")
        positional, named = _arguments(arguments, limit_chars)
        _check_signature(function, name, positional, named)
        result = function(*positional, **named)
        return _reply(wait(result) if inspect.isawaitable(result) else result, name, limit_chars)
    except ToolError as error:
        return refusal(str(error))


def refusal(message: str) -> dict[str, object]:
    """A reply that is raised in the code as RuntimeError."""
    return {"value": None, "error": message, "error_type": "RuntimeError"}


def _arguments(text: str, limit_chars: int) -> tuple[list[Any], dict[str, Any]]:
    if len(text) > limit_chars:
        raise ToolError(f"the arguments are longer than {limit_chars} characters")
    try:
        match json.loads(text):
            case [list(positional), dict(named)]:
                return positional, named
    except (ValueError, RecursionError):
        pass
    raise ToolError("the arguments are not plain values")


def _check_signature(function: ToolFunction, name: str, positional: list[Any], named: Mapping[str, Any]) -> None:
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError as error:
        raise ToolError(f"{name}(): {error}") from None


def _reply(value: object, name: str, limit_chars: int) -> dict[str, object]:
    if isinstance(value, str):
        value = value[:limit_chars]
    elif len(json.dumps(value, allow_nan=False)) > limit_chars:
        raise ToolError(f"the answer of {name} is longer than {limit_chars} characters")
    return {"value": value, "error": None, "error_type": None}
