"""The environment and the task source that the settings of math problems ask for."""

from __future__ import annotations

from rollout.environment import TaskSource
from rollout.environments.math.config import MathConfig
from rollout.environments.math.data_sets import DataSet
from rollout.environments.math.environment import MathEnvironment
from rollout.environments.math.generator import MathTasks


def make_environment(config: MathConfig) -> MathEnvironment:
    """A new environment. Raises `UserError` if it is to run Python and no sandbox works on this machine."""
    if config.python == "off":
        return MathEnvironment(config)
    from rollout.environments.math.python_tool import SandboxRunner

    return MathEnvironment(config, SandboxRunner(config.sandbox))


def make_tasks(config: MathConfig) -> TaskSource:
    """The source of tasks: generated ones, or those of a data set."""
    if config.source == "generated":
        return MathTasks(config.generated_families())
    return DataSet(config.source, config.data_dir or "")
