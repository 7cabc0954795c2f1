"""Functions that code of the style ``codeact`` may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rollout.extensions.registry import Registry, import_object


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that code may call. ``inputs`` and ``output`` say types and meaning in words.

    Attributes:
        action: what a call does in the environment, where ``{}`` stands for the argument: ``search[{}]``.
        function: import string (``module:name``) of what a call runs in the worker instead; empty for an action. It
            takes and gives JSON values and is called from several threads. It raises
            `rollout.tools.sandbox.errors.ToolError` for what the code did wrong; any other exception ends the episode
            with an error of the boundary ``tool``.
    """

    name: str
    description: str
    inputs: str
    output: str
    action: str = "{}"
    function: str = ""

    @property
    def takes_actions(self) -> bool:
        """Whether a call does any action of the environment, which the agent then has to know."""
        return not self.function and self.action == "{}"

    def text(self) -> str:
        return (
            f"- {self.name}: {self.description}\n"
            f"    Takes inputs: {self.inputs}\n"
            f"    Returns an output of type: {self.output}"
        )

    def load_function(self) -> Callable[..., Any]:
        """What ``function`` names. Raises `UserError` if it cannot be imported."""
        fix = "fix or uninstall the package that brings the tool"
        function: Callable[..., Any] = import_object(self.function, f"the tool {self.name}", fix)
        return function


ACT = Tool("act", "does one action in the world and gives what is then observed", "action (string)", "string")
"""The function of every environment whose actions are lines of text."""

TOOLS: Registry[Tool] = Registry("stillhouse.tools", "tool", Tool)
"""Functions of other packages, which a recipe gives to agents by ``agent.tools``."""
