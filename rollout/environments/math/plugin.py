"""Maths problems under their name."""

from __future__ import annotations

from rollout.environment import Environment, TaskSource
from rollout.environments.demonstrate import Played
from rollout.environments.math.config import MathsConfig
from rollout.environments.math.data_sets import DataSet
from rollout.environments.math.demonstrations import TOOLS, maths_demonstrations
from rollout.environments.math.environment import MathsEnvironment
from rollout.environments.math.generator import MathsTasks
from rollout.environments.math.instructions import INSTRUCTIONS


class Maths:
    """Maths problems, generated or of a data set, with a calculator and on demand Python in a sandbox."""

    Config = MathsConfig
    instructions = INSTRUCTIONS
    examples = Played(maths_demonstrations)
    tools = TOOLS
    finish = "finish[{}]"

    @staticmethod
    def environment(config: MathsConfig) -> Environment:
        if config.python == "off":
            return MathsEnvironment(config)
        from rollout.environments.math.python_tool import SandboxRunner

        return MathsEnvironment(config, SandboxRunner(config.sandbox))

    @staticmethod
    def tasks(config: MathsConfig) -> TaskSource:
        if config.source == "generated":
            return MathsTasks(config.generated_families())
        return DataSet(config.source, config.data_dir or "")
