"""Functions of the worker that code may call. Arguments and return values are JSON of limited size."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from rollout.tools.sandbox.errors import ToolError

ToolFunction = Callable[..., Any]
"""Accepts and returns JSON values; may be a coroutine function. Raises `ToolError` if the code called it wrongly."""


def handle_call(function: ToolFunction | None, name: str, arguments: str, limit_chars: int) -> dict[str, object]:
    """Call a function and return the reply.

    Args:
        function: None if there is no function of this name.
        name: the name that the code used.
        arguments: JSON text from the interpreter, not validated yet.
        limit_chars: maximum length of the arguments and of the return value, as JSON.

    Raises:
        Exception: any error of ``function`` other than `ToolError`.
    """
    try:
        if function is None:
            raise ToolError(f"there is no function {name[:50]!r}")
        positional, named = _arguments(arguments, limit_chars)
        _check_signature(function, name, positional, named)
        result = function(*positional, **named)
        return _reply(asyncio.run(result) if inspect.iscoroutine(result) else result, name, limit_chars)
    except ToolError as error:
        return error_reply(str(error))


def error_reply(message: str) -> dict[str, object]:
    """A reply that raises RuntimeError in the code."""
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
