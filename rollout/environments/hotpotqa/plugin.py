"""The encyclopaedia under its name."""

from __future__ import annotations

from rollout.environment import Environment, TaskSource
from rollout.environments.demonstrate import Played
from rollout.environments.hotpotqa.demonstrations import TOOLS, encyclopaedia_demonstrations
from rollout.environments.hotpotqa.environment import (
    EncyclopaediaConfig,
    EncyclopaediaEnvironment,
    question_tasks,
)
from rollout.environments.hotpotqa.instructions import INSTRUCTIONS


class Encyclopaedia:
    """Questions over pages by ReAct's search, lookup and finish: generated, HotpotQA, 2Wiki, MuSiQue, Bamboogle."""

    Config = EncyclopaediaConfig
    instructions = INSTRUCTIONS
    examples = Played(encyclopaedia_demonstrations)
    tools = TOOLS
    finish = "finish[{}]"

    @staticmethod
    def environment(config: EncyclopaediaConfig) -> Environment:
        return EncyclopaediaEnvironment(config)

    @staticmethod
    def tasks(config: EncyclopaediaConfig) -> TaskSource:
        return question_tasks(config)
