"""The encyclopaedia under its name."""

from __future__ import annotations

from rollout.encyclopaedia.demonstration import TOOLS, encyclopaedia_demonstrations
from rollout.encyclopaedia.environment import EncyclopaediaConfig, EncyclopaediaEnvironment, question_tasks
from rollout.encyclopaedia.instructions import INSTRUCTIONS
from rollout.environment import Environment, TaskSource
from rollout.prompts.demonstrate import Played


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
