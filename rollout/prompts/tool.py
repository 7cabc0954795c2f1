"""Functions that an agent's code may call (style ``codeact``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rollout.extensions.registry import Registry, import_object


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the agent's code may call.

    Attributes:
        name: name of the function.
        description: what the function does.
        inputs: names, types and meaning of the arguments, in words.
        output: type and meaning of the result, in words.
        action: template of the environment's action that a call executes, with ``{}`` for the argument
            (``search[{}]``).
        function: import string (``module:name``) of a function that a call runs in the worker, in place of an action;
            empty for an action. Its arguments and result are JSON values, and several threads may call it concurrently.
            It raises `rollout.tools.sandbox.errors.ToolError` for invalid calls; any other exception ends the episode
            with a failure of the boundary ``tool``.
    """

    name: str
    description: str
    inputs: str
    output: str
    action: str = "{}"
    function: str = ""

    @property
    def takes_actions(self) -> bool:
        """Whether a call executes an arbitrary action, so that the agent must know the environment's actions."""
        return not self.function and self.action == "{}"

    def text(self) -> str:
        return (
            f"- {self.name}: {self.description}\n"
            f"    Takes inputs: {self.inputs}\n"
            f"    Returns an output of type: {self.output}"
        )

    def load_function(self) -> Callable[..., Any]:
        """Import the function. Raises `UserError` if it cannot be imported."""
        fix = "fix or uninstall the package that provides the tool"
        function: Callable[..., Any] = import_object(self.function, f"the tool {self.name}", fix)
        return function


ACT = Tool("act", "does one action in the world and gives what is then observed", "action (string)", "string")
"""Function of all environments whose actions are lines of text."""

TOOLS: Registry[Tool] = Registry("stillhouse.tools", "tool", Tool)
"""Tools of other packages, which recipes enable with ``agent.tools``."""
