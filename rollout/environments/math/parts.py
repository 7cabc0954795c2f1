"""Factories of the math environment and its task source."""

from __future__ import annotations

from rollout.environment import TaskSource
from rollout.environments.math.config import MathConfig
from rollout.environments.math.datasets import DataSet
from rollout.environments.math.environment import MathEnvironment
from rollout.environments.math.generator import MathTasks


def make_environment(config: MathConfig) -> MathEnvironment:
    """Create an environment. Raises `UserError` if Python is on and no sandbox works on this machine."""
    if config.python == "off":
        return MathEnvironment(config)
    from rollout.environments.math.python_tool import SandboxRunner

    return MathEnvironment(config, SandboxRunner(config.sandbox))


def make_tasks(config: MathConfig) -> TaskSource:
    """Create the task source: generated problems or a data set."""
    if config.source == "generated":
        return MathTasks(config.generated_families())
    return DataSet(config.source, config.data_dir or "")
